package acm_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"flag"
	"fmt"
	"math/big"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"berth.dev/berth/internal/base/arn"
	"berth.dev/berth/internal/data/keyring"
	"berth.dev/berth/internal/data/kv/memkv"
	"berth.dev/berth/internal/data/records"
	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/service/acm"
	"berth.dev/berth/internal/wire/api/acmapi"
	"berth.dev/berth/internal/wire/smithy"
)

var update = flag.Bool("update", false, "write the golden files")

var begin = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

type world struct {
	*testing.T
	*acm.Provider
	store *store.Store
	ring  *keyring.Keyring
	clock *atomic.Pointer[time.Time]
}

func newWorld(t *testing.T) *world {
	t.Helper()
	clock := new(atomic.Pointer[time.Time])
	clock.Store(&begin)
	now := func() time.Time { return *clock.Load() }
	s, err := store.Open(memkv.New(0), "/berth/", store.Options{Now: now, CheckMutation: true}, records.All()...)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil && !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
	ring, err := keyring.Ephemeral()
	if err != nil {
		t.Fatal(err)
	}
	return &world{T: t, store: s, ring: ring, clock: clock, Provider: acm.New(acm.Config{Store: s, Ring: ring, Scope: arn.Scope{Region: "us-east-1", AccountID: "123456789012"}, Now: now})}
}

// issued is a certificate with its key.
type issued struct {
	cert *x509.Certificate
	key  crypto.Signer
	body []byte
}

func newKey(t *testing.T) crypto.Signer {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func newCurveKey(t *testing.T, curve elliptic.Curve) crypto.Signer {
	t.Helper()
	key, err := ecdsa.GenerateKey(curve, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// issue makes a certificate for example.com; signer nil: signed by itself.
func issue(t *testing.T, signer *issued, key crypto.Signer, edit func(*x509.Certificate)) *issued {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(0x0a1b), Subject: pkix.Name{CommonName: "example.com"}, DNSNames: []string{"example.com", "www.example.com"},
		NotBefore: begin.Add(-time.Hour), NotAfter: begin.Add(24 * time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, BasicConstraintsValid: true,
	}
	if edit != nil {
		edit(template)
	}
	parent, parentKey := template, key
	if signer != nil {
		parent, parentKey = signer.cert, signer.key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), parentKey)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &issued{cert, key, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})}
}

func authority(template *x509.Certificate) {
	template.IsCA, template.Subject, template.DNSNames = true, pkix.Name{CommonName: "root", Organization: []string{"Acme"}}, nil
	template.KeyUsage = x509.KeyUsageCertSign
}

func (i *issued) keyPEM(t *testing.T) []byte {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(i.key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
}

func (w *world) importing(i *issued, edit ...func(*acmapi.ImportCertificateInput)) (string, error) {
	w.Helper()
	in := &acmapi.ImportCertificateInput{Certificate: i.body, PrivateKey: i.keyPEM(w.T)}
	for _, e := range edit {
		e(in)
	}
	out, err := w.ImportCertificate(w.Context(), in)
	if err != nil {
		return "", err
	}
	return *out.CertificateArn, nil
}

func (w *world) imported(i *issued, edit ...func(*acmapi.ImportCertificateInput)) string {
	w.Helper()
	name, err := w.importing(i, edit...)
	if err != nil {
		w.Fatal(err)
	}
	return name
}

func TestImportAndDescribe(t *testing.T) {
	w := newWorld(t)
	root := issue(t, nil, newKey(t), authority)
	leaf := issue(t, root, newKey(t), nil)
	name := w.imported(leaf, func(in *acmapi.ImportCertificateInput) { in.CertificateChain = root.body })
	if !strings.HasPrefix(name, "arn:aws:acm:us-east-1:123456789012:certificate/") {
		t.Errorf("ARN %s", name)
	}
	out, err := w.DescribeCertificate(t.Context(), &acmapi.DescribeCertificateInput{CertificateArn: &name})
	if err != nil {
		t.Fatal(err)
	}
	d := out.Certificate
	got := fmt.Sprint(*d.DomainName, d.SubjectAlternativeNames, *d.Serial, *d.Subject, *d.Issuer, d.Status, d.Type, d.KeyAlgorithm, *d.SignatureAlgorithm, d.KeyUsages, d.RenewalEligibility, *d.ExtendedKeyUsages[0].OID, d.InUseBy)
	want := "example.com[example.com www.example.com]0a:1bCN=example.comAcmeISSUEDIMPORTEDRSA_2048SHA256WITHRSA[{DIGITAL_SIGNATURE} {KEY_ENCIPHERMENT}]INELIGIBLE1.3.6.1.5.5.7.3.1[]"
	if diff := cmp.Diff(strings.ReplaceAll(want, " ", ""), strings.ReplaceAll(got, " ", "")); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	both, err := w.GetCertificate(t.Context(), &acmapi.GetCertificateInput{CertificateArn: &name})
	if err != nil || *both.Certificate != string(leaf.body) || *both.CertificateChain != string(root.body) {
		t.Errorf("%+v, %v", both, err)
	}
	w.clock.Store(new(begin.Add(48 * time.Hour)))
	if out, err = w.DescribeCertificate(t.Context(), &acmapi.DescribeCertificateInput{CertificateArn: &name}); err != nil || out.Certificate.Status != "EXPIRED" {
		t.Errorf("%+v, %v", out, err)
	}
}

func TestKeysAndEncodings(t *testing.T) {
	w := newWorld(t)
	for want, curve := range map[acmapi.KeyAlgorithm]elliptic.Curve{"EC_prime256v1": elliptic.P256(), "EC_secp384r1": elliptic.P384(), "EC_secp521r1": elliptic.P521()} {
		i := issue(t, nil, newCurveKey(t, curve), nil)
		der, err := x509.MarshalECPrivateKey(i.key.(*ecdsa.PrivateKey))
		if err != nil {
			t.Fatal(err)
		}
		name := w.imported(i, func(in *acmapi.ImportCertificateInput) { // as openssl writes it
			in.PrivateKey = append(pem.EncodeToMemory(&pem.Block{Type: "EC PARAMETERS", Bytes: []byte{6}}), pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der})...)
		})
		out, err := w.DescribeCertificate(t.Context(), &acmapi.DescribeCertificateInput{CertificateArn: &name})
		if err != nil || out.Certificate.KeyAlgorithm != want || !strings.HasSuffix(*out.Certificate.SignatureAlgorithm, "WITHECDSA") {
			t.Errorf("%+v, %v", out, err)
		}
	}
	i := issue(t, nil, newKey(t), nil)
	w.imported(i, func(in *acmapi.ImportCertificateInput) {
		in.PrivateKey = pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(i.key.(*rsa.PrivateKey))})
	})
}

