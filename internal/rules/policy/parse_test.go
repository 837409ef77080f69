package policy

import (
	_ "embed"
	"errors"
	"slices"
	"strings"
	"testing"
)

//go:embed testdata/malformed.txt
var malformedDocuments string

var kinds = map[string]Kind{"identity": Identity, "managed": Managed, "resource": Resource, "trust": Trust, "repository": Repository}

func TestParse_RefusesInAWSWords(t *testing.T) {
	t.Parallel()
	n := 0
	for block := range strings.SplitSeq(malformedDocuments, "\n\n") {
		if strings.HasPrefix(block, "#") {
			continue
		}
		n++
		head, document, _ := strings.Cut(strings.TrimSuffix(block, "\n"), "\n")
		kind, rest, _ := strings.Cut(head, " [")
		_, want, found := strings.Cut(rest, "] ")
		if _, known := kinds[kind]; !known || !found {
			t.Fatalf("not a case: %q", block)
		}
		_, err := Parse(kinds[kind], document)
		var syntax *SyntaxError
		if !errors.As(err, &syntax) {
			t.Errorf("%s %s\n got %v\nwant %s", kind, document, err, want)
			continue
		}
		if syntax.Message != want {
			t.Errorf("%s %s\n got %s\nwant %s", kind, document, syntax.Message, want)
		}
	}
	if n < 100 {
		t.Errorf("read %d cases only", n)
	}
}

// allow wraps an element of a condition or a resource into a whole document.
func allow(elements string) string {
	return `{"Version":"2012-10-17","Statement":[{"Effect":"Allow",` + elements + `}]}`
}

func TestParse_Accepts(t *testing.T) {
	t.Parallel()
	const list, bucket = `"Action":"s3:ListBucket"`, `"Resource":"arn:aws:s3:::example_bucket"`
	condition := func(block string) string { return allow(list + "," + bucket + `,"Condition":` + block) }
	resource := func(arn string) string { return allow(list + `,"Resource":"` + arn + `"`) }
	assume := func(principal string) string {
		return allow(`"Principal":` + principal + `,"Action":"sts:AssumeRole"`)
	}
	tests := []struct {
		name, document string
		kind           Kind
	}{
		// The documents that AWS accepts in the tables of malformed.txt.
		{"statement that is no array", `{"Version":"2012-10-17","Statement":{"Effect":"Allow",` + list + `,` + bucket + `}}`, Managed},
		{"spaces in an action", allow(`"Action":"iam: asdf safdsf af ",` + bucket), Managed},
		{"several resources", allow(list + `,"Resource":["arn:aws:s3:::example_bucket","*"]`), Managed},
		{"any action", allow(`"Action":"*",` + bucket), Managed},
		{"any action of any vendor", allow(`"Action":"*:*",` + bucket), Identity},
		{"vendors with dots and dashes", allow(`"Action":["s3-s:ListBucket","s3.s:ListBucket"],` + bucket), Managed},
		{"Id", `{"Version":"2012-10-17","Id":"sdfsdfsdf","Statement":{"Effect":"Allow","NotAction":"s3:ListBucket",` + bucket + `}}`, Managed},
		{"NotResource of everything", allow(`"NotAction":"s3:ListBucket","NotResource":"*"`), Managed},
		{"iam user without account", resource("arn:aws:iam:::user/example_bucket"), Managed},
		{"unknown vendor", resource("arn:aws:s33:::example_bucket"), Managed},
		{"short ARN", resource("arn:aws:fdsasf"), Managed},
		{"region of a service that has regions", resource("arn:aws:cloudwatch:us-east-1::example_bucket"), Managed},
		{"placeholders of the documentation", resource("arn:aws:ec2:region:account-id:instance/*"), Managed},
		{"access point", resource("arn:aws:s3:us-east-1:123456789012:accesspoint/x"), Managed},
		{"variable for the account", resource("arn:*:kms:*:${aws:PrincipalAccount}:key/*"), Managed},
		{"any partition", resource("arn:*:s3:::example_bucket"), Managed},
		{"empty condition", condition(`{}`), Managed},
		{"condition without keys", condition(`{"DateGreaterThan":{}}`), Managed},
		{"unknown operators without keys", condition(`{"x":{},"y":{}}`), Managed},
		{"condition without values", condition(`{"DateGreaterThan":{"a":[]}}`), Managed},
		{"set operator", condition(`{"ForAllValues:StringEquals":{"aws:TagKeys":"Department"}}`), Managed},
		{"set operator if exists", condition(`{"ForAnyValue:StringEqualsIfExists":{"a":"asf"}}`), Managed},
		{"date that is a time of day", condition(`{"DateGreaterThan":{"a":"01T"}}`), Managed},
		{"date with fraction and zone", condition(`{"DateLessThanEquals":{"a":"2016-12-13T21:20:37.593194+00:00"}}`), Managed},
		{"date in lower case", condition(`{"DateLessThanEquals":{"a":"2016-12-13t2:00:00.593194+23"}}`), Managed},
		{"oldest year", condition(`{"DateLessThan":{"a":"-292275054"}}`), Managed},
		{"values without quotes", condition(`{"Bool":{"aws:SecureTransport":false},"NumericLessThan":{"s3:max-keys":[10,20.5]}}`), Managed},
		{"no number", condition(`{"NumericLessThan":{"s3:max-keys":"many"}}`), Managed},
		{"no address", condition(`{"IpAddress":{"aws:SourceIp":"nowhere"}}`), Managed},
		{"variables", resource("arn:aws:s3:::home/${aws:username}/${aws:PrincipalTag/team, 'none'}/${*}${?}${$}"), Managed},
		{"what would be a broken variable, in the old version", `{"Statement":{"Effect":"Allow",` + list + `,"Resource":"arn:aws:s3:::${"}}`, Identity},
		{"old version of an inline policy", `{"Version":"2008-10-17","Statement":{"Effect":"Allow",` + list + `,` + bucket + `}}`, Identity},
		{"empty Sids", `{"Version":"2012-10-17","Statement":[{"Sid":"","Effect":"Deny",` + list + `,` + bucket + `},{"Sid":"","Effect":"Allow",` + list + `,` + bucket + `}]}`, Managed},
		{"Sid with spaces in a key policy", allow(`"Sid":"Enable IAM User Permissions","Principal":{"AWS":"arn:aws:iam::123456789012:root"},"Action":"kms:*","Resource":"*"`), Resource},
		{"policy of a repository", allow(`"Sid":"new statement","Principal":"*","Action":["ecr:BatchGetImage","ecr:GetDownloadUrlForLayer"]`), Repository},
		{"trust of tasks", assume(`{"Service":"ecs-tasks.amazonaws.com"}`), Trust},
		{"trust of several", assume(`{"AWS":["123456789012","arn:aws:iam::123456789012:user/a/b","arn:aws:sts::123456789012:assumed-role/r/s","AROAEXAMPLEEXAMPLE12"],"Service":["ec2.amazonaws.com","ecs.application-autoscaling.amazonaws.com"],"Federated":"arn:aws:iam::123456789012:oidc-provider/idp.example"}`), Trust},
		{"trust of everybody", assume(`"*"`), Trust},
		{"trust of any principal", assume(`{"AWS":"*"}`), Trust},
		{"other actions of STS", allow(`"Principal":{"AWS":"123456789012"},"Action":["sts:AssumeRole","sts:TagSession","sts:SetSourceIdentity"]`), Trust},
		{"NotPrincipal that denies", `{"Statement":{"Effect":"Deny","NotPrincipal":{"AWS":"123456789012"},"Action":"s3:*","Resource":"*"}}`, Resource},
	}
	for _, test := range tests {
		if _, err := Parse(test.kind, test.document); err != nil {
			t.Errorf("%s: %v\n%s", test.name, err, test.document)
		}
	}
}

