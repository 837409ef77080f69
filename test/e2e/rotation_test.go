package e2e_test

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"regexp"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	smtypes "github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"
)

// rotated is a secret, and the task definition that rotates it.
type rotated struct {
	b         *berth
	arn       string
	first     string // its first value
	versionID string // the id of that
	rotator   *ecs.RegisterTaskDefinitionInput
}

// newRotated makes a secret and what examples/sample-app needs to rotate it.
func (b *berth) newRotated(t *testing.T) *rotated {
	t.Helper()
	s := &rotated{b: b, first: "first-" + random()}
	out := must(b.secrets.CreateSecret(t.Context(), &secretsmanager.CreateSecretInput{Name: aws.String("e2e/" + random()), SecretString: &s.first}))(t)
	s.arn, s.versionID = *out.ARN, *out.VersionId
	_, role := b.newRole(t, taskTrust, `{"Version":"2012-10-17","Statement":[
		{"Effect":"Allow","Action":"secretsmanager:GetRandomPassword","Resource":"*"},
		{"Effect":"Allow","Action":["secretsmanager:GetSecretValue","secretsmanager:PutSecretValue"],"Resource":"`+s.arn+`"}]}`)
	s.rotator = fargate(with(sample(), func(c *types.ContainerDefinition) {
		c.Command = []string{"/app/sample-app", "rotate"}
		// The SDK is as it comes, but goes on asking while the server is away.
		c.Environment = []types.KeyValuePair{{Name: aws.String("AWS_MAX_ATTEMPTS"), Value: aws.String("20")}}
	}))
	s.rotator.TaskRoleArn = &role
	must(b.ecs.RegisterTaskDefinition(t.Context(), s.rotator))(t)
	return s
}

// rotate asks for a rotation at once, with a token that may be repeated.
func (s *rotated) rotate(ctx context.Context, token string) error {
	_, err := s.b.secrets.RotateSecret(ctx, &secretsmanager.RotateSecretInput{
		SecretId: &s.arn, ClientRequestToken: &token,
		RotationLambdaARN: aws.String("arn:aws:ecs:us-east-1:123456789012:task-definition/" + *s.rotator.Family),
		RotationRules:     &smtypes.RotationRulesType{AutomaticallyAfterDays: aws.Int64(30)},
	})
	return err
}

// becomes waits until the rotation to a version is over: it is current, the one before it previous, and none pending.
func (s *rotated) becomes(t *testing.T, version, before string) {
	t.Helper()
	eventually(t, "the rotation to "+version, func() error {
		out, err := s.b.secrets.DescribeSecret(t.Context(), &secretsmanager.DescribeSecretInput{SecretId: &s.arn})
		if err != nil {
			return err
		}
		stages := map[string][]string{}
		for id, labels := range out.VersionIdsToStages {
			for _, label := range labels {
				stages[label] = append(stages[label], id)
			}
		}
		if len(stages["AWSCURRENT"]) != 1 || len(stages["AWSPREVIOUS"]) > 1 || len(stages["AWSPENDING"]) > 1 {
			t.Errorf("labels are on several versions, or none: %v", stages)
		}
		if !slices.Equal(stages["AWSCURRENT"], []string{version}) || !slices.Equal(stages["AWSPREVIOUS"], []string{before}) || len(stages["AWSPENDING"]) != 0 {
			all, err := s.tasks(t.Context())
			return fmt.Errorf("the labels are %v; the tasks %q, %w", stages, all, err)
		}
		return nil
	})
}

// value is the current one.
func (s *rotated) value(t *testing.T) string {
	t.Helper()
	return *must(s.b.secrets.GetSecretValue(t.Context(), &secretsmanager.GetSecretValueInput{SecretId: &s.arn}))(t).SecretString
}

// tasks are those that have rotated the secret, each with what became of it.
func (s *rotated) tasks(ctx context.Context) (all []string, err error) {
	var arns []string
	for _, status := range []types.DesiredStatus{types.DesiredStatusRunning, types.DesiredStatusStopped} {
		list, err := s.b.ecs.ListTasks(ctx, &ecs.ListTasksInput{Family: s.rotator.Family, DesiredStatus: status})
		if err != nil {
			return nil, err
		}
		arns = append(arns, list.TaskArns...)
	}
	if len(arns) == 0 {
		return nil, nil
	}
	described, err := s.b.ecs.DescribeTasks(ctx, &ecs.DescribeTasksInput{Tasks: arns})
	if err != nil {
		return nil, err
	}
	for _, k := range described.Tasks {
		all = append(all, fmt.Sprintf("%s, by %s: %s", *k.LastStatus, *k.StartedBy, containers(k)))
	}
	return all, nil
}

// took wants each of so many rotations to have taken one task, which ended with 0.
func (s *rotated) took(t *testing.T, rotations int) {
	t.Helper()
	eventually(t, "what became of the tasks", func() error {
		all, err := s.tasks(t.Context())
		if err != nil {
			return err
		}
		if want := slices.Repeat([]string{"STOPPED, by secretsmanager: app STOPPED exit 0"}, rotations); !slices.Equal(all, want) {
			t.Errorf("%d rotations took the tasks %q", rotations, all)
		}
		return nil
	})
}