func TestReimportKeepsTheARN(t *testing.T) {
	w := newWorld(t)
	first := issue(t, nil, newKey(t), nil)
	name := w.imported(first, func(in *acmapi.ImportCertificateInput) { in.Tags = []acmapi.Tag{{Key: new("a"), Value: new("1")}} })
	w.clock.Store(new(begin.Add(time.Hour)))
	second := issue(t, nil, newKey(t), func(c *x509.Certificate) { c.DNSNames = []string{"example.com", "new.example.com"} })
	if again := w.imported(second, func(in *acmapi.ImportCertificateInput) { in.CertificateArn = &name }); again != name {
		t.Errorf("%s became %s", name, again)
	}
	out, err := w.DescribeCertificate(t.Context(), &acmapi.DescribeCertificateInput{CertificateArn: &name})
	if err != nil || !slices.Contains(out.Certificate.SubjectAlternativeNames, "new.example.com") || !out.Certificate.CreatedAt.Equal(begin) || !out.Certificate.ImportedAt.Equal(begin.Add(time.Hour)) {
		t.Errorf("%+v, %v", out, err)
	}
	tags, err := w.ListTagsForCertificate(t.Context(), &acmapi.ListTagsForCertificateInput{CertificateArn: &name})
	if err != nil || len(tags.Tags) != 1 {
		t.Errorf("%+v, %v", tags, err)
	}
}

// use makes a load balancer with a listener that has the certificate.
func (w *world) use(name string) {
	w.Helper()
	if _, err := w.store.Update(w.Context(), func(tx *store.Tx) error {
		records.LoadBalancers.Put(tx, &model.LoadBalancer{ID: "app/web/1", ARN: "arn:lb"})
		records.Listeners.Put(tx, &model.Listener{ID: "listener/app/web/1/2", LoadBalancerID: "app/web/1", Certificates: []string{"other", name}})
		return nil
	}); err != nil {
		w.Fatal(err)
	}
}

func TestDelete(t *testing.T) {
	w := newWorld(t)
	used, free := w.imported(issue(t, nil, newKey(t), nil)), w.imported(issue(t, nil, newKey(t), nil))
	w.use(used)
	_, err := w.DeleteCertificate(t.Context(), &acmapi.DeleteCertificateInput{CertificateArn: &used})
	if got := said(err); got != "ResourceInUseException: Certificate "+used+" in account 123456789012 is in use." {
		t.Errorf("got %s", got)
	}
	if _, err := w.DeleteCertificate(t.Context(), &acmapi.DeleteCertificateInput{CertificateArn: &free}); err != nil {
		t.Error(err)
	}
	out, err := w.DescribeCertificate(t.Context(), &acmapi.DescribeCertificateInput{CertificateArn: &used})
	if err != nil || !slices.Equal(out.Certificate.InUseBy, []string{"arn:lb"}) {
		t.Errorf("%+v, %v", out, err)
	}
	list, err := w.ListCertificates(t.Context(), &acmapi.ListCertificatesInput{})
	if err != nil || len(list.CertificateSummaryList) != 1 || !*list.CertificateSummaryList[0].InUse {
		t.Errorf("%+v, %v", list, err)
	}
}

