package e2e_test

import (
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/google/go-containerregistry/pkg/registry"

	"berth.dev/berth/test/images"
)

// end is how a task should end.
type end struct {
	code       types.TaskStopCode
	reason     string // a regular expression
	containers string // each container's status, exit code and reason; a regular expression
}

// Every way for a task to end shows its stop code, its reason, and each container's exit code and reason.
func TestTasksEndForTheReasonThatTheyGive(t *testing.T) {
	t.Parallel()
	const (
		failed    = types.TaskStopCodeTaskFailedToStart
		exited    = types.TaskStopCodeEssentialContainerExited
		user      = types.TaskStopCodeUserInitiated
		essential = "Essential container in task exited"
	)
	empty := httptest.NewServer(registry.New(quietly))
	t.Cleanup(empty.Close)
	private := privateRegistry(t)
	image := func(name string) types.ContainerDefinition {
		return with(container("app"), func(c *types.ContainerDefinition) { c.Image = &name })
	}
	app := container("app", "sleep")
	for _, c := range []struct {
		name string
		def  *ecs.RegisterTaskDefinitionInput
		stop string // the reason for StopTask, once it runs
		want end
	}{
		{
			"the image does not exist", fargate(image(host(empty) + "/none:1")), "",
			end{failed, `CannotPullContainerError: .*none:1.*not found.*`, `app STOPPED \(CannotPullContainerError: .*\)`},
		},
		{
			"nothing answers at the registry", fargate(image("127.0.0.1:1/some/thing:1")), "",
			end{failed, `CannotPullContainerError: .*127\.0\.0\.1:1.*connection refused.*`, `app STOPPED \(CannotPullContainerError: .*\)`},
		},
		{
			"the registry's name is unknown", fargate(image("registry.invalid/some/thing:1")), "",
			end{failed, `CannotPullContainerError: .*registry\.invalid.*`, `app STOPPED \(CannotPullContainerError: .*\)`},
		},
		{
			"the registry wants a login", fargate(image(private + "/secret:1")), "",
			end{failed, `CannotPullContainerError: .*(401 Unauthorized|may require authorization).*`, `app STOPPED \(CannotPullContainerError: .*\)`},
		},
		{
			"the registry's secret does not exist", fargate(with(image(private+"/secret:1"), login("no-such-secret"))), "",
			end{failed, `ResourceInitializationError: unable to pull secrets or registry auth: .*no-such-secret.*`, `app STOPPED`},
		},
		{
			"the command does not exist", fargate(with(app, func(c *types.ContainerDefinition) { c.EntryPoint = []string{"/nope"} })), "",
			end{failed, `CannotStartContainerError: .*/nope.*`, `app STOPPED \(CannotStartContainerError: .*\)`},
		},
		{
			"an essential container ends well", fargate(container("app", "exit", "0")), "",
			end{exited, essential, `app STOPPED exit 0`},
		},
		{
			"an essential container fails", fargate(container("app", "exit", "3")), "",
			end{exited, essential, `app STOPPED exit 3`},
		},
		{
			"an essential container ends the others", fargate(app, after(after(container("other", "exit", "1"), "app", types.ContainerConditionStart), "third", types.ContainerConditionStart), optional(container("third", "trap", "5"))), "",
			end{exited, essential, `app STOPPED exit \d+, other STOPPED exit 1, third STOPPED( exit \d+)?`},
		},
		{
			"a container uses more memory than it may", fargate(with(container("app", "eat", "128"), func(c *types.ContainerDefinition) { c.Memory = aws.Int32(32) })), "",
			end{exited, `(OutOfMemoryError: Container killed due to memory usage|Essential container in task exited)`, `app STOPPED exit 137 \(OutOfMemoryError: Container killed due to memory usage\)`},
		},
		{
			"the task's containers use more memory than it has", fargate(container("app", "eat", "700")), "",
			end{exited, `.*`, `app STOPPED exit 137 \(OutOfMemoryError: Container killed due to memory usage\)`},
		},
		{"a restart policy does not restart what ran too briefly", fargate(with(container("app", "exit", "4"), func(c *types.ContainerDefinition) {
			c.RestartPolicy = &types.ContainerRestartPolicy{Enabled: aws.Bool(true), RestartAttemptPeriod: aws.Int32(60)}
		})), "", end{exited, essential, `app STOPPED exit 4`}},
		{
			"a dependency that must succeed fails", fargate(after(app, "init", types.ContainerConditionSuccess), optional(container("init", "exit", "6"))), "",
			end{failed, `TaskDependencyError: .*`, `app STOPPED \(TaskDependencyError: .*\), init STOPPED exit 6`},
		},
		{"a dependency is not healthy in time", fargate(after(app, "init", types.ContainerConditionHealthy), with(container("init", "trap", "0"), func(c *types.ContainerDefinition) {
			c.HealthCheck, c.StartTimeout = check("/never"), aws.Int32(2)
		})), "", end{failed, `TaskDependencyError: .*startTimeout.*`, `app STOPPED \(TaskDependencyError: .*\), init STOPPED exit 0`}},
		{"a dependency does not end in time", fargate(after(app, "init", types.ContainerConditionComplete), optional(with(container("init", "trap", "0"), func(c *types.ContainerDefinition) {
			c.StartTimeout = aws.Int32(2)
		}))), "", end{failed, `TaskDependencyError: .*startTimeout.*`, `app STOPPED \(TaskDependencyError: .*\), init STOPPED exit 0`}},
		{
			"the program heeds SIGTERM", fargate(container("app", "trap", "7")), "because",
			end{user, "because", `app STOPPED exit 7`},
		},
		{"SIGTERM ends the program", fargate(with(container("app", "say", "ready"), func(c *types.ContainerDefinition) {
			c.LinuxParameters = &types.LinuxParameters{InitProcessEnabled: aws.Bool(true)}
		})), "because", end{user, "because", `app STOPPED exit 143`}},
		{
			"the program ignores SIGTERM", fargate(with(container("app", "ignore"), func(c *types.ContainerDefinition) { c.StopTimeout = aws.Int32(2) })), "because",
			end{user, "because", `app STOPPED exit 137`},
		},
		{
			"the user gives no reason", fargate(container("app", "trap", "0")), "-",
			end{user, "Task stopped by user.*", `app STOPPED exit 0`},
		},
		{
			"launch type EC2", onInstance(container("app", "exit", "3")), "",
			end{exited, essential, `app STOPPED exit 3`},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			k := shared.run(t, c.def)
			var got types.Task
			switch c.stop {
			case "":
				got = k.awaitStatus(t, "STOPPED")
			case "-":
				k.awaitStatus(t, "RUNNING")
				k.logged(t, "app", "ready") // it has its handlers
				if _, err := shared.ecs.StopTask(t.Context(), &ecs.StopTaskInput{Task: &k.arn}); err != nil {
					t.Fatal(err)
				}
				got = k.awaitStatus(t, "STOPPED")
			default:
				k.awaitStatus(t, "RUNNING")
				k.logged(t, "app", "ready") // it has its handlers, and its init too
				got = k.stop(t, c.stop)
			}
			if got.StopCode != c.want.code {
				t.Errorf("stopCode %s, want %s", got.StopCode, c.want.code)
			}
			if !regexp.MustCompile("^(?s:" + c.want.reason + ")$").MatchString(aws.ToString(got.StoppedReason)) {
				t.Errorf("stoppedReason %q, want %s", aws.ToString(got.StoppedReason), c.want.reason)
			}
			if text := containers(got); !regexp.MustCompile("^(?s:" + c.want.containers + ")$").MatchString(text) {
				t.Errorf("containers: %s\nwant %s", text, c.want.containers)
			}
			if started := got.StartedAt != nil; started != (c.want.code != failed) {
				t.Errorf("startedAt %v of a task with %s", got.StartedAt, got.StopCode)
			}
			if got.StoppedAt == nil || *got.Attachments[0].Status != "DELETED" {
				t.Errorf("stoppedAt %v, attachment %s", got.StoppedAt, *got.Attachments[0].Status)
			}
		})
	}
}

