package acm

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"slices"
	"time"

	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/wire/api/acmapi"
)

// check reads what a user imports and refuses what could not serve a TLS
// connection. It returns the certificate.
func check(body, key, chain []byte, now time.Time) (*x509.Certificate, error) {
	certificates, ok := parse(body)
	switch {
	case !ok || len(certificates) == 0:
		return nil, invalid("The certificate is not PEM-encoded or is not valid.")
	case len(certificates) > 1:
		return nil, invalid("The certificate field contains more than one certificate. You can specify only one certificate in this field.")
	}
	leaf := certificates[0]
	if algorithm(leaf) == "" {
		return nil, invalid("The certificate's key algorithm is not supported. Use RSA with 1024 to 4096 bits or an elliptic curve P-256, P-384 or P-521.")
	}
	switch {
	case now.Before(leaf.NotBefore):
		return nil, invalid("The certificate is not valid until %s.", leaf.NotBefore.UTC().Format(time.RFC3339))
	case now.After(leaf.NotAfter):
		return nil, invalid("The certificate has expired, is not valid.")
	}
	if err := checkKey(leaf, key); err != nil {
		return nil, err
	}
	return leaf, checkChain(leaf, chain)
}

// parse reads a sequence of PEM certificates with nothing else among them.
func parse(text []byte) ([]*x509.Certificate, bool) {
	var out []*x509.Certificate
	for len(bytes.TrimSpace(text)) > 0 {
		block, rest := pem.Decode(text)
		if block == nil || block.Type != "CERTIFICATE" {
			return nil, false
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, false
		}
		out, text = append(out, c), rest
	}
	return out, true
}

func checkKey(leaf *x509.Certificate, text []byte) error {
	block, rest := pem.Decode(text)
	if block != nil && block.Type == "EC PARAMETERS" { // what openssl writes before the key itself
		block, _ = pem.Decode(rest)
	}
	if block == nil {
		return invalid("The private key is not PEM-encoded or is not valid.")
	}
	if block.Type == "ENCRYPTED PRIVATE KEY" || block.Headers["DEK-Info"] != "" {
		return invalid("The private key is encrypted. You can specify only an unencrypted private key.")
	}
	signer := privateKey(block)
	if signer == nil {
		return invalid("The private key is not PEM-encoded or is not valid.")
	}
	public, ok := leaf.PublicKey.(interface{ Equal(crypto.PublicKey) bool })
	if !ok || !public.Equal(signer.Public()) {
		return invalid("The private key does not match the certificate.")
	}
	return nil
}

// privateKey reads a key in any of the usual encodings; nil if it is none.
func privateKey(block *pem.Block) crypto.Signer {
	if k, err := x509.ParsePKCS8PrivateKey(block.Bytes); err == nil {
		if signer, ok := k.(crypto.Signer); ok {
			return signer
		}
		return nil
	}
	if k, err := x509.ParsePKCS1PrivateKey(block.Bytes); err == nil {
		return k
	}
	if k, err := x509.ParseECPrivateKey(block.Bytes); err == nil {
		return k
	}
	return nil
}

// checkChain follows the chain from the certificate upwards. Its root may be
// missing, and need not be one that anybody trusts.
func checkChain(leaf *x509.Certificate, text []byte) error {
	if len(text) == 0 {
		return nil
	}
	chain, ok := parse(text)
	if !ok || len(chain) == 0 {
		return invalid("The certificate chain is not PEM-encoded or is not valid.")
	}
	for i, signed := 0, leaf; i < len(chain); i++ {
		if err := signed.CheckSignatureFrom(chain[i]); err != nil {
			return invalid("Unable to validate certificate chain. The certificate chain must start with the immediate signing certificate, "+
				"followed by any intermediaries in order. The index within the chain of the invalid certificate is: %d", i)
		}
		signed = chain[i]
	}
	return nil
}

// algorithm is ACM's word for the key of a certificate; empty when ACM does
// not take such keys.
func algorithm(c *x509.Certificate) acmapi.KeyAlgorithm {
	switch key := c.PublicKey.(type) {
	case *rsa.PublicKey:
		switch key.N.BitLen() {
		case 1024:
			return acmapi.KeyAlgorithmRsa1024
		case 2048:
			return acmapi.KeyAlgorithmRsa2048
		case 3072:
			return acmapi.KeyAlgorithmRsa3072
		case 4096:
			return acmapi.KeyAlgorithmRsa4096
		}
	case *ecdsa.PublicKey:
		switch key.Curve {
		case elliptic.P256():
			return acmapi.KeyAlgorithmEcPrime256v1
		case elliptic.P384():
			return acmapi.KeyAlgorithmEcSecp384r1
		case elliptic.P521():
			return acmapi.KeyAlgorithmEcSecp521r1
		}
	}
	return ""
}

// replaces checks that a certificate may take the place of one: of the same
// kind of key, for at least one of its names, and for all of its uses.
func replaces(leaf *x509.Certificate, old *model.Certificate) error {
	certificates, ok := parse([]byte(old.Body))
	if !ok || len(certificates) == 0 {
		return nil // what cannot be read any more may be replaced by anything
	}
	before := certificates[0]
	switch {
	case algorithm(before) != algorithm(leaf):
		return invalid("The key algorithm of the certificate cannot be changed from %s to %s.", algorithm(before), algorithm(leaf))
	case len(names(before)) > 0 && !slices.ContainsFunc(names(before), func(n string) bool { return slices.Contains(names(leaf), n) }):
		return invalid("The certificate must have at least one of the domain names of the certificate that it replaces.")
	case before.KeyUsage&^leaf.KeyUsage != 0:
		return invalid("Key usages of the certificate that is replaced cannot be removed.")
	}
	return nil
}

// names are the domain names of a certificate, its own first.
func names(c *x509.Certificate) []string {
	var out []string
	if c.Subject.CommonName != "" {
		out = append(out, c.Subject.CommonName)
	}
	for _, n := range c.DNSNames {
		if !slices.Contains(out, n) {
			out = append(out, n)
		}
	}
	return out
}
