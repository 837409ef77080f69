package e2e_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io/fs"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/acm"
	"github.com/aws/aws-sdk-go-v2/service/cloudtrail"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
	"github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2"
	elbtypes "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2/types"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	kmstypes "github.com/aws/aws-sdk-go-v2/service/kms/types"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	ssmtypes "github.com/aws/aws-sdk-go-v2/service/ssm/types"
	"github.com/aws/aws-sdk-go-v2/service/sts"
)

// canaries are secrets by what they are, in every form in which they might be written.
type canaries map[string][][]byte

// plant remembers a secret: as it is, in base64 and in hexadecimal.
func (c canaries) plant(what string, secret []byte) {
	c[what] = [][]byte{secret, []byte(base64.StdEncoding.EncodeToString(secret)), []byte(hex.EncodeToString(secret))}
}

// sing names the canaries that are in data.
func (c canaries) sing(data []byte) (found []string) {
	for what, forms := range c {
		for _, form := range forms {
			if bytes.Contains(data, form) {
				found = append(found, what)
				break
			}
		}
	}
	return found
}

// Whatever is secret is in no byte that Berth writes to a disk, in no answer but the one that is about it, in no log and in
// no list of processes, while its tasks run, after they have ended, and over the deaths of server and agent.
func TestNothingSecretIsWrittenInClear(t *testing.T) {
	t.Parallel()
	b := start(t, "--cpu-units", "12288", "--memory-mib", "65536")
	c := canaries{}
	k := b.plantAll(t, c)
	b.searchAll(t, c, "while the task runs")
	b.control(t, c)

	k.stop(t, "enough")
	must(b.secrets.UpdateSecret(t.Context(), &secretsmanager.UpdateSecretInput{SecretId: aws.String("canary"), Description: aws.String("changed")}))(t)
	b.apart(t)
	b.end(t, "server", syscall.SIGKILL)
	b.end(t, "agent", syscall.SIGKILL)
	b.role(t, "server")
	b.role(t, "agent")
	b.ready(t)
	b.searchAll(t, c, "after kill -9 of both")
	if left, err := filepath.Glob(filepath.Join("/run/berth", b.id, "secrets", "tasks", k.id, "*")); err != nil || len(left) > 0 {
		t.Errorf("a task that has ended leaves %q, %v", left, err)
	}
}

