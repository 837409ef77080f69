package routing

import (
	"crypto/tls"
	"maps"
	"path"
	"slices"
	"strings"

	"berth.dev/berth/internal/model"
)

// certificates writes the files of the certificates that can be used. One that cannot leaves the configuration: HAProxy
// would not start with it.
func (c *compiler) certificates() {
	for _, arn := range slices.Sorted(maps.Keys(c.lb.Certificates)) {
		key := c.lb.Certificates[arn]
		chain := strings.TrimSpace(key.Certificate) + "\n"
		if strings.TrimSpace(key.Chain) != "" {
			chain += strings.TrimSpace(key.Chain) + "\n"
		}
		if _, err := tls.X509KeyPair([]byte(chain), []byte(key.PrivateKey)); err != nil {
			c.problem("certificate %s: %v", arn, err)
			continue
		}
		content := chain + strings.TrimSpace(key.PrivateKey) + "\n"
		// The name has the content's digest, so that a certificate that was imported again changes the configuration.
		file := digest(content) + ".pem"
		c.files[file] = content
		c.certs[arn] = path.Join(c.site.Files, file)
	}
}

// tlsOptions are those of a bind line; false when the listener has no certificate.
func (c *compiler) tlsOptions(l *model.Listener) (string, bool) {
	options := " ssl"
	found := false
	for _, arn := range l.Certificates { // HAProxy's default is the first, like AWS's
		if file, ok := c.certs[arn]; ok {
			options += " crt " + quote(file)
			found = true
		} else if len(c.lb.Certificates[arn].Certificate) == 0 {
			c.problem("certificate %s of the listener on port %d is not known here", arn, l.Port)
		}
	}
	p := policy(l.SSLPolicy)
	options += " ssl-min-ver " + p.least + " ssl-max-ver " + p.most + " ciphers " + quote(p.ciphers)
	if p.least != "TLSv1.3" {
		options += " no-tls-tickets"
	}
	if l.Protocol == "HTTPS" {
		if enabled(c.lb.LoadBalancer.Attributes, "routing.http2.enabled") {
			options += " alpn h2,http/1.1"
		} else {
			options += " alpn http/1.1"
		}
		return options, found
	}
	switch strings.Join(l.ALPNPolicy, "") {
	case "HTTP1Only":
		options += " alpn http/1.1"
	case "HTTP2Only":
		options += " alpn h2"
	case "HTTP2Optional":
		options += " alpn http/1.1,h2"
	case "HTTP2Preferred":
		options += " alpn h2,http/1.1"
	}
	return options, found
}

// An sslPolicy is a security policy in OpenSSL's words.
type sslPolicy struct{ least, most, ciphers string }

const (
	forwardSecret = "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384"
	withSHA256    = forwardSecret + ":ECDHE-ECDSA-AES128-SHA256:ECDHE-RSA-AES128-SHA256:ECDHE-ECDSA-AES256-SHA384:ECDHE-RSA-AES256-SHA384"
	withSHA       = withSHA256 + ":ECDHE-ECDSA-AES128-SHA:ECDHE-RSA-AES128-SHA:ECDHE-RSA-AES256-SHA:ECDHE-ECDSA-AES256-SHA"
	plain         = ":AES128-GCM-SHA256:AES128-SHA256:AES256-GCM-SHA384:AES256-SHA256"
	plainSHA      = ":AES128-SHA:AES256-SHA"
	// old lets OpenSSL 3 speak TLS before 1.2, which its default security level forbids.
	old = ":@SECLEVEL=0"
)

// policy reads AWS's names: ELBSecurityPolicy-TLS13-1-2-Res-2021-06 allows TLS 1.3 and 1.2, with restricted ciphers.
func policy(name string) sslPolicy {
	rest := strings.TrimPrefix(name, "ELBSecurityPolicy-")
	most := "TLSv1.2"
	if strings.HasPrefix(rest, "TLS13-") {
		most = "TLSv1.3"
	}
	has := func(s string) bool { return strings.Contains(rest, s) }
	switch {
	case has("TLS13-1-3"):
		return sslPolicy{"TLSv1.3", most, forwardSecret}
	case has("1-2-Res") || has("1-2-Ext0"), has("FS-1-2-Res-2020"):
		return sslPolicy{"TLSv1.2", most, forwardSecret}
	case has("FS-1-2-Res"):
		return sslPolicy{"TLSv1.2", most, withSHA256}
	case has("FS-1-2"):
		return sslPolicy{"TLSv1.2", most, withSHA}
	case has("FS-1-1"):
		return sslPolicy{"TLSv1.1", most, withSHA + old}
	case has("FS-"):
		return sslPolicy{"TLSv1.0", most, withSHA + old}
	case has("1-2-Ext1"):
		return sslPolicy{"TLSv1.2", most, withSHA256 + plain}
	case has("1-2-Ext"):
		return sslPolicy{"TLSv1.2", most, withSHA + plain + plainSHA}
	case has("TLS13-1-2"):
		return sslPolicy{"TLSv1.2", most, withSHA256}
	case has("TLS-1-2"):
		return sslPolicy{"TLSv1.2", most, withSHA256 + plain}
	case has("TLS13-1-1"), has("TLS-1-1"):
		return sslPolicy{"TLSv1.1", most, withSHA + plain + plainSHA + old}
	}
	return sslPolicy{"TLSv1.0", most, withSHA + plain + plainSHA + old} // ELBSecurityPolicy-2016-08 and older
}