func TestDocument_Statements(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, document string
		start, end     Position
	}{
		// The example of simulate-custom-policy in AWS's command line reference.
		{
			"documented", `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"dynamodb:*","Resource":"*","Condition":{"DateGreaterThan":{"aws:CurrentTime":"2018-08-16T12:00:00Z"}}}}`,
			Position{1, 38},
			Position{1, 167},
		},
		{"array on one line", `{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}`, Position{1, 41}, Position{1, 91}},
		{"lines", "{\n  \"Version\": \"2012-10-17\",\n  \"Statement\": [\n    {\n      \"Effect\": \"Allow\",\n      \"Action\": \"é:*\", \"Resource\": \"*\"\n    }\n  ]\n}", Position{4, 5}, Position{7, 5}},
	}
	for _, test := range tests {
		document := strings.Replace(test.document, "é", "s3", 1)
		d, err := Parse(Managed, document)
		if err != nil {
			t.Fatal(err)
		}
		s := d.Statements()[0]
		if s.Start != test.start || s.End != test.end {
			t.Errorf("%s: from %v to %v, want %v to %v", test.name, s.Start, s.End, test.start, test.end)
		}
	}
}

func TestDocument_Describes(t *testing.T) {
	t.Parallel()
	d, err := Parse(Resource, `{
		"Version": "2012-10-17", "Id": "x",
		"Statement": [
			{"Sid": "A", "Effect": "Allow", "Principal": "*", "Action": ["s3:Get*", "s3:Put"], "Resource": "arn:aws:s3:::h/${aws:username}",
			 "Condition": {"StringLike": {"s3:Prefix": "${aws:PrincipalTag/Team, 'x'}/*"}, "Null": {"aws:TokenIssueTime": "true"}}},
			{"Effect": "Deny", "Principal": "*", "Action": "s3:Delete*", "Resource": "*", "Condition": {"ArnLike": {"aws:SourceArn": "arn:aws:s3:::${aws:username}"}}},
			{"Effect": "Allow", "Principal": "*", "Action": "s3:Get*", "Resource": "*"}
		]}`)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := d.ContextKeys(), []string{"aws:username", "s3:Prefix", "aws:PrincipalTag/Team", "aws:TokenIssueTime", "aws:SourceArn"}; !slices.Equal(got, want) {
		t.Errorf("keys %v, want %v", got, want)
	}
	if got, want := d.Actions(), []string{"s3:Get*", "s3:Put"}; !slices.Equal(got, want) {
		t.Errorf("actions %v, want %v", got, want)
	}
	if d.ID() != "x" || d.Version() != "2012-10-17" || d.Kind() != Resource {
		t.Errorf("id %q, version %q, kind %d", d.ID(), d.Version(), d.Kind())
	}
	if s := d.Statements(); len(s) != 3 || s[0].Sid != "A" || s[0].Deny || !s[1].Deny || s[2].Index != 2 {
		t.Errorf("statements %+v", s)
	}
	if got := Length("{ \"a\":\t\"é\"\r\n}"); got != 9 {
		t.Errorf("length %d, want 9", got)
	}
}
