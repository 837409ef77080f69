package execution_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"berth.dev/berth/internal/base/fault"
	"berth.dev/berth/internal/control/execution"
	"berth.dev/berth/internal/data/records"
	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/model"
)

func app(change func(*model.ContainerDefinition)) model.ContainerDefinition {
	c := model.ContainerDefinition{Name: "app", Image: "nginx:1", Essential: new(true)}
	if change != nil {
		change(&c)
	}
	return c
}

func TestTaskCredentials(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		out, err := w.TaskCredentials(t.Context(), w.task(nil, app(nil)))
		if err != nil || out.GetRefusal() != "" {
			t.Fatal(out, err)
		}
		if out.GetRoleArn() != taskRole || time.Until(time.UnixMilli(out.GetExpiresMs())).Round(time.Second) != 6*time.Hour {
			t.Errorf("role %s until %s", out.GetRoleArn(), time.UnixMilli(out.GetExpiresMs()))
		}
		secret, who, err := w.sessions.Open(out.GetAccessKeyId(), out.GetSessionToken())
		if err != nil || secret != out.GetSecretAccessKey() {
			t.Fatal("the token does not open", err)
		}
		if who.ARN != "arn:aws:sts::123456789012:assumed-role/ecsTaskRole/"+taskID || who.UserID != "AROAECSTASKROLE:"+taskID || who.AccountID != scope.AccountID ||
			who.Session.Name != taskID || who.Session.RoleID != "AROAECSTASKROLE" || who.Service != "" {
			t.Errorf("issued to %+v %+v", who, who.Session)
		}
	})
}

func TestTaskCredentials_Overridden(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		w.role("other", "/team/", trust)
		task := w.task(nil, app(nil))
		for _, name := range []string{"arn:aws:iam::123456789012:role/team/other", "other", "team/other", "OTHER"} {
			task.Overrides.TaskRoleARN = name
			out, err := w.TaskCredentials(t.Context(), task)
			if err != nil || out.GetRoleArn() != "arn:aws:iam::123456789012:role/team/other" {
				t.Errorf("%s: %v, %v", name, out, err)
			}
		}
	})
}

// The keys that AWS documents for trust policies of tasks, and what does not
// lead to ecs-tasks.
func TestTaskCredentials_TrustPolicies(t *testing.T) {
	statement := func(principal, condition string) string {
		return `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":` + principal + `,"Action":"sts:AssumeRole"` + condition + `}]}`
	}
	ecs := `{"Service":"ecs-tasks.amazonaws.com"}`
	for _, test := range []struct {
		name, trust string
		want        bool
	}{
		{"plain", statement(ecs, ""), true},
		{"one of several", statement(`{"Service":["ec2.amazonaws.com","ecs-tasks.amazonaws.com"]}`, ""), true},
		{"as AWS documents it", statement(ecs, `,"Condition":{"ArnLike":{"aws:SourceArn":"arn:aws:ecs:us-east-1:123456789012:*"},"StringEquals":{"aws:SourceAccount":"123456789012"}}`), true},
		{"another account", statement(ecs, `,"Condition":{"StringEquals":{"aws:SourceAccount":"111111111111"}}`), false},
		{"another region", statement(ecs, `,"Condition":{"ArnLike":{"aws:SourceArn":"arn:aws:ecs:eu-west-1:123456789012:*"}}`), false},
		{"a cluster, which AWS does not support", statement(ecs, `,"Condition":{"ArnLike":{"aws:SourceArn":"arn:aws:ecs:us-east-1:123456789012:task/default/*"}}`), false},
		{"another service", statement(`{"Service":"ec2.amazonaws.com"}`, ""), false},
		{"ecs is not ecs-tasks", statement(`{"Service":"ecs.amazonaws.com"}`, ""), false},
		{"the account", statement(`{"AWS":"arn:aws:iam::123456789012:root"}`, ""), false},
		{"denied", `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"ecs-tasks.amazonaws.com"},"Action":"sts:AssumeRole"},{"Effect":"Deny","Principal":"*","Action":"*"}]}`, false},
		{"damaged", `{`, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			in(t, func(t *testing.T, w *world) {
				w.role("ecsTaskRole", "/", test.trust)
				out, err := w.TaskCredentials(t.Context(), w.task(nil, app(nil)))
				if err != nil {
					t.Fatal(err)
				}
				want := ""
				if !test.want {
					want = unassumable(taskRole)
				}
				if out.GetRefusal() != want || (out.GetAccessKeyId() != "") != test.want {
					t.Errorf("got %q", out.GetRefusal())
				}
			})
		})
	}
}

