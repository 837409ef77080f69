package keyring

// What is sealed in one package and opened in another has its purpose here, so
// that both say the same.

// AccessKey is the purpose of the secret of an access key, by the key's id.
func AccessKey(id string) string { return "access key " + id }

// CertificateKey is the purpose of the private key of a certificate, by the
// certificate's ARN.
func CertificateKey(arn string) string { return "private key of " + arn }
