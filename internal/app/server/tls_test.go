package server

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"berth.dev/berth/internal/app/instance"
)

func TestCheckListen(t *testing.T) {
	own, given := TLS{Own: true}, TLS{CertFile: "a", KeyFile: "b"}
	for _, test := range []struct {
		listen string
		tls    TLS
		refuse string // a part of the error; empty: accepted
	}{
		{"127.0.0.1:8577", TLS{}, ""},
		{"127.1.2.3:8577", TLS{}, ""},
		{"[::1]:8577", TLS{}, ""},
		{"[::ffff:127.0.0.1]:8577", TLS{}, ""},
		{"localhost:8577", TLS{}, ""},
		{"0.0.0.0:8577", TLS{}, "--tls"},
		{":8577", TLS{}, "--tls"},
		{"[::]:8577", TLS{}, "--tls"},
		{"192.0.2.1:8577", TLS{}, "--tls"},
		{"berth.example.com:8577", TLS{}, "--tls"},
		{"localhost.example.com:8577", TLS{}, "--tls"},
		{"0.0.0.0:8577", own, ""},
		{"0.0.0.0:8577", given, ""},
		{"127.0.0.1:8577", own, ""},
		{"0.0.0.0:8577", TLS{CertFile: "a"}, "both"},
		{"127.0.0.1:8577", TLS{KeyFile: "a"}, "both"},
		{"0.0.0.0:8577", TLS{Own: true, CertFile: "a", KeyFile: "b"}, "one of them"},
		{"8577", own, "host:port"},
	} {
		err := CheckListen(test.listen, test.tls)
		if test.refuse == "" && err != nil || test.refuse != "" && (err == nil || !strings.Contains(err.Error(), test.refuse)) {
			t.Errorf("CheckListen(%q, %+v) = %v, want an error with %q", test.listen, test.tls, err, test.refuse)
		}
	}
}

// Own certificates of two starts are signed by one authority, whose file alone
// a client needs.
func TestListenAPI_OwnAuthority(t *testing.T) {
	inst := anInstance(t)
	for range 2 {
		endpoint := serveTLS(t, Config{Instance: inst, Listen: "127.0.0.1:0", TLS: TLS{Own: true, Names: []string{"berth.example.com", "192.0.2.9"}}})
		authority, err := os.ReadFile(AuthorityFile(inst))
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"", "localhost", "berth.example.com", "192.0.2.9"} {
			get(t, endpoint, name, authority)
		}
	}
	if info, err := os.Stat(inst.Path("server", "pki", "api-ca.key")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the authority's key has mode %v (%v), want 0600", info.Mode(), err)
	}
}

// A certificate that the operator renews is used from the next connection on,
// and one that is only half written is not.
func TestListenAPI_GivenCertificateIsReadAgain(t *testing.T) {
	dir, inst := t.TempDir(), anInstance(t)
	files := TLS{CertFile: filepath.Join(dir, "tls.crt"), KeyFile: filepath.Join(dir, "tls.key")}
	first := writePair(t, files, "first.example.com")
	endpoint := serveTLS(t, Config{Instance: inst, Listen: "127.0.0.1:0", TLS: files})
	if !strings.HasPrefix(endpoint, "https://first.example.com:") {
		t.Errorf("the endpoint is %s, want a name that the certificate has", endpoint)
	}
	address := strings.Replace(endpoint, "first.example.com", "127.0.0.1", 1)
	get(t, address, "first.example.com", first)

	if err := os.WriteFile(files.CertFile, []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	get(t, address, "first.example.com", first)
	second := writePair(t, files, "second.example.com")
	get(t, address, "second.example.com", second)
}

// anInstance is one of the test's own; nothing of it is left below /run.
func anInstance(t *testing.T) instance.Instance {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("makes a directory below /run: needs root")
	}
	inst, err := instance.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := inst.Remove(); err != nil {
			t.Error(err)
		}
	})
	return inst
}

func serveTLS(t *testing.T, cfg Config) (endpoint string) {
	t.Helper()
	listener, endpoint, err := listenAPI(cfg, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.TLS == nil {
			t.Error("a request came in clear")
		}
		w.WriteHeader(http.StatusNoContent)
	}))
	server.Listener.Close() //nolint:errcheck,gosec // another takes its place
	server.Listener = listener
	server.Start()
	t.Cleanup(server.Close)
	return endpoint
}

// get asks over a new connection, trusting authority only.
func get(t *testing.T, endpoint, name string, authority []byte) {
	t.Helper()
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(authority)
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{RootCAs: roots, ServerName: name}}}
	answer, err := client.Get(endpoint)
	if err != nil {
		t.Fatalf("GET %s as %q: %v", endpoint, name, err)
	}
	answer.Body.Close() //nolint:errcheck,gosec // it is empty
	if answer.StatusCode != http.StatusNoContent {
		t.Errorf("GET %s: %s", endpoint, answer.Status)
	}
}

// writePair writes a self-signed certificate; its modification time differs
// from that of any before.
func writePair(t *testing.T, files TLS, name string) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: serial, DNSNames: []string{name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	cert := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	for file, data := range map[string][]byte{files.CertFile: cert, files.KeyFile: pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: keyDER})} {
		if err := os.WriteFile(file, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	later := time.Now().Add(time.Duration(serial.Int64()%1000+1) * time.Second)
	if err := os.Chtimes(files.CertFile, later, later); err != nil {
		t.Fatal(err)
	}
	return cert
}

func TestListenAPI_RefusesClearTextToOthers(t *testing.T) {
	if _, _, err := listenAPI(Config{Instance: anInstance(t), Listen: "0.0.0.0:0"}, time.Now()); err == nil {
		t.Fatal("the API listens on every address in clear")
	}
}