// plantAll makes one of every kind of secret, and a task that has them.
func (b *berth) plantAll(t *testing.T, c canaries) *task {
	t.Helper()
	ctx := t.Context()
	text := func(what string) string {
		secret := "canary-" + random() + random()
		c.plant(what, []byte(secret))
		return secret
	}
	must(b.secrets.CreateSecret(ctx, &secretsmanager.CreateSecretInput{Name: aws.String("canary"), SecretString: aws.String(text("a secret's first value"))}))(t)
	must(b.secrets.PutSecretValue(ctx, &secretsmanager.PutSecretValueInput{SecretId: aws.String("canary"), SecretString: aws.String(text("a secret's value"))}))(t)
	must(b.secrets.CreateSecret(ctx, &secretsmanager.CreateSecretInput{Name: aws.String("binary"), SecretBinary: []byte(text("a binary secret"))}))(t)
	login, err := json.Marshal(map[string]string{"user": "u", "password": text("a member of a secret")})
	if err != nil {
		t.Fatal(err)
	}
	must(b.secrets.CreateSecret(ctx, &secretsmanager.CreateSecretInput{Name: aws.String("login"), SecretString: aws.String(string(login))}))(t)
	must(b.parameters.PutParameter(ctx, &ssm.PutParameterInput{Name: aws.String("/canary"), Type: ssmtypes.ParameterTypeSecureString, Value: aws.String(text("a SecureString"))}))(t)

	key := must(b.kms.CreateKey(ctx, &kms.CreateKeyInput{}))(t).KeyMetadata.KeyId
	must(b.kms.Encrypt(ctx, &kms.EncryptInput{KeyId: key, Plaintext: []byte(text("what KMS encrypts"))}))(t)
	c.plant("a data key", must(b.kms.GenerateDataKey(ctx, &kms.GenerateDataKeyInput{KeyId: key, KeySpec: kmstypes.DataKeySpecAes256}))(t).Plaintext)
	c.plant("a random password", []byte(*must(b.secrets.GetRandomPassword(ctx, &secretsmanager.GetRandomPasswordInput{}))(t).RandomPassword))

	must(b.iam.CreateUser(ctx, &iam.CreateUserInput{UserName: aws.String("canary")}))(t)
	c.plant("a user's secret access key", []byte(*must(b.iam.CreateAccessKey(ctx, &iam.CreateAccessKeyInput{UserName: aws.String("canary")}))(t).AccessKey.SecretAccessKey))
	session := must(b.sts.GetSessionToken(ctx, &sts.GetSessionTokenInput{}))(t).Credentials
	c.plant("a session's secret access key", []byte(*session.SecretAccessKey))
	c.plant("a session's token", []byte(*session.SessionToken))
	b.plantCertificate(t, c)

	must(b.secrets.GetSecretValue(ctx, &secretsmanager.GetSecretValueInput{SecretId: aws.String("canary")}))(t)
	must(b.parameters.GetParameter(ctx, &ssm.GetParameterInput{Name: aws.String("/canary"), WithDecryption: aws.Bool(true)}))(t)

	_, role := b.newRole(t, taskTrust, allow("*", "ecs:ListTasks"))
	def := fargate(with(container("app", "answer", "8080", "0"), func(c *types.ContainerDefinition) {
		c.DockerLabels = map[string]string{"berth.secrets-files": "/run/secrets"}
		c.Secrets = []types.Secret{
			env("SECRET", "arn:aws:secretsmanager:us-east-1:123456789012:secret:canary"),
			env("MEMBER", "arn:aws:secretsmanager:us-east-1:123456789012:secret:login:password::"), env("PARAMETER", "/canary"),
		}
		c.HealthCheck = check("/run/secrets/SECRET")
	}))
	def.TaskRoleArn = &role
	k := b.run(t, def)
	k.await(t, "HEALTHY", func(got types.Task) bool { return got.HealthStatus == types.HealthStatusHealthy })
	for name, what := range map[string]string{"SECRET": "a secret's value", "MEMBER": "a member of a secret", "PARAMETER": "a SecureString"} {
		want := string(c[what][0])
		for _, got := range []string{inside{k, 8080}.ask(t, "/env", "name", name), inside{k, 8080}.ask(t, "/file", "path", "/run/secrets/"+name)} {
			if got != want {
				t.Errorf("the container has %q in %s, want %s", got, name, what)
			}
		}
	}
	var credentials struct{ SecretAccessKey, Token string }
	uri := inside{k, 8080}.ask(t, "/env", "name", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI")
	if err := json.Unmarshal([]byte(inside{k, 8080}.ask(t, "/fetch", "url", "http://169.254.170.2"+uri)), &credentials); err != nil || credentials.Token == "" {
		t.Fatalf("the task's credentials: %v", err)
	}
	c.plant("a task role's secret access key", []byte(credentials.SecretAccessKey))
	c.plant("a task role's token", []byte(credentials.Token))
	return k
}

// plantCertificate gives a listener a certificate: its key reaches etcd and the node.
func (b *berth) plantCertificate(t *testing.T, c canaries) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "canary.example.com"}, DNSNames: []string{"canary.example.com"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	private := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
	// A whole line of the PEM's body, and the number itself.
	c.plant("a certificate's key", bytes.Split(private, []byte("\n"))[1])
	scalar, err := key.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	c.plant("a certificate's key, raw", scalar)
	arn := must(b.certificates.ImportCertificate(t.Context(), &acm.ImportCertificateInput{
		Certificate: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert}), PrivateKey: private,
	}))(t).CertificateArn
	network := must(b.network(t.Context()))(t).AwsvpcConfiguration
	lb := must(b.elb.CreateLoadBalancer(t.Context(), &elasticloadbalancingv2.CreateLoadBalancerInput{
		Name: aws.String("canary"), Subnets: network.Subnets, SecurityGroups: network.SecurityGroups,
	}))(t).LoadBalancers[0]
	address := ""
	for _, zone := range lb.AvailabilityZones {
		for _, a := range zone.LoadBalancerAddresses {
			address = aws.ToString(a.IpAddress)
		}
	}
	must(b.elb.CreateListener(t.Context(), &elasticloadbalancingv2.CreateListenerInput{
		LoadBalancerArn: lb.LoadBalancerArn, Port: aws.Int32(443), Protocol: elbtypes.ProtocolEnumHttps, Certificates: []elbtypes.Certificate{{CertificateArn: arn}},
		DefaultActions: []elbtypes.Action{{Type: elbtypes.ActionTypeEnumFixedResponse, FixedResponseConfig: &elbtypes.FixedResponseActionConfig{StatusCode: aws.String("200")}}},
	}))(t)
	eventually(t, "the load balancer shows its certificate", func() error {
		conn, err := tls.Dial("tcp", address+":443", &tls.Config{InsecureSkipVerify: true}) //nolint:gosec // which one it is, is the question
		if err != nil {
			return err
		}
		defer conn.Close() //nolint:errcheck // only looked at
		if name := conn.ConnectionState().PeerCertificates[0].Subject.CommonName; name != "canary.example.com" {
			return fmt.Errorf("it shows the certificate of %s", name)
		}
		return nil
	})
}

