package e2e_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecr"
	ecrtypes "github.com/aws/aws-sdk-go-v2/service/ecr/types"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
)

// What was pushed runs under the name that AWS gives it, with the managed policy that every execution role has there, and the
// task says which image that was. Without permissions, a repository or a tag it stops in AWS's words.
func TestPushedImageRunsUnderItsAWSName(t *testing.T) {
	t.Parallel()
	b, ctx := shared, t.Context()
	repository := b.repository(t, "")
	digest := b.push(t, repository, "v1", probeVersion("one"))

	name := "e2e-" + random()
	must(b.iam.CreateRole(ctx, &iam.CreateRoleInput{RoleName: &name, AssumeRolePolicyDocument: aws.String(taskTrust)}))(t)
	must(b.iam.AttachRolePolicy(ctx, &iam.AttachRolePolicyInput{RoleName: &name, PolicyArn: aws.String("arn:aws:iam::aws:policy/service-role/AmazonECSTaskExecutionRolePolicy")}))(t)
	managed := "arn:aws:iam::123456789012:role/" + name
	_, noPulls := b.newRole(t, taskTrust, allow("*", "ecr:GetAuthorizationToken", "logs:CreateLogStream", "logs:CreateLogGroup", "logs:PutLogEvents"))
	define := func(role, image string) *ecs.RegisterTaskDefinitionInput {
		def := fargate(container("app", "answer", "3000", "0"))
		def.ExecutionRoleArn, def.ContainerDefinitions[0].Image = &role, &image
		// The managed policy does not let it make log groups; the first container's options name the task's group.
		delete(def.ContainerDefinitions[0].LogConfiguration.Options, "awslogs-create-group")
		b.logGroup(t, def.ContainerDefinitions[0].LogConfiguration.Options["awslogs-group"])
		return def
	}

	for _, image := range []string{ecrHost + "/" + repository + ":v1", ecrHost + "/" + repository + "@" + digest} {
		k := b.run(t, define(managed, image))
		app := find(t, k.awaitStatus(t, "RUNNING"), "app")
		equal(t, "image", *app.Image, image)
		equal(t, "imageDigest", aws.ToString(app.ImageDigest), digest)
		equal(t, "VERSION", k.hears(t, 3000, "/env", "name", "VERSION"), "one")
	}

	missing := "e2e/none-" + random()
	for _, test := range []struct {
		name, role, image string
		want              []string
	}{
		{"not allowed", noPulls, ecrHost + "/" + repository + ":v1", []string{
			"CannotPullContainerError: pull image manifest has been retried 1 time(s): failed to resolve ref " + ecrHost + "/" + repository + ":v1: ",
			"403 Forbidden", "is not authorized to perform: ecr:BatchGetImage on resource: arn:aws:ecr:us-east-1:123456789012:repository/" + repository,
		}},
		{"no such tag", managed, ecrHost + "/" + repository + ":v9", []string{"CannotPullContainerError: ", ecrHost + "/" + repository + ":v9", "not found"}},
		{"no such repository", managed, ecrHost + "/" + missing + ":v1", []string{
			"CannotPullContainerError: pull image manifest has been retried 1 time(s): failed to resolve ref " + ecrHost + "/" + missing + ":v1: " + ecrHost + "/" + missing + ":v1: not found",
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			got := b.run(t, define(test.role, test.image)).awaitStatus(t, "STOPPED")
			if got.StopCode != types.TaskStopCodeTaskFailedToStart {
				t.Errorf("stopCode %s", got.StopCode)
			}
			for _, want := range test.want {
				if !strings.Contains(aws.ToString(got.StoppedReason), want) {
					t.Errorf("stoppedReason %q, want %q in it", aws.ToString(got.StoppedReason), want)
				}
			}
		})
	}
}