// A secret is rotated by a task of the user's own, and who has it as a file has the new value at once, without being started
// again; the environment of a process that runs is what it was.
func TestRotationReachesRunningTasks(t *testing.T) {
	t.Parallel()
	b := shared
	s := b.newRotated(t)
	k := b.run(t, fargate(with(container("app", "answer", "8080", "0"), func(c *types.ContainerDefinition) {
		c.DockerLabels = map[string]string{"berth.secrets-files": "/run/secrets"}
		c.Secrets = []types.Secret{env("PASSWORD", s.arn)}
	})))
	k.awaitStatus(t, "RUNNING")
	if got := k.hears(t, 8080, "/file", "path", "/run/secrets/PASSWORD"); got != s.first {
		t.Errorf("the file has %q, want the first value", got)
	}
	processes, before := k.pids(t), s.versionID
	for range 2 {
		old, id := s.value(t), token()
		if err := s.rotate(t.Context(), id); err != nil {
			t.Fatal(err)
		}
		s.becomes(t, id, before)
		now := s.value(t)
		if now == old || len(now) != 32 {
			t.Errorf("the new value has %d characters, and is the old one: %v", len(now), now == old)
		}
		eventually(t, "the new value in the file", func() error {
			got, err := k.ask(t.Context(), 8080, "/file", "path", "/run/secrets/PASSWORD")
			if err == nil && got != now {
				err = fmt.Errorf("the file has another value; the old one: %v", got == old)
			}
			return err
		})
		if got := k.hears(t, 8080, "/env", "name", "PASSWORD"); got != s.first {
			t.Error("the environment of a running process has changed")
		}
		before = id
	}
	if after := k.pids(t); !slices.Equal(after, processes) {
		t.Errorf("the task's processes were %v and are %v", processes, after)
	}
	s.took(t, 2)
}

// SIGKILL of the server at any moment of a rotation neither loses it nor does it twice: one task, one version.
func TestRotationSurvivesTheServer(t *testing.T) {
	t.Parallel()
	b := start(t, "--cpu-units", "12288", "--memory-mib", "65536")
	s := b.newRotated(t)
	b.apart(t)
	versions := []string{s.versionID}
	for range 5 {
		id, asked := token(), make(chan error, 1)
		// Who has no answer asks again, with the same token.
		go func() { asked <- poll(t.Context(), func() error { return s.rotate(t.Context(), id) }) }()
		<-time.After(rand.N(1500 * time.Millisecond)) // a random moment is what this is about
		b.end(t, "server", syscall.SIGKILL)
		b.role(t, "server")
		b.ready(t)
		if err := <-asked; err != nil {
			t.Fatal(err)
		}
		s.becomes(t, id, versions[len(versions)-1])
		versions = append(versions, id)
	}
	s.took(t, len(versions)-1)
	var made []string
	for _, v := range must(b.secrets.ListSecretVersionIds(t.Context(), &secretsmanager.ListSecretVersionIdsInput{SecretId: &s.arn, IncludeDeprecated: aws.Bool(true)}))(t).Versions {
		made = append(made, *v.VersionId)
	}
	slices.Sort(made)
	slices.Sort(versions)
	if !slices.Equal(made, versions) {
		t.Errorf("the versions are %v, want %v", made, versions)
	}
}

// token is a ClientRequestToken: as long as the SDK's.
func token() string { return random() + random() + random() }

// A task keeps its identity while no server runs, even when the agent is started again meanwhile, and nobody else's.
func TestCredentialsOutliveTheServer(t *testing.T) {
	t.Parallel()
	b := start(t, "--cpu-units", "12288", "--memory-mib", "65536")
	_, role := b.newRole(t, taskTrust, allow("*", "ecs:ListTasks"))
	two := func() *task {
		def := fargate(sample(), container("probe", "answer", "8080", "0"))
		def.TaskRoleArn = &role
		return b.run(t, def)
	}
	k, other := two(), two()
	uri := func(k *task) string {
		k.awaitStatus(t, "RUNNING")
		return k.hears(t, 8080, "/env", "name", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI")
	}
	own, foreign := "http://169.254.170.2"+uri(k), "http://169.254.170.2"+uri(other)
	if own == foreign {
		t.Fatalf("two tasks have the same %s", own)
	}
	before := k.hears(t, 8080, "/fetch", "url", own)
	identity := k.says(t, "/whoami")
	b.apart(t)
	b.end(t, "server", syscall.SIGKILL)
	check := func(when string) {
		t.Helper()
		var credentials struct {
			AccessKeyID, SecretAccessKey, Token, RoleArn string //nolint:tagliatelle // encoding/json does not mind the case
			Expiration                                   time.Time
		}
		got := k.hears(t, 8080, "/fetch", "url", own)
		if err := json.Unmarshal([]byte(got), &credentials); err != nil {
			t.Fatal(err)
		}
		if got != before || credentials.Token == "" || credentials.RoleArn != role || time.Until(credentials.Expiration) < time.Hour {
			t.Errorf("%s the credentials are others (%v), of %s, and expire at %s", when, got != before, credentials.RoleArn, credentials.Expiration)
		}
		for _, theirs := range []string{foreign, "http://169.254.170.2/v2/credentials/" + token(), "http://169.254.170.2/v2/credentials/"} {
			if got, err := k.ask(t.Context(), 8080, "/fetch", "url", theirs); err == nil || !refusedByEndpoint.MatchString(err.Error()) {
				t.Errorf("%s somebody else's credentials: %v, and an answer of %d bytes", when, err, len(got))
			}
		}
	}
	check("while the server is away")
	b.end(t, "agent", syscall.SIGKILL)
	b.role(t, "agent")
	check("after the agent was started again")
	b.role(t, "server")
	b.ready(t)
	check("when the server is back")
	if got := k.says(t, "/whoami"); got != identity {
		t.Errorf("the task is %q, and was %q", got, identity)
	}
}

// refusedByEndpoint is how probe words a refusal.
var refusedByEndpoint = regexp.MustCompile(`^(400|404) `)
