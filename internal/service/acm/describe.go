package acm

import (
	"cmp"
	"context"
	"crypto/x509"
	"encoding/asn1"
	"encoding/base64"
	"fmt"
	"slices"
	"strings"

	"berth.dev/berth/internal/data/records"
	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/wire/api/acmapi"
)

// DescribeCertificate implements acmapi.Service.
func (p *Provider) DescribeCertificate(_ context.Context, in *acmapi.DescribeCertificateInput) (*acmapi.DescribeCertificateOutput, error) {
	snap := p.store.Snapshot()
	c, err := p.certificate(snap, *in.CertificateArn)
	if err != nil {
		return nil, err
	}
	leaf, err := leafOf(c)
	if err != nil {
		return nil, err
	}
	out := &acmapi.CertificateDetail{
		CertificateArn: &c.ARN, SubjectAlternativeNames: names(leaf), Serial: new(serial(leaf)), Subject: new(leaf.Subject.String()),
		Issuer: new(issuer(leaf)), CreatedAt: &c.CreatedAt, ImportedAt: &c.ImportedAt, Status: p.status(leaf), NotBefore: &leaf.NotBefore, NotAfter: &leaf.NotAfter,
		KeyAlgorithm: algorithm(leaf), SignatureAlgorithm: new(signature(leaf)), InUseBy: usersOf(snap, c.ARN),
		Type: acmapi.CertificateTypeImported, RenewalEligibility: acmapi.RenewalEligibilityIneligible,
		KeyUsages: []acmapi.KeyUsage{}, ExtendedKeyUsages: []acmapi.ExtendedKeyUsage{},
		Options: &acmapi.CertificateOptions{CertificateTransparencyLoggingPreference: acmapi.CertificateTransparencyLoggingPreferenceDisabled},
	}
	if n := names(leaf); len(n) > 0 {
		out.DomainName = &n[0]
	}
	for _, u := range usages(leaf) {
		out.KeyUsages = append(out.KeyUsages, acmapi.KeyUsage{Name: u})
	}
	for _, u := range extendedUsages(leaf) {
		out.ExtendedKeyUsages = append(out.ExtendedKeyUsages, acmapi.ExtendedKeyUsage{Name: u.name, OID: &u.oid})
	}
	return &acmapi.DescribeCertificateOutput{Certificate: out}, nil
}

// leafOf reads a stored certificate. It was read before it was stored.
func leafOf(c *model.Certificate) (*x509.Certificate, error) {
	certificates, ok := parse([]byte(c.Body))
	if !ok || len(certificates) == 0 {
		return nil, fmt.Errorf("certificate %s cannot be read", c.ARN)
	}
	return certificates[0], nil
}

func (p *Provider) status(leaf *x509.Certificate) acmapi.CertificateStatus {
	if p.now().After(leaf.NotAfter) {
		return acmapi.CertificateStatusExpired
	}
	return acmapi.CertificateStatusIssued
}

// serial is a serial number in hexadecimal with colons.
func serial(c *x509.Certificate) string {
	var parts []string
	for _, b := range c.SerialNumber.Bytes() {
		parts = append(parts, fmt.Sprintf("%02x", b))
	}
	return strings.Join(parts, ":")
}

// issuer is who signed, by organization if it has one.
func issuer(c *x509.Certificate) string {
	if len(c.Issuer.Organization) > 0 {
		return c.Issuer.Organization[0]
	}
	return c.Issuer.CommonName
}

// signature is a signature algorithm in Java's words, which ACM uses.
func signature(c *x509.Certificate) string {
	hash, key, found := strings.Cut(c.SignatureAlgorithm.String(), "-")
	if !found { // such as Ed25519
		return strings.ToUpper(hash)
	}
	if hash == "ECDSA" {
		hash, key = key, hash
	}
	return strings.ToUpper(hash + "with" + key)
}