// A deployment means the image that its tag meant when it began: tasks that come later run the same one though the tag has
// moved, until somebody asks for a new deployment.
func TestServiceKeepsItsImageWhenTheTagMoves(t *testing.T) {
	t.Parallel()
	b := shared
	repository := b.repository(t, "")
	one := b.push(t, repository, "latest", probeVersion("one"))
	s := b.plain(t)
	app := container("app", "answer", "3000", "0")
	app.Image = aws.String(ecrHost + "/" + repository + ":latest")
	s.create(t, s.define(t, app), 1, nil)
	s.completed(t)
	two := b.push(t, repository, "latest", probeVersion("two"))
	if one == two {
		t.Fatal("both versions are one")
	}

	s.update(t, &ecs.UpdateServiceInput{DesiredCount: aws.Int32(2)})
	s.runs(t, 2, one, "one")
	victim := s.tasks(t)[0]
	must(b.ecs.StopTask(t.Context(), &ecs.StopTaskInput{Task: &victim}))(t)
	s.await(t, "a replacement", func(svc types.Service) bool {
		return svc.RunningCount == 2 && !slices.Contains(s.tasks(t), victim)
	})
	s.runs(t, 2, one, "one")

	s.update(t, &ecs.UpdateServiceInput{ForceNewDeployment: true})
	s.completed(t)
	s.runs(t, 2, two, "two")
}

// runs waits until the service has that many tasks, all running and of that image.
func (s *site) runs(t *testing.T, count int, digest, version string) {
	t.Helper()
	eventually(t, fmt.Sprintf("%d tasks of version %s", count, version), func() error {
		arns := s.tasks(t)
		if len(arns) != count {
			return fmt.Errorf("the tasks are %v", arns)
		}
		for _, arn := range arns {
			k := &task{b: s.b, arn: arn, id: last(arn)}
			got, err := k.describe(t.Context())
			if err != nil {
				return err
			}
			if *got.LastStatus != "RUNNING" || aws.ToString(find(t, got, "app").ImageDigest) != digest {
				return fmt.Errorf("%s is %s with %s, want %s", k.id, *got.LastStatus, aws.ToString(find(t, got, "app").ImageDigest), digest)
			}
			if said, err := k.ask(t.Context(), 3000, "/env", "name", "VERSION"); err != nil || said != version {
				return fmt.Errorf("%s says %q, %w", k.id, said, err)
			}
		}
		return nil
	})
}

// A tag of an immutable repository stays what it is.
func TestImmutableTagsStay(t *testing.T) {
	t.Parallel()
	b := shared
	repository := b.repository(t, ecrtypes.ImageTagMutabilityImmutable)
	first := b.push(t, repository, "v1", probeVersion("one"))
	ref := b.reference(t, repository, "v1")
	err := remote.Write(ref, built(t, probeVersion("two")), b.login(t))
	want := "The image tag 'v1' already exists in the '" + repository + "' repository and cannot be overwritten because the repository is immutable."
	if err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("pushing another image under the tag: %v, want %q", err, want)
	}
	if got := b.tagged(t, repository)["v1"]; got != first {
		t.Errorf("v1 is %s, want %s", got, first)
	}
}

