package nodeca_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"berth.dev/berth/internal/base/fault"
	"berth.dev/berth/internal/control/nodeca"
	"berth.dev/berth/internal/wire/nodeapi"
)

var nodeID = strings.Repeat("0a", 16)

func open(t *testing.T, dir string) *nodeca.Authority {
	t.Helper()
	a, err := nodeca.Open(dir, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// request makes a certificate request and its key.
func request(t *testing.T, name string) ([]byte, *ecdsa.PrivateKey) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{
		Subject: pkix.Name{CommonName: name}, DNSNames: []string{nodeapi.ServerName},
	}, key)
	if err != nil {
		t.Fatal(err)
	}
	return der, key
}

func TestOpen_KeepsTheAuthority(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "pki")
	a, again, other := open(t, dir), open(t, dir), open(t, t.TempDir())
	if a.Token() != again.Token() || !bytes.Equal(a.CertificateDER(), again.CertificateDER()) {
		t.Error("the second time it is another authority")
	}
	if a.Token() == other.Token() {
		t.Error("two directories have one authority")
	}
	// A crash before the certificate was written leaves no authority.
	if err := os.Remove(filepath.Join(dir, "ca.crt")); err != nil {
		t.Fatal(err)
	}
	if open(t, dir).Token() == a.Token() {
		t.Error("half an authority was taken for one")
	}
}

func TestOpen_KeepsSecrets(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "pki")
	open(t, dir)
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if err == nil && info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s has mode %s", entry.Name(), info.Mode())
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

func TestOpen_Damaged(t *testing.T) {
	for _, file := range []string{"ca.key", "ca.crt"} {
		dir := t.TempDir()
		open(t, dir)
		if err := os.WriteFile(filepath.Join(dir, file), []byte("nonsense"), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := nodeca.Open(dir, time.Now()); err == nil || !strings.Contains(err.Error(), file) {
			t.Errorf("a damaged %s: %v", file, err)
		}
	}
}

func TestSignNode(t *testing.T) {
	a := open(t, t.TempDir())
	secret := a.Token().Secret
	good, _ := request(t, nodeID)
	nameless, _ := request(t, "")
	short, _ := request(t, "0a")
	upper, _ := request(t, strings.ToUpper(nodeID))
	forged := bytes.Clone(good)
	forged[len(forged)-1] ^= 1
	for _, test := range []struct {
		name    string
		secret  string
		request []byte
		want    error
	}{
		{"good", secret, good, nil},
		{"a wrong secret", secret + "x", good, fault.Denied},
		{"no secret", "", good, fault.Denied},
		{"no name", secret, nameless, fault.Invalid},
		{"a short name", secret, short, fault.Invalid},
		{"capital letters", secret, upper, fault.Invalid},
		{"not signed by its key", secret, forged, fault.Invalid},
		{"nonsense", secret, []byte("nonsense"), fault.Invalid},
	} {
		cert, err := a.SignNode(test.secret, test.request, time.Now())
		if !errors.Is(err, test.want) || (err == nil) != (cert != nil) {
			t.Errorf("%s: %v, want %v", test.name, err, test.want)
		}
	}
	der, err := a.SignNode(secret, good, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil || cert.Subject.CommonName != nodeID || cert.IsCA || len(cert.DNSNames) != 0 {
		t.Errorf("signed %+v, %v", cert, err)
	}
}

// shake makes a TLS connection and returns what either side says.
func shake(t *testing.T, server, client *tls.Config) (tls.ConnectionState, error) {
	t.Helper()
	ours, theirs := net.Pipe()
	defer ours.Close()   //nolint:errcheck // the test is over
	defer theirs.Close() //nolint:errcheck // the test is over
	conn := tls.Server(theirs, server)
	done := make(chan error, 1)
	go func() {
		done <- tls.Client(ours, client).HandshakeContext(t.Context())
		ours.Close() //nolint:errcheck,gosec // so that the server's end ends too
	}()
	err := conn.HandshakeContext(t.Context())
	return conn.ConnectionState(), errors.Join(<-done, err)
}

func TestServerTLS(t *testing.T) {
	a, other := open(t, t.TempDir()), open(t, t.TempDir())
	server, err := a.ServerTLS(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	ca, err := x509.ParseCertificate(a.CertificateDER())
	if err != nil {
		t.Fatal(err)
	}
	roots.AddCert(ca)
	client := func(signer *nodeca.Authority) *tls.Config {
		der, key := request(t, nodeID)
		cert, err := signer.SignNode(signer.Token().Secret, der, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		return &tls.Config{ServerName: nodeapi.ServerName, RootCAs: roots, GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			return &tls.Certificate{Certificate: [][]byte{cert}, PrivateKey: key}, nil
		}}
	}
	state, err := shake(t, server, client(a))
	if err != nil || len(state.VerifiedChains) == 0 || state.VerifiedChains[0][0].Subject.CommonName != nodeID {
		t.Errorf("a node's certificate: %v", err)
	}
	if _, err := shake(t, server, client(other)); err == nil {
		t.Error("another authority's certificate is accepted")
	}
	if _, err := shake(t, server, a.Token().JoinTLS()); err != nil {
		t.Errorf("a node that joins: %v", err)
	}
	if _, err := shake(t, server, other.Token().JoinTLS()); err == nil {
		t.Error("a node joins another control plane than its token's")
	}
	// A node's certificate is good for being a node, not for playing the server,
	// whatever names its request asked for.
	der, key := request(t, nodeID)
	cert, err := a.SignNode(a.Token().Secret, der, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	impostor := &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{cert, a.CertificateDER()}, PrivateKey: key}}}
	if _, err := shake(t, impostor, a.Token().JoinTLS()); err == nil {
		t.Error("a node can play the control plane")
	}
	// Nor is the authority's certificate beside another's.
	strange, err := other.ServerTLS(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	strange.Certificates[0].Certificate = [][]byte{strange.Certificates[0].Certificate[0], a.CertificateDER()}
	if _, err := shake(t, strange, a.Token().JoinTLS()); err == nil {
		t.Error("the authority's certificate alone makes a control plane")
	}
}