func usages(c *x509.Certificate) []acmapi.KeyUsageName {
	var out []acmapi.KeyUsageName
	for i, name := range []acmapi.KeyUsageName{ // in the order of the bits
		acmapi.KeyUsageNameDigitalSignature, acmapi.KeyUsageNameNonRepudiation, acmapi.KeyUsageNameKeyEncipherment, acmapi.KeyUsageNameDataEncipherment,
		acmapi.KeyUsageNameKeyAgreement, acmapi.KeyUsageNameCertificateSigning, acmapi.KeyUsageNameCrlSigning, acmapi.KeyUsageNameEncipherOnly, acmapi.KeyUsageNameDecipherOnly,
	} {
		if c.KeyUsage&(1<<i) != 0 {
			out = append(out, name)
		}
	}
	return out
}

type extendedUsage struct {
	name acmapi.ExtendedKeyUsageName
	oid  string
}

func extendedUsages(c *x509.Certificate) []extendedUsage {
	known := map[x509.ExtKeyUsage]extendedUsage{
		x509.ExtKeyUsageAny:             {acmapi.ExtendedKeyUsageNameAny, "2.5.29.37.0"},
		x509.ExtKeyUsageServerAuth:      {acmapi.ExtendedKeyUsageNameTlsWebServerAuthentication, "1.3.6.1.5.5.7.3.1"},
		x509.ExtKeyUsageClientAuth:      {acmapi.ExtendedKeyUsageNameTlsWebClientAuthentication, "1.3.6.1.5.5.7.3.2"},
		x509.ExtKeyUsageCodeSigning:     {acmapi.ExtendedKeyUsageNameCodeSigning, "1.3.6.1.5.5.7.3.3"},
		x509.ExtKeyUsageEmailProtection: {acmapi.ExtendedKeyUsageNameEmailProtection, "1.3.6.1.5.5.7.3.4"},
		x509.ExtKeyUsageIPSECEndSystem:  {acmapi.ExtendedKeyUsageNameIpsecEndSystem, "1.3.6.1.5.5.7.3.5"},
		x509.ExtKeyUsageIPSECTunnel:     {acmapi.ExtendedKeyUsageNameIpsecTunnel, "1.3.6.1.5.5.7.3.6"},
		x509.ExtKeyUsageIPSECUser:       {acmapi.ExtendedKeyUsageNameIpsecUser, "1.3.6.1.5.5.7.3.7"},
		x509.ExtKeyUsageTimeStamping:    {acmapi.ExtendedKeyUsageNameTimeStamping, "1.3.6.1.5.5.7.3.8"},
		x509.ExtKeyUsageOCSPSigning:     {acmapi.ExtendedKeyUsageNameOcspSigning, "1.3.6.1.5.5.7.3.9"},
	}
	var out []extendedUsage
	for _, u := range c.ExtKeyUsage {
		if e, ok := known[u]; ok {
			out = append(out, e)
		}
	}
	for _, u := range c.UnknownExtKeyUsage {
		out = append(out, extendedUsage{acmapi.ExtendedKeyUsageNameCustom, asn1.ObjectIdentifier(u).String()})
	}
	return out
}

// listed is a certificate with what ListCertificates looks at.
type listed struct {
	*model.Certificate
	leaf *x509.Certificate
}

// order is when a certificate was made; the ARN makes it unique.
func (l listed) order() string {
	return fmt.Sprintf("%020d %s", l.CreatedAt.UnixNano(), l.ARN)
}

// ListCertificates implements acmapi.Service. Unless asked for others, it
// lists those with RSA keys of 1024 and 2048 bits only, as AWS does.
func (p *Provider) ListCertificates(_ context.Context, in *acmapi.ListCertificatesInput) (*acmapi.ListCertificatesOutput, error) {
	if (in.SortBy == "") != (in.SortOrder == "") {
		return nil, invalid("SortBy and SortOrder must be specified together.")
	}
	snap := p.store.Snapshot()
	var all []listed
	for c := range records.Certificates.All(snap) {
		leaf, err := leafOf(c)
		if err != nil {
			return nil, err
		}
		if p.matches(leaf, in) {
			all = append(all, listed{c, leaf})
		}
	}
	down := in.SortOrder == acmapi.SortOrderDescending
	slices.SortFunc(all, func(a, b listed) int {
		if down {
			a, b = b, a
		}
		return cmp.Compare(a.order(), b.order())
	})
	page, next, err := pageOf(all, down, in)
	if err != nil {
		return nil, err
	}
	out := &acmapi.ListCertificatesOutput{CertificateSummaryList: []acmapi.CertificateSummary{}, NextToken: next}
	for _, l := range page {
		out.CertificateSummaryList = append(out.CertificateSummaryList, p.summary(snap, l))
	}
	return out, nil
}

