package access

// acm follows the Service Authorization Reference of AWS Certificate Manager.
var acm = join(
	rows(row{}, "ListCertificates"),
	table{
		"ImportCertificate":         {on: []target{{path: "CertificateArn", arn: plain("acm", "certificate/"), absent: "*"}}, tags: "Tags"},
		"AddTagsToCertificate":      {on: []target{inCertificate}, tags: "Tags"},
		"RemoveTagsFromCertificate": {on: []target{inCertificate}, tagKeys: "Tags.Key"},
	},
	rows(row{on: []target{inCertificate}}, "DescribeCertificate", "GetCertificate", "DeleteCertificate", "ListTagsForCertificate"),
)

var inCertificate = target{path: "CertificateArn", arn: literal}