func unassumable(role string) string {
	return "ECS was unable to assume the role '" + role + "' that was provided for this task. Please verify that the role being passed has the proper trust relationship and permissions and that your IAM user has permissions to pass this role."
}

func TestTaskCredentials_NoSuchRole(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		task := w.task(nil, app(nil))
		for name, said := range map[string]string{
			"arn:aws:iam::123456789012:role/nobody": "arn:aws:iam::123456789012:role/nobody",
			"nobody":                                "arn:aws:iam::123456789012:role/nobody",
			"arn:aws:iam::123456789012:role/path/ecsTaskRole": "arn:aws:iam::123456789012:role/path/ecsTaskRole", // it has no path
			"path/ecsTaskRole":                           "arn:aws:iam::123456789012:role/path/ecsTaskRole",
			"arn:aws:iam::111111111111:role/ecsTaskRole": "arn:aws:iam::111111111111:role/ecsTaskRole",
		} {
			task.Overrides.TaskRoleARN = name
			out, err := w.TaskCredentials(t.Context(), task)
			if err != nil || out.GetRefusal() != unassumable(said) {
				t.Errorf("%s: %v, %v", name, out, err)
			}
		}
	})
}

func TestTaskCredentials_NoRole(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		task := w.task(func(def *model.TaskDefinition) { def.TaskRoleARN = "" }, app(nil))
		if _, err := w.TaskCredentials(t.Context(), task); !errors.Is(err, fault.Invalid) {
			t.Error(err)
		}
		w.update(func(tx *store.Tx) { records.TaskDefinitions.Delete(tx, model.TaskDefinitionKey("app", 1)) })
		if _, err := w.TaskCredentials(t.Context(), task); !errors.Is(err, fault.NotFound) {
			t.Error(err)
		}
	})
}

const ecrImage = "123456789012.dkr.ecr.us-east-1.amazonaws.com/team/app:v2"

func TestAuthorizePull(t *testing.T) {
	const repository = "arn:aws:ecr:us-east-1:123456789012:repository/team/app"
	all := []string{"ecr:GetAuthorizationToken *", "ecr:BatchGetImage " + repository, "ecr:BatchCheckLayerAvailability " + repository, "ecr:GetDownloadUrlForLayer " + repository}
	digest := "@sha256:0000000000000000000000000000000000000000000000000000000000000000"
	for _, test := range []struct {
		image string
		asked []string
	}{
		{ecrImage, all},
		{"123456789012.dkr.ecr.us-east-1.amazonaws.com/team/app", all},
		{"123456789012.dkr.ecr.us-east-1.amazonaws.com/team/app" + digest, all},
		{ecrImage + digest, all},
		{"123456789012.dkr.ecr-fips.us-east-1.amazonaws.com/team/app:v2", all},
		{"123456789012.dkr-ecr.us-east-1.on.aws/team/app:v2", all},
		{"registry.internal:5000/team/app:v2", all},
		{"nginx", nil},
		{"docker.io/library/nginx:1", nil},
		{"localhost:5000/app:v2", nil},
		{"public.ecr.aws/nginx/nginx:1", nil},
		{"123456789012.dkr.ecr.us-east-1.amazonaws.com.example.com/app", nil},
	} {
		t.Run(test.image, func(t *testing.T) {
			in(t, func(t *testing.T, w *world) {
				task := w.task(nil, app(func(c *model.ContainerDefinition) { c.Image = test.image }))
				refusal, err := w.AuthorizePull(t.Context(), task, "app")
				if refusal != "" || err != nil {
					t.Errorf("%q, %v", refusal, err)
				}
				w.expectAsked(test.asked...)
				if test.asked != nil {
					w.expectActing()
				}
			})
		})
	}
}

