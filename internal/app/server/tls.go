package server

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"berth.dev/berth/internal/app/instance"
	"berth.dev/berth/internal/base/atomicfile"
)

// TLS says how the AWS API is encrypted.
type TLS struct {
	// CertFile and KeyFile are the operator's own certificate, PEM. They are
	// read again when they change.
	CertFile, KeyFile string
	// Own makes Berth's own authority sign a certificate at each start.
	Own bool
	// Names are further host names and addresses in the own certificate.
	Names []string
}

// Enabled reports whether the API speaks TLS.
func (t TLS) Enabled() bool { return t.Own || t.CertFile != "" }

// CheckListen refuses what would send signed requests, session tokens and
// secrets over a network in clear: an address other than loopback without TLS.
func CheckListen(listen string, t TLS) error {
	host, _, err := net.SplitHostPort(listen)
	if err != nil {
		return fmt.Errorf("%q is not host:port", listen)
	}
	if (t.CertFile == "") != (t.KeyFile == "") {
		return errors.New("a certificate needs its key: give both --tls-cert and --tls-key")
	}
	if t.Own && t.CertFile != "" {
		return errors.New("--tls makes a certificate, and --tls-cert names one: give one of them")
	}
	if t.Enabled() || isLoopback(host) {
		return nil
	}
	return fmt.Errorf("%s can be reached from other machines, and secrets would pass in clear: add --tls, or --tls-cert and --tls-key", listen)
}

func isLoopback(host string) bool {
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.Unmap().IsLoopback() || host == "localhost"
}

// AuthorityFile is the certificate that clients of an API with Berth's own
// authority must trust.
func AuthorityFile(inst instance.Instance) string { return inst.Path("api-ca.crt") }

// listenAPI opens the API's door. endpoint is how local commands reach it: by
// a name that is in the certificate.
func listenAPI(cfg Config, now time.Time) (door net.Listener, endpoint string, err error) {
	if err := CheckListen(cfg.Listen, cfg.TLS); err != nil {
		return nil, "", err
	}
	listener, err := net.Listen("tcp", cfg.Listen)
	if err != nil {
		return nil, "", fmt.Errorf("listening for the AWS API: %w; choose another address with --listen", err)
	}
	if !cfg.TLS.Enabled() {
		return listener, "http://" + listener.Addr().String(), nil
	}
	secured, host, err := cfg.TLS.server(cfg.Instance, listener.Addr(), now)
	if err != nil {
		return nil, "", errors.Join(err, listener.Close())
	}
	_, port, err := net.SplitHostPort(listener.Addr().String())
	if err != nil {
		return nil, "", errors.Join(err, listener.Close())
	}
	return tls.NewListener(listener, secured), "https://" + net.JoinHostPort(host, port), nil
}

// server is the listener's side of TLS, and a name that its certificate has.
func (t TLS) server(inst instance.Instance, listen net.Addr, now time.Time) (cfg *tls.Config, host string, err error) {
	protocols := []string{"h2", "http/1.1"}
	if t.Own {
		cert, err := ownCertificate(inst, listen, t.Names, now)
		if err != nil {
			return nil, "", fmt.Errorf("making the API's certificate: %w", err)
		}
		host = "127.0.0.1"
		if tcp, ok := listen.(*net.TCPAddr); ok && !tcp.IP.IsUnspecified() {
			host = tcp.IP.String()
		}
		return &tls.Config{MinVersion: tls.VersionTLS12, NextProtos: protocols, Certificates: []tls.Certificate{cert}}, host, nil
	}
	files := &certificateFiles{cert: t.CertFile, key: t.KeyFile}
	cert, err := files.get(nil)
	if err != nil {
		return nil, "", err
	}
	switch leaf := cert.Leaf; {
	case len(leaf.DNSNames) > 0:
		host = leaf.DNSNames[0]
	case len(leaf.IPAddresses) > 0:
		host = leaf.IPAddresses[0].String()
	default:
		return nil, "", fmt.Errorf("the certificate in %s is for no name and no address: clients would refuse it", t.CertFile)
	}
	return &tls.Config{MinVersion: tls.VersionTLS12, NextProtos: protocols, GetCertificate: files.get}, host, nil
}