func TestList(t *testing.T) {
	w := newWorld(t)
	key := newKey(t)
	var rsaOnes []string
	for i := range 5 {
		w.clock.Store(new(begin.Add(time.Duration(i) * time.Minute)))
		rsaOnes = append(rsaOnes, w.imported(issue(t, nil, key, nil)))
	}
	curve := w.imported(issue(t, nil, newCurveKey(t, elliptic.P256()), func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth} }))
	list := func(in acmapi.ListCertificatesInput) (names []string) {
		for {
			out, err := w.ListCertificates(t.Context(), &in)
			if err != nil {
				t.Fatal(err)
			}
			for _, s := range out.CertificateSummaryList {
				names = append(names, *s.CertificateArn)
			}
			if in.NextToken = out.NextToken; in.NextToken == nil {
				return names
			}
		}
	}
	reversed := slices.Clone(rsaOnes)
	slices.Reverse(reversed)
	for _, tc := range []struct {
		name string
		in   acmapi.ListCertificatesInput
		want []string
	}{
		{"only usual keys unless asked", acmapi.ListCertificatesInput{}, rsaOnes},
		{"pages", acmapi.ListCertificatesInput{MaxItems: new(int32(2))}, rsaOnes},
		{"pages downwards", acmapi.ListCertificatesInput{MaxItems: new(int32(2)), SortBy: "CREATED_AT", SortOrder: "DESCENDING"}, reversed},
		{"by key", acmapi.ListCertificatesInput{Includes: &acmapi.Filters{KeyTypes: []acmapi.KeyAlgorithm{"EC_prime256v1"}}}, []string{curve}},
		{"by use", acmapi.ListCertificatesInput{Includes: &acmapi.Filters{KeyTypes: []acmapi.KeyAlgorithm{"RSA_2048", "EC_prime256v1"}, ExtendedKeyUsage: []acmapi.ExtendedKeyUsageName{"TLS_WEB_CLIENT_AUTHENTICATION"}}}, []string{curve}},
		{"by status", acmapi.ListCertificatesInput{CertificateStatuses: []acmapi.CertificateStatus{"EXPIRED"}}, nil},
		{"managed by another", acmapi.ListCertificatesInput{Includes: &acmapi.Filters{ManagedBy: "CLOUDFRONT"}}, nil},
	} {
		if diff := cmp.Diff(tc.want, list(tc.in)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tc.name, diff)
		}
	}
}

func TestTags(t *testing.T) {
	w := newWorld(t)
	name := w.imported(issue(t, nil, newKey(t), nil))
	tag := func(key, value string) acmapi.Tag { return acmapi.Tag{Key: &key, Value: &value} }
	if _, err := w.AddTagsToCertificate(t.Context(), &acmapi.AddTagsToCertificateInput{CertificateArn: &name, Tags: []acmapi.Tag{tag("a", "1"), tag("b", "2"), tag("c", "3")}}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.RemoveTagsFromCertificate(t.Context(), &acmapi.RemoveTagsFromCertificateInput{CertificateArn: &name, Tags: []acmapi.Tag{{Key: new("a")}, tag("b", "2"), tag("c", "other")}}); err != nil {
		t.Fatal(err)
	}
	out, err := w.ListTagsForCertificate(t.Context(), &acmapi.ListTagsForCertificateInput{CertificateArn: &name})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]acmapi.Tag{tag("c", "3")}, out.Tags); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func said(err error) string {
	var api smithy.APIError
	if !errors.As(err, &api) {
		return fmt.Sprintf("internal: %v", err)
	}
	return api.ErrorCode() + ": " + api.ErrorMessage()
}