func (p *Provider) matches(leaf *x509.Certificate, in *acmapi.ListCertificatesInput) bool {
	filters := in.Includes
	if filters == nil {
		filters = &acmapi.Filters{}
	}
	keys := filters.KeyTypes
	if len(keys) == 0 {
		keys = []acmapi.KeyAlgorithm{acmapi.KeyAlgorithmRsa1024, acmapi.KeyAlgorithmRsa2048}
	}
	any := func(want []acmapi.KeyUsageName, has []acmapi.KeyUsageName) bool {
		return len(want) == 0 || slices.Contains(want, acmapi.KeyUsageNameAny) ||
			slices.ContainsFunc(has, func(u acmapi.KeyUsageName) bool { return slices.Contains(want, u) })
	}
	extended := len(filters.ExtendedKeyUsage) == 0 || slices.Contains(filters.ExtendedKeyUsage, acmapi.ExtendedKeyUsageNameAny) ||
		slices.ContainsFunc(extendedUsages(leaf), func(u extendedUsage) bool { return slices.Contains(filters.ExtendedKeyUsage, u.name) })
	return slices.Contains(keys, algorithm(leaf)) && any(filters.KeyUsage, usages(leaf)) && extended &&
		(len(in.CertificateStatuses) == 0 || slices.Contains(in.CertificateStatuses, p.status(leaf))) &&
		filters.ExportOption != acmapi.CertificateExportEnabled && filters.ManagedBy == ""
}

// maxItems is how many certificates a page has at most, and unasked.
const maxItems = 1000

func pageOf(all []listed, down bool, in *acmapi.ListCertificatesInput) ([]listed, *string, error) {
	if in.NextToken != nil {
		last, err := base64.URLEncoding.DecodeString(*in.NextToken)
		if err != nil {
			return nil, nil, invalid("The next token is not valid.")
		}
		done := func(l listed) bool {
			c := cmp.Compare(l.order(), string(last))
			return c == 0 || (c > 0) == down
		}
		for len(all) > 0 && done(all[0]) {
			all = all[1:]
		}
	}
	limit := maxItems
	if in.MaxItems != nil {
		limit = int(*in.MaxItems)
	}
	if len(all) <= limit {
		return all, nil, nil
	}
	return all[:limit], new(base64.URLEncoding.EncodeToString([]byte(all[limit-1].order()))), nil
}

func (p *Provider) summary(r store.Reader, l listed) acmapi.CertificateSummary {
	out := acmapi.CertificateSummary{
		CertificateArn: &l.ARN, SubjectAlternativeNameSummaries: names(l.leaf), HasAdditionalSubjectAlternativeNames: new(false),
		Status: p.status(l.leaf), Type: acmapi.CertificateTypeImported, KeyAlgorithm: algorithm(l.leaf),
		KeyUsages: append([]acmapi.KeyUsageName{}, usages(l.leaf)...), ExtendedKeyUsages: []acmapi.ExtendedKeyUsageName{},
		InUse: new(len(usersOf(r, l.ARN)) > 0), RenewalEligibility: acmapi.RenewalEligibilityIneligible,
		NotBefore: &l.leaf.NotBefore, NotAfter: &l.leaf.NotAfter, CreatedAt: &l.CreatedAt, ImportedAt: &l.ImportedAt,
	}
	if n := names(l.leaf); len(n) > 0 {
		out.DomainName = &n[0]
	}
	for _, u := range extendedUsages(l.leaf) {
		out.ExtendedKeyUsages = append(out.ExtendedKeyUsages, u.name)
	}
	return out
}