func TestAuthorizePull_Refused(t *testing.T) {
	denied := func(action, resource string) string {
		return fmt.Sprintf("User: %s is not authorized to perform: %s on resource: %s because no identity-based policy allows the %[2]s action", executing, action, resource)
	}
	const repository = "arn:aws:ecr:us-east-1:123456789012:repository/team/app"
	for _, test := range []struct{ launch, action, want string }{
		// [OBS]
		{model.LaunchFargate, "ecr:GetAuthorizationToken", "ResourceInitializationError: unable to pull secrets or registry auth: execution resource retrieval failed: unable to retrieve ecr registry auth: service call has been retried 1 time(s): AccessDeniedException: " + denied("ecr:GetAuthorizationToken", "*")},
		{model.LaunchEC2, "ecr:GetAuthorizationToken", "CannotPullECRContainerError: AccessDeniedException: " + denied("ecr:GetAuthorizationToken", "*")},
		// [OBS] without the sentence
		{model.LaunchFargate, "ecr:BatchGetImage", "CannotPullContainerError: pull image manifest has been retried 1 time(s): failed to resolve ref " + ecrImage + ": pulling from host 123456789012.dkr.ecr.us-east-1.amazonaws.com failed with status code [manifests v2]: 403 Forbidden: " + denied("ecr:BatchGetImage", repository)},
		{model.LaunchEC2, "ecr:GetDownloadUrlForLayer", "CannotPullContainerError: Error response from daemon: pull access denied for 123456789012.dkr.ecr.us-east-1.amazonaws.com/team/app, repository does not exist or may require 'docker login': denied: " + denied("ecr:GetDownloadUrlForLayer", repository)},
	} {
		t.Run(test.launch+" "+test.action, func(t *testing.T) {
			in(t, func(t *testing.T, w *world) {
				task := w.task(nil, app(func(c *model.ContainerDefinition) { c.Image = ecrImage }))
				task.LaunchType = test.launch
				w.forbidden[test.action] = true
				refusal, err := w.AuthorizePull(t.Context(), task, "app")
				if refusal != test.want || err != nil {
					t.Errorf("got %q, %v\nwant %q", refusal, err, test.want)
				}
			})
		})
	}
	in(t, func(t *testing.T, w *world) {
		task := w.task(nil, app(func(c *model.ContainerDefinition) { c.Image = ecrImage }))
		if _, err := w.AuthorizePull(t.Context(), task, "another"); !errors.Is(err, fault.Denied) {
			t.Error(err)
		}
		w.failure = errors.New("the store is away")
		if refusal, err := w.AuthorizePull(t.Context(), task, "app"); !errors.Is(err, w.failure) || refusal != "" {
			t.Errorf("%q, %v: not to be taken for an answer", refusal, err)
		}
		w.failure = nil
		w.role("ecsTaskExecutionRole", "/service/", `{"Version":"2012-10-17","Statement":[]}`)
		if refusal, err := w.AuthorizePull(t.Context(), task, "app"); refusal != unassumable(executionRole) || err != nil {
			t.Errorf("%q, %v", refusal, err)
		}
		task = w.task(func(def *model.TaskDefinition) { def.ExecutionRoleARN = "" }, app(func(c *model.ContainerDefinition) { c.Image = ecrImage }))
		w.asked = nil
		if refusal, err := w.AuthorizePull(t.Context(), task, "app"); refusal != "" || err != nil {
			t.Errorf("without a role the host's own right counts: %q, %v", refusal, err)
		}
		w.expectAsked()
	})
}

func logging(options map[string]string) model.ContainerDefinition {
	return app(func(c *model.ContainerDefinition) {
		c.LogConfiguration = &model.LogConfiguration{LogDriver: "awslogs", Options: options}
	})
}