func TestErrors(t *testing.T) {
	w := newWorld(t)
	key := newKey(t)
	root := issue(t, nil, newKey(t), authority)
	leaf := issue(t, root, key, nil)
	name := w.imported(leaf)
	_, edwards, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	missing := "arn:aws:acm:us-east-1:123456789012:certificate/none"
	var lines strings.Builder
	add := func(err error) { fmt.Fprintln(&lines, strings.ReplaceAll(said(err), name, "CERTIFICATE")) }
	try := func(i *issued, edit ...func(*acmapi.ImportCertificateInput)) {
		_, err := w.importing(i, edit...)
		add(err)
	}
	over := func(in *acmapi.ImportCertificateInput) { in.CertificateArn = &name }

	fmt.Fprintln(&lines, "# ImportCertificate")
	try(leaf, func(in *acmapi.ImportCertificateInput) { in.Certificate = []byte("x") })
	try(leaf, func(in *acmapi.ImportCertificateInput) { in.Certificate = leaf.keyPEM(t) })
	try(leaf, func(in *acmapi.ImportCertificateInput) { in.Certificate = slices.Concat(leaf.body, root.body) })
	try(issue(t, nil, edwards, nil))
	try(issue(t, nil, key, func(c *x509.Certificate) { c.NotBefore = begin.Add(time.Hour) }))
	try(issue(t, nil, key, func(c *x509.Certificate) { c.NotAfter = begin.Add(-time.Minute) }))
	try(leaf, func(in *acmapi.ImportCertificateInput) { in.PrivateKey = []byte("x") })
	try(leaf, func(in *acmapi.ImportCertificateInput) {
		in.PrivateKey = bytes.ReplaceAll(leaf.body, []byte("CERTIFICATE"), []byte("PRIVATE KEY"))
	})
	try(leaf, func(in *acmapi.ImportCertificateInput) {
		in.PrivateKey = pem.EncodeToMemory(&pem.Block{Type: "ENCRYPTED PRIVATE KEY", Bytes: []byte{1}})
	})
	try(leaf, func(in *acmapi.ImportCertificateInput) { in.PrivateKey = root.keyPEM(t) })
	try(leaf, func(in *acmapi.ImportCertificateInput) { in.CertificateChain = []byte("x") })
	try(leaf, func(in *acmapi.ImportCertificateInput) { in.CertificateChain = slices.Concat(root.body, leaf.body) })
	try(leaf, func(in *acmapi.ImportCertificateInput) { in.Tags = []acmapi.Tag{{Key: new("aws:x")}} })
	fmt.Fprintln(&lines, "\n# ImportCertificate again")
	try(leaf, func(in *acmapi.ImportCertificateInput) { in.CertificateArn = &missing })
	try(leaf, over, func(in *acmapi.ImportCertificateInput) { in.Tags = []acmapi.Tag{{Key: new("x")}} })
	try(issue(t, nil, newCurveKey(t, elliptic.P256()), nil), over)
	try(issue(t, nil, key, func(c *x509.Certificate) { c.Subject.CommonName, c.DNSNames = "other.org", nil }), over)
	try(issue(t, nil, key, func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageDigitalSignature }), over)
	fmt.Fprintln(&lines, "\n# others")
	_, err = w.DescribeCertificate(t.Context(), &acmapi.DescribeCertificateInput{CertificateArn: &missing})
	add(err)
	_, err = w.GetCertificate(t.Context(), &acmapi.GetCertificateInput{CertificateArn: new("arn:aws:acm:us-east-1:123456789012:key/x")})
	add(err)
	_, err = w.ListCertificates(t.Context(), &acmapi.ListCertificatesInput{NextToken: new("?")})
	add(err)
	_, err = w.ListCertificates(t.Context(), &acmapi.ListCertificatesInput{SortBy: "CREATED_AT"})
	add(err)
	many := make([]acmapi.Tag, 51)
	for i := range many {
		many[i].Key = new(fmt.Sprint(i))
	}
	_, err = w.AddTagsToCertificate(t.Context(), &acmapi.AddTagsToCertificateInput{CertificateArn: &name, Tags: many})
	add(err)

	const path = "testdata/errors.golden"
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(lines.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), lines.String()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// The private key is in the store sealed for its certificate, also after a
// second import, and nowhere in clear.
func TestPrivateKeysAreSealed(t *testing.T) {
	w := newWorld(t)
	first := issue(t, nil, newKey(t), nil)
	name := w.imported(first)
	second := issue(t, nil, newKey(t), nil)
	for _, i := range []*issued{first, second} {
		if i == second {
			if again := w.imported(i, func(in *acmapi.ImportCertificateInput) { in.CertificateArn = &name }); again != name {
				t.Fatalf("the second import has the ARN %s, not %s", again, name)
			}
		}
		c, ok := records.Certificates.Get(w.store.Snapshot(), name)
		if !ok {
			t.Fatal("no certificate")
		}
		key, err := w.ring.Open(c.SealedKey, keyring.CertificateKey(name))
		if err != nil || !bytes.Equal(key, i.keyPEM(t)) || c.Clear != "" {
			t.Errorf("opened %q, %v, and %q is in clear", key, err, c.Clear)
		}
	}
}
