package nodeca

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"os"
	"path/filepath"
	"regexp"
	"time"

	"berth.dev/berth/internal/base/atomicfile"
	"berth.dev/berth/internal/base/fault"
	"berth.dev/berth/internal/base/ident"
	"berth.dev/berth/internal/wire/nodeapi"
)

const (
	authorityLife = 20 * 365 * 24 * time.Hour
	nodeLife      = 10 * 365 * 24 * time.Hour
)

// Authority signs nodes' certificates.
type Authority struct {
	cert   *x509.Certificate
	key    crypto.Signer
	secret string
}

// Open reads the authority from its directory, or makes one there at first.
func Open(dir string, now time.Time) (*Authority, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	a := &Authority{}
	keyFile, certFile, secretFile := filepath.Join(dir, "ca.key"), filepath.Join(dir, "ca.crt"), filepath.Join(dir, "join-secret")
	// The certificate is written last: when it is there, so is the rest.
	if _, err := os.Stat(certFile); errors.Is(err, fs.ErrNotExist) {
		if err := create(keyFile, certFile, secretFile, now); err != nil {
			return nil, fmt.Errorf("making the node authority in %s: %w", dir, err)
		}
	}
	key, err := readPEM(keyFile, x509.ParseECPrivateKey)
	if err != nil {
		return nil, err
	}
	a.key = key
	if a.cert, err = readPEM(certFile, x509.ParseCertificate); err != nil {
		return nil, err
	}
	secret, err := os.ReadFile(secretFile)
	if err != nil {
		return nil, err
	}
	a.secret = string(secret)
	return a, nil
}

func create(keyFile, certFile, secretFile string, now time.Time) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	template := &x509.Certificate{
		SerialNumber:          big.NewInt(1),
		Subject:               pkix.Name{CommonName: "Berth node authority " + ident.Hex(8)},
		NotBefore:             now.Add(-time.Hour),
		NotAfter:              now.Add(authorityLife),
		IsCA:                  true,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageCertSign,
	}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return err
	}
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return err
	}
	if err := writePEM(keyFile, "EC PRIVATE KEY", der); err != nil {
		return err
	}
	if err := atomicfile.WriteSecret(secretFile, []byte(ident.Token(26))); err != nil {
		return err
	}
	return writePEM(certFile, "CERTIFICATE", cert)
}

// Token lets the node of the server's own machine join, as often as its data
// directory is new. Its secret is in a file beside the authority's key, so
// whoever reads it could sign certificates as well; Admit takes it from no
// other machine.
func (a *Authority) Token() nodeapi.JoinToken { return a.token(a.secret) }

func (a *Authority) token(secret string) nodeapi.JoinToken {
	return nodeapi.JoinToken{CAHash: sha256.Sum256(a.cert.Raw), Secret: secret}
}

// CertificateDER is the authority's own certificate.
func (a *Authority) CertificateDER() []byte { return a.cert.Raw }

var instanceID = regexp.MustCompile(`^[0-9a-f]{32}$`)

// SignNode gives a certificate for a node's request when the secret is the
// local one (Token). A wrong one is fault.Denied, a bad request fault.Invalid.
func (a *Authority) SignNode(secret string, requestDER []byte, now time.Time) ([]byte, error) {
	if !a.isLocal(secret) {
		return nil, errSecret()
	}
	request, err := readRequest(requestDER)
	if err != nil {
		return nil, err
	}
	return a.signNode(request, now)
}

func (a *Authority) isLocal(secret string) bool {
	return subtle.ConstantTimeCompare([]byte(secret), []byte(a.secret)) == 1
}

// Renew gives a node that has proved its name a certificate for a new key.
// A request in another name is fault.Denied.
func (a *Authority) Renew(name string, requestDER []byte, now time.Time) ([]byte, error) {
	request, err := readRequest(requestDER)
	if err != nil {
		return nil, err
	}
	if request.Subject.CommonName != name {
		return nil, fault.New(fault.Denied, "the certificate request is in another node's name")
	}
	return a.signNode(request, now)
}

func readRequest(der []byte) (*x509.CertificateRequest, error) {
	request, err := x509.ParseCertificateRequest(der)
	if err != nil {
		return nil, fault.Wrap(fault.Invalid, err, "reading the certificate request")
	}
	if err := request.CheckSignature(); err != nil {
		return nil, fault.Wrap(fault.Invalid, err, "checking the certificate request")
	}
	if !instanceID.MatchString(request.Subject.CommonName) {
		return nil, fault.New(fault.Invalid, "%q is not an instance id of 32 hex digits", request.Subject.CommonName)
	}
	return request, nil
}

func (a *Authority) signNode(request *x509.CertificateRequest, now time.Time) ([]byte, error) {
	return a.sign(request.Subject.CommonName, nil, x509.ExtKeyUsageClientAuth, request.PublicKey, now)
}

func (a *Authority) sign(name string, dnsNames []string, usage x509.ExtKeyUsage, public any, now time.Time) ([]byte, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, err
	}
	return x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: name},
		DNSNames:     dnsNames,
		NotBefore:    now.Add(-time.Hour),
		NotAfter:     now.Add(nodeLife),
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{usage},
	}, a.cert, public, a.key)
}

// ServerTLS is the control plane's side: it shows a fresh certificate under
// nodeapi.ServerName with the authority's beside it, and verifies the
// certificate that a node shows. Join alone is answered without one.
func (a *Authority) ServerTLS(now time.Time) (*tls.Config, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	cert, err := a.sign(nodeapi.ServerName, []string{nodeapi.ServerName}, x509.ExtKeyUsageServerAuth, key.Public(), now)
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	roots.AddCert(a.cert)
	return &tls.Config{
		MinVersion:   tls.VersionTLS13,
		Certificates: []tls.Certificate{{Certificate: [][]byte{cert, a.cert.Raw}, PrivateKey: key}},
		ClientAuth:   tls.VerifyClientCertIfGiven,
		ClientCAs:    roots,
	}, nil
}

func readPEM[T any](file string, parse func([]byte) (T, error)) (T, error) {
	var zero T
	data, err := os.ReadFile(file)
	if err != nil {
		return zero, err
	}
	block, _ := pem.Decode(data)
	if block == nil {
		return zero, fmt.Errorf("%s is not a PEM file", file)
	}
	v, err := parse(block.Bytes)
	if err != nil {
		return zero, fmt.Errorf("reading %s: %w", file, err)
	}
	return v, nil
}

func writePEM(file, kind string, der []byte) error {
	return atomicfile.WriteSecret(file, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
}