// A lifecycle policy runs by itself, on what is pushed before and after it was made; what is deleted is not served any more.
func TestImagesExpireAndAreDeleted(t *testing.T) {
	t.Parallel()
	b, ctx := shared, t.Context()
	repository := b.repository(t, "")
	for _, v := range []string{"1", "2", "3"} {
		b.push(t, repository, v, probeVersion(v))
	}
	must(b.ecr.PutLifecyclePolicy(ctx, &ecr.PutLifecyclePolicyInput{RepositoryName: &repository, LifecyclePolicyText: aws.String(
		`{"rules":[{"rulePriority":1,"description":"the newest one","selection":{"tagStatus":"any","countType":"imageCountMoreThan","countNumber":1},"action":{"type":"expire"}}]}`,
	)}))(t)
	b.keeps(t, repository, "3")
	b.push(t, repository, "4", probeVersion("4"))
	b.keeps(t, repository, "4")
	if _, err := remote.Image(b.reference(t, repository, "1"), b.login(t)); status(err) != http.StatusNotFound {
		t.Errorf("pulling an expired image: %v", err)
	}

	if _, err := b.ecr.DeleteRepository(ctx, &ecr.DeleteRepositoryInput{RepositoryName: &repository}); !hasCode(err, "RepositoryNotEmptyException") {
		t.Errorf("deleting a repository with an image: %v", err)
	}
	must(b.ecr.DeleteRepository(ctx, &ecr.DeleteRepositoryInput{RepositoryName: &repository, Force: true}))(t)
	if _, err := remote.Image(b.reference(t, repository, "4"), b.login(t)); status(err) != http.StatusNotFound {
		t.Errorf("pulling from a deleted repository: %v", err)
	}
}

// keeps waits until one tag is all that a repository has.
func (b *berth) keeps(t *testing.T, repository, tag string) {
	t.Helper()
	eventually(t, "only "+tag+" to be kept", func() error {
		if got := b.tagged(t, repository); len(got) != 1 || got[tag] == "" {
			return fmt.Errorf("the repository has %v", got)
		}
		return nil
	})
}

// The registry protocol asks who a task is: with its role's credentials it may read one repository, and nothing else.
func TestTaskRolesReadTheRegistry(t *testing.T) {
	t.Parallel()
	b := shared
	mine, others := b.repository(t, ""), b.repository(t, "")
	digest := b.push(t, mine, "v1", probeVersion("one"))
	b.push(t, others, "v1", probeVersion("one"))
	policy, err := json.Marshal(map[string]any{"Version": "2012-10-17", "Statement": []any{
		map[string]any{"Effect": "Allow", "Action": "ecr:GetAuthorizationToken", "Resource": "*"},
		map[string]any{"Effect": "Allow", "Action": []string{"ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"}, "Resource": "arn:aws:ecr:us-east-1:123456789012:repository/" + mine},
	}})
	if err != nil {
		t.Fatal(err)
	}
	_, role := b.newRole(t, taskTrust, string(policy))
	def := fargate(container("app", "answer", "3000", "0"))
	def.TaskRoleArn = &role
	k := b.run(t, def)
	k.awaitStatus(t, "RUNNING")
	var got struct{ AccessKeyId, SecretAccessKey, Token string } //nolint:revive,staticcheck // AWS's names
	uri := k.hears(t, 3000, "/env", "name", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI")
	if err := json.Unmarshal([]byte(k.hears(t, 3000, "/fetch", "url", "http://169.254.170.2"+uri)), &got); err != nil {
		t.Fatal(err)
	}
	as := b.as(t, got.AccessKeyId, got.SecretAccessKey, got.Token)

	image, err := remote.Image(b.reference(t, mine, "v1"), as.login(t))
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "the digest", fmt.Sprint(must(image.Digest())(t)), digest)
	for _, layer := range must(image.Layers())(t) {
		drain(t, must(layer.Compressed())(t))
	}
	_, err = remote.Get(b.reference(t, others, "v1"), as.login(t))
	if want := "assumed-role/" + last(role) + "/" + k.id + " is not authorized to perform: ecr:BatchGetImage"; status(err) != http.StatusForbidden || !strings.Contains(err.Error(), want) {
		t.Errorf("another repository: %v, want %q", err, want)
	}
	// The client asks with HEAD, whose answer has no text.
	if err := remote.Write(b.reference(t, mine, "v2"), built(t, probeVersion("two")), as.login(t)); status(err) != http.StatusForbidden {
		t.Errorf("a push: %v", err)
	}
}

// status is the HTTP status that a registry answered with, or 0.
func status(err error) int {
	if e, ok := errors.AsType[*transport.Error](err); ok {
		return e.StatusCode
	}
	return 0
}