// certificateFiles reads a certificate again when its file has changed, so
// that renewing one needs no restart.
type certificateFiles struct {
	cert, key string

	mu      sync.Mutex
	changed time.Time
	loaded  *tls.Certificate
}

func (f *certificateFiles) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	info, err := os.Stat(f.cert)
	if err == nil && f.loaded != nil && info.ModTime().Equal(f.changed) {
		return f.loaded, nil
	}
	if err == nil {
		var cert tls.Certificate
		if cert, err = tls.LoadX509KeyPair(f.cert, f.key); err == nil {
			f.loaded, f.changed = &cert, info.ModTime()
			return f.loaded, nil
		}
	}
	if f.loaded != nil { // half of a renewal is there: the old pair is good until the new one is whole
		return f.loaded, nil
	}
	return nil, fmt.Errorf("reading the API's certificate: %w", err)
}

const (
	apiAuthorityLife   = 10 * 365 * 24 * time.Hour
	apiCertificateLife = 397 * 24 * time.Hour // the longest that common clients accept
)

// ownCertificate signs a fresh certificate for the addresses that clients may
// use. Its key is in memory only; the authority's is in a file of mode 0600.
func ownCertificate(inst instance.Instance, listen net.Addr, names []string, now time.Time) (tls.Certificate, error) {
	ca, caKey, err := apiAuthority(inst, now)
	if err != nil {
		return tls.Certificate{}, err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	template := &x509.Certificate{
		Subject:     pkix.Name{CommonName: "Berth AWS API"},
		NotBefore:   now.Add(-time.Hour),
		NotAfter:    now.Add(apiCertificateLife),
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	for _, name := range append(ownNames(listen), names...) {
		if ip := net.ParseIP(name); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, name)
		}
	}
	if template.SerialNumber, err = rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127)); err != nil {
		return tls.Certificate{}, err
	}
	der, err := x509.CreateCertificate(rand.Reader, template, ca, key.Public(), caKey)
	if err != nil {
		return tls.Certificate{}, err
	}
	return tls.Certificate{Certificate: [][]byte{der, ca.Raw}, PrivateKey: key}, nil
}

// ownNames are the names under which this machine is known at listen.
func ownNames(listen net.Addr) []string {
	names := []string{"localhost", "127.0.0.1", "::1"}
	if host, err := os.Hostname(); err == nil {
		names = append(names, host)
	}
	tcp, ok := listen.(*net.TCPAddr)
	switch {
	case !ok:
	case !tcp.IP.IsUnspecified():
		names = append(names, tcp.IP.String())
	default: // every address of the machine leads here
		if addresses, err := net.InterfaceAddrs(); err == nil {
			for _, a := range addresses {
				if ip, ok := a.(*net.IPNet); ok && ip.IP.IsGlobalUnicast() {
					names = append(names, ip.IP.String())
				}
			}
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// apiAuthority reads the API's certificate authority, or makes one at first.
// It is another than the nodes': who trusts the API need not trust nodes.
func apiAuthority(inst instance.Instance, now time.Time) (*x509.Certificate, crypto.Signer, error) {
	keyFile, certFile := inst.Path("server", "pki", "api-ca.key"), AuthorityFile(inst)
	if _, err := os.Stat(certFile); errors.Is(err, fs.ErrNotExist) {
		if err := makeAPIAuthority(keyFile, certFile, now); err != nil {
			return nil, nil, err
		}
	}
	pair, err := tls.LoadX509KeyPair(certFile, keyFile)
	if err != nil {
		return nil, nil, err
	}
	signer, ok := pair.PrivateKey.(crypto.Signer)
	if !ok {
		return nil, nil, fmt.Errorf("%s holds no key that can sign", keyFile)
	}
	return pair.Leaf, signer, nil
}

// makeAPIAuthority writes the certificate last: when it is there, so is the
// key.
func makeAPIAuthority(keyFile, certFile string, now time.Time) error {
	if err := os.MkdirAll(filepath.Dir(keyFile), 0o700); err != nil {
		return err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "Berth API authority"},
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(apiAuthorityLife),
		IsCA: true, BasicConstraintsValid: true, MaxPathLenZero: true, KeyUsage: x509.KeyUsageCertSign,
	}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return err
	}
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return err
	}
	if err := atomicfile.WriteSecret(keyFile, pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der})); err != nil {
		return err
	}
	return atomicfile.WriteSecret(certFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert}))
}
