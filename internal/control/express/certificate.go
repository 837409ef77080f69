package express

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"time"
)

const (
	// certificateLife is the longest that common clients accept.
	certificateLife = 397 * 24 * time.Hour
	// renewBefore is how long before its end a certificate is replaced: ACM's 60
	// days.
	renewBefore = 60 * 24 * time.Hour
)

// Issued is a certificate with its key and chain, all PEM.
type Issued struct{ Certificate, Key, Chain []byte }

// Issuer makes certificates.
type Issuer interface {
	// Issue makes a certificate for a host name, valid at now.
	Issue(name string, now time.Time) (Issued, error)
}

// Authority issues certificates that its own signs. The zero value issues ones
// that are signed by their own keys.
type Authority struct {
	Certificate *x509.Certificate
	Key         crypto.Signer
}

var _ Issuer = Authority{}

// Issue implements Issuer.
func (a Authority) Issue(name string, now time.Time) (Issued, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return Issued{}, err
	}
	template := &x509.Certificate{
		DNSNames: []string{name}, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(certificateLife),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, BasicConstraintsValid: true,
	}
	if len(name) <= 64 { // as long as a common name may be
		template.Subject = pkix.Name{CommonName: name}
	}
	if template.SerialNumber, err = rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127)); err != nil {
		return Issued{}, err
	}
	parent, signer := template, crypto.Signer(key)
	if a.Certificate != nil {
		parent, signer = a.Certificate, a.Key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
	if err != nil {
		return Issued{}, err
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return Issued{}, err
	}
	out := Issued{
		Certificate: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		Key:         pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}),
	}
	if a.Certificate != nil {
		out.Chain = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.Certificate.Raw})
	}
	return out, nil
}

// due reports whether a certificate, PEM, must be replaced.
func due(body string, now time.Time) bool {
	block, _ := pem.Decode([]byte(body))
	if block == nil {
		return true
	}
	c, err := x509.ParseCertificate(block.Bytes)
	return err != nil || now.After(c.NotAfter.Add(-renewBefore))
}