// A private registry's images run when the task has its login.
func TestRepositoryCredentialsOpenAPrivateRegistry(t *testing.T) {
	t.Parallel()
	address := privateRegistry(t)
	secret := *must(shared.secrets.CreateSecret(t.Context(), &secretsmanager.CreateSecretInput{
		Name: aws.String("e2e/registry-" + random()), SecretString: aws.String(`{"username": "user", "password": "pass"}`),
	}))(t).ARN
	k := shared.run(t, fargate(with(container("app", "exit", "0"), func(c *types.ContainerDefinition) {
		c.Image = aws.String(address + "/secret:1")
		login(secret)(c)
	})))
	if got := k.awaitStatus(t, "STOPPED"); got.StopCode != types.TaskStopCodeEssentialContainerExited || *got.Containers[0].ExitCode != 0 {
		t.Errorf("%s %s: %s", got.StopCode, *got.StoppedReason, containers(got))
	}
}

func login(secret string) func(*types.ContainerDefinition) {
	return func(c *types.ContainerDefinition) {
		c.RepositoryCredentials = &types.RepositoryCredentials{CredentialsParameter: &secret}
	}
}

// check is a health check that wants a file to be there.
func check(file string) *types.HealthCheck {
	return &types.HealthCheck{Command: []string{"CMD", "/probe", "exists", file}, Interval: aws.Int32(5), Retries: aws.Int32(1), Timeout: aws.Int32(2)}
}

var quietly = registry.Logger(log.New(io.Discard, "", 0))

func host(s *httptest.Server) string { return strings.TrimPrefix(s.URL, "http://") }

// privateRegistry is a registry with the probe image as secret:1, which opens for user and pass only.
func privateRegistry(t *testing.T) string {
	t.Helper()
	content := registry.New(quietly)
	open := httptest.NewServer(content)
	defer open.Close()
	image := probe
	image.Name = host(open) + "/secret:1"
	if err := images.Push(t.Context(), image); err != nil {
		t.Fatal(err)
	}
	door := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if name, word, ok := r.BasicAuth(); !ok || name != "user" || word != "pass" {
			w.Header().Set("WWW-Authenticate", `Basic realm="private"`)
			http.Error(w, `{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}`, http.StatusUnauthorized)
			return
		}
		content.ServeHTTP(w, r)
	}))
	t.Cleanup(door.Close)
	return host(door)
}