func TestAuthorizeLogs(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		options := map[string]string{"awslogs-group": "/ecs/app", "awslogs-region": "us-east-1", "awslogs-stream-prefix": "web", "awslogs-create-group": "true"}
		task := w.task(nil, logging(options))
		const stream, group = "web/app/" + taskID, "arn:aws:logs:us-east-1:123456789012:log-group:/ecs/app"
		ask := func(container, group, stream, action string) (string, error) {
			return w.AuthorizeLogs(t.Context(), task, container, group, stream, action)
		}
		for _, action := range []string{execution.CreateLogStream, execution.PutLogEvents, execution.CreateLogGroup} {
			if refusal, err := ask("app", "/ecs/app", stream, action); refusal != "" || err != nil {
				t.Errorf("%s: %q, %v", action, refusal, err)
			}
			w.expectActing()
		}
		w.expectAsked("logs:CreateLogStream "+group+":log-stream:"+stream, "logs:PutLogEvents "+group+":log-stream:"+stream, "logs:CreateLogGroup "+group+":log-stream:")
		for _, other := range [][3]string{
			{"app", "/ecs/other", stream},
			{"app", "/ecs/app", "web/app/another"},
			{"app", "/ecs/app", "web/side/" + taskID},
			{"app", "/ecs/app", ""},
			{"side", "/ecs/app", stream},
			{"app", "/ecs/app", taskID + "-app"},
		} {
			for _, action := range []string{execution.CreateLogStream, execution.PutLogEvents, execution.CreateLogGroup} {
				if _, err := ask(other[0], other[1], other[2], action); !errors.Is(err, fault.Denied) {
					t.Errorf("%v: %s is answered with %v", other, action, err)
				}
			}
		}
		w.expectAsked()
	})
}

func TestAuthorizeLogs_StreamWithoutPrefix(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		task := w.task(func(def *model.TaskDefinition) { def.ExecutionRoleARN, def.RequiresCompatibilities = "", nil },
			logging(map[string]string{"awslogs-group": "g", "awslogs-region": "us-east-1"}))
		if refusal, err := w.AuthorizeLogs(t.Context(), task, "app", "g", taskID+"-app", execution.CreateLogStream); refusal != "" || err != nil {
			t.Errorf("%q, %v", refusal, err)
		}
		w.expectAsked() // on EC2 without an execution role
		if _, err := w.AuthorizeLogs(t.Context(), task, "app", "g", taskID+"-app", execution.CreateLogGroup); !errors.Is(err, fault.Denied) {
			t.Errorf("a group that the definition does not ask for: %v", err)
		}
	})
}

// A delivery a hundred milliseconds after the last is not judged again; one
// some seconds later is.
func TestAuthorizeLogs_RemembersDeliveries(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		task := w.task(nil, logging(map[string]string{"awslogs-group": "g", "awslogs-region": "us-east-1", "awslogs-stream-prefix": "p"}))
		const stream = "p/app/" + taskID
		const asked = "logs:PutLogEvents arn:aws:logs:us-east-1:123456789012:log-group:g:log-stream:" + stream
		deliver := func() string {
			t.Helper()
			refusal, err := w.AuthorizeLogs(t.Context(), task, "app", "g", stream, execution.PutLogEvents)
			if err != nil {
				t.Fatal(err)
			}
			return refusal
		}
		for range 3 {
			if refusal := deliver(); refusal != "" {
				t.Error(refusal)
			}
		}
		w.expectAsked(asked)
		w.forbidden["logs:PutLogEvents"] = true
		time.Sleep(5 * time.Second)
		want := "AccessDeniedException: User: " + executing + " is not authorized to perform: logs:PutLogEvents on resource: arn:aws:logs:us-east-1:123456789012:log-group:g:log-stream:" + stream + " because no identity-based policy allows the logs:PutLogEvents action"
		if refusal := deliver(); refusal != want {
			t.Errorf("got %q", refusal)
		}
		w.expectAsked(asked)
		// What could not be decided is not remembered.
		time.Sleep(5 * time.Second)
		w.failure = errors.New("the store is away")
		if _, err := w.AuthorizeLogs(t.Context(), task, "app", "g", stream, execution.PutLogEvents); !errors.Is(err, w.failure) {
			t.Error(err)
		}
		w.failure, w.forbidden = nil, nil
		if refusal := deliver(); refusal != "" {
			t.Error(refusal)
		}
	})
}