// searchAll looks for canaries wherever something of this Berth is.
func (b *berth) searchAll(t *testing.T, c canaries, when string) {
	t.Helper()
	for where, data := range b.answersAbout(t) {
		for _, what := range c.sing(data) {
			t.Errorf("%s: %s is in %s", when, what, where)
		}
	}
	searched := 0
	for _, dir := range []string{b.dir, filepath.Join("/run/berth", b.id)} {
		err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
			if err != nil {
				if os.IsNotExist(err) {
					return nil // it went while we looked
				}
				return err
			}
			if b.holdsSecrets(path) {
				if entry.IsDir() {
					return filepath.SkipDir
				}
				return nil
			}
			if !entry.Type().IsRegular() {
				return nil
			}
			data, err := os.ReadFile(path)
			if err != nil {
				if os.IsNotExist(err) {
					return nil
				}
				return err
			}
			searched++
			for _, what := range c.sing(data) {
				t.Errorf("%s: %s is in %s", when, what, path)
			}
			return nil
		})
		if err != nil {
			t.Error(err)
		}
	}
	if searched < 20 {
		t.Errorf("only %d files were searched", searched)
	}
	lines, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range lines {
		data, err := os.ReadFile(file)
		if err != nil {
			continue // it has ended
		}
		for _, what := range c.sing(data) {
			t.Errorf("%s: %s is in the arguments of a process: %s", when, what, file)
		}
	}
}

// control finds canaries where they must be: in the memory of the node, or the search would find none anywhere.
func (b *berth) control(t *testing.T, c canaries) {
	t.Helper()
	found := map[string]bool{}
	err := filepath.WalkDir(filepath.Join("/run/berth", b.id, "secrets"), func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		data, err := os.ReadFile(path)
		for _, what := range c.sing(data) {
			found[what] = true
		}
		return err
	})
	if err != nil || !found["a secret's value"] || !found["a certificate's key"] {
		t.Errorf("in memory are %v, %v", found, err)
	}
}

// holdsSecrets names the places in memory that are for secrets: what running tasks have, and what HAProxy reads.
// Containers' root file systems are the containers' own.
func (b *berth) holdsSecrets(path string) bool {
	run := filepath.Join("/run/berth", b.id)
	return strings.HasPrefix(path, filepath.Join(run, "secrets")) ||
		strings.HasPrefix(path, filepath.Join(run, "containerd")) && strings.HasSuffix(path, "/rootfs")
}

// answersAbout are answers of the API that are not about a secret's value, and everything that is logged.
func (b *berth) answersAbout(t *testing.T) map[string][]byte {
	t.Helper()
	ctx := t.Context()
	out := map[string][]byte{}
	keep := func(what string, v any, err error) {
		if err != nil {
			t.Errorf("%s: %v", what, err)
			return
		}
		text, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		out[what] = text
	}
	secrets, err := b.secrets.ListSecrets(ctx, &secretsmanager.ListSecretsInput{})
	keep("ListSecrets", secrets, err)
	secret, err := b.secrets.DescribeSecret(ctx, &secretsmanager.DescribeSecretInput{SecretId: aws.String("canary")})
	keep("DescribeSecret", secret, err)
	parameters, err := b.parameters.DescribeParameters(ctx, &ssm.DescribeParametersInput{})
	keep("DescribeParameters", parameters, err)
	history, err := b.parameters.GetParameterHistory(ctx, &ssm.GetParameterHistoryInput{Name: aws.String("/canary")})
	keep("GetParameterHistory", history, err)
	account, err := b.iam.GetAccountAuthorizationDetails(ctx, &iam.GetAccountAuthorizationDetailsInput{})
	keep("GetAccountAuthorizationDetails", account, err)
	keys, err := b.iam.ListAccessKeys(ctx, &iam.ListAccessKeysInput{UserName: aws.String("canary")})
	keep("ListAccessKeys", keys, err)
	events, err := b.trail.LookupEvents(ctx, &cloudtrail.LookupEventsInput{MaxResults: aws.Int32(50)})
	keep("LookupEvents", events, err)
	tasks, err := b.ecs.ListTasks(ctx, &ecs.ListTasksInput{})
	keep("ListTasks", tasks, err)
	b.logged(ctx, keep)
	why, err := b.command(ctx, "ps", "-a", "-o", "json")
	keep("berth ps", why, err)
	return out
}

// logged is every event of every log group, the audit among them.
func (b *berth) logged(ctx context.Context, keep func(string, any, error)) {
	groups, err := b.logs.DescribeLogGroups(ctx, &cloudwatchlogs.DescribeLogGroupsInput{})
	if err != nil {
		keep("DescribeLogGroups", nil, err)
		return
	}
	for _, g := range groups.LogGroups {
		var all []string
		for pages := cloudwatchlogs.NewFilterLogEventsPaginator(b.logs, &cloudwatchlogs.FilterLogEventsInput{LogGroupName: g.LogGroupName}); pages.HasMorePages(); {
			page, err := pages.NextPage(ctx)
			if err != nil {
				keep(*g.LogGroupName, nil, err)
				return
			}
			for _, e := range page.Events {
				all = append(all, aws.ToString(e.Message))
			}
		}
		keep("the log group "+*g.LogGroupName, all, nil)
	}
}
