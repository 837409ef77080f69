package execution_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"berth.dev/berth/internal/control/execution"
	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/wire/nodeapi"
	"berth.dev/berth/internal/wire/smithy"
)

func secrets(refs ...string) []model.SecretReference {
	var out []model.SecretReference
	for i, from := range refs {
		out = append(out, model.SecretReference{Name: fmt.Sprintf("S%d", i), ValueFrom: from})
	}
	return out
}

// describe writes what a node gets, in short.
func describe(out *nodeapi.TaskSecretsResponse) string {
	var b strings.Builder
	b.WriteString(out.GetRefusal())
	for _, c := range out.GetContainers() {
		fmt.Fprintf(&b, "[%s", c.GetName())
		for _, s := range c.GetEnvironment() {
			fmt.Fprintf(&b, " %s=%s", s.GetName(), s.GetValue())
		}
		for _, s := range c.GetLogOptions() {
			fmt.Fprintf(&b, " log:%s=%s", s.GetName(), s.GetValue())
		}
		if c.GetRegistryUsername() != "" {
			fmt.Fprintf(&b, " login:%s/%s", c.GetRegistryUsername(), c.GetRegistryPassword())
		}
		b.WriteString("]")
	}
	return b.String()
}

func TestTaskSecrets(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		w.secrets[password+"|AWSCURRENT"] = execution.SecretValue{Text: "hunter2"}
		w.secrets[password+"|AWSPREVIOUS"] = execution.SecretValue{Text: "hunter1"}
		w.secrets[creds+"|AWSCURRENT"] = execution.SecretValue{Text: `{"password":"p","port":5432,"nested":{"a":1},"":"empty"}`}
		w.secrets["login|AWSCURRENT"] = execution.SecretValue{Text: `{"username":"me","password":"pw"}`}
		w.parameters["/myapp/api-key"], w.parameters["level"] = "key", "debug"
		task := w.task(nil,
			model.ContainerDefinition{Name: "plain", Image: "nginx"},
			model.ContainerDefinition{
				Name: "app", Image: "registry.example.com/app",
				Secrets: secrets(password, creds+":password::", creds+":port::", creds+":nested::", password+"::AWSPREVIOUS:", apiKey, "/myapp/api-key", "level"),
				LogConfiguration: &model.LogConfiguration{
					LogDriver:     "awslogs",
					Options:       map[string]string{"awslogs-group": "g", "awslogs-region": "us-east-1", "awslogs-stream-prefix": "p"},
					SecretOptions: []model.SecretReference{{Name: "mode", ValueFrom: "level"}},
				},
				RepositoryCredentials: &model.RepositoryCredentials{CredentialsParameter: "login"},
			},
			model.ContainerDefinition{Name: "side", Image: "nginx", Secrets: secrets(password)},
		)
		out, err := w.TaskSecrets(t.Context(), task)
		if err != nil {
			t.Fatal(err)
		}
		want := `[app S0=hunter2 S1=p S2=5432 S3={"a":1} S4=hunter1 S5=key S6=key S7=debug log:mode=debug login:me/pw][side S0=hunter2]`
		if got := describe(out); got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
		w.expectAsked("secret "+password, "secret "+creds, "secret "+password+" AWSPREVIOUS", "secret login", "parameters "+apiKey+" /myapp/api-key level")
		w.expectActing()
	})
}

func TestTaskSecrets_TenParametersAtATime(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		var refs []string
		for i := range 23 {
			refs = append(refs, fmt.Sprintf("p%d", i))
			w.parameters[refs[i]] = fmt.Sprint(i)
		}
		out, err := w.TaskSecrets(t.Context(), w.task(nil, app(func(c *model.ContainerDefinition) { c.Secrets = secrets(refs...) })))
		if err != nil || len(out.GetContainers()) != 1 {
			t.Fatal(out, err)
		}
		for i, s := range out.GetContainers()[0].GetEnvironment() {
			if string(s.GetValue()) != fmt.Sprint(i) {
				t.Errorf("%s has %s", s.GetName(), s.GetValue())
			}
		}
		w.expectAsked("parameters "+strings.Join(refs[:10], " "), "parameters "+strings.Join(refs[10:20], " "), "parameters "+strings.Join(refs[20:], " "))
	})
}

// A task without secrets needs no role that can be assumed.
func TestTaskSecrets_None(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		task := w.task(func(def *model.TaskDefinition) { def.ExecutionRoleARN = "arn:aws:iam::123456789012:role/nobody" }, app(nil))
		if out, err := w.TaskSecrets(t.Context(), task); err != nil || describe(out) != "" {
			t.Error(describe(out), err)
		}
		task = w.task(func(def *model.TaskDefinition) { def.ExecutionRoleARN = "arn:aws:iam::123456789012:role/nobody" },
			app(func(c *model.ContainerDefinition) { c.Secrets = secrets("p") }))
		if out, err := w.TaskSecrets(t.Context(), task); err != nil || describe(out) != unassumable("arn:aws:iam::123456789012:role/nobody") {
			t.Error(describe(out), err)
		}
		w.expectAsked()
	})
}

// The reasons are AWS's (behaviour/secrets-logs.md §1, [OBS] unless marked).
func TestTaskSecrets_Failures(t *testing.T) {
	const (
		fargate = "ResourceInitializationError: unable to pull secrets or registry auth: execution resource retrieval failed: "
		once    = "service call has been retried 1 time(s): "
		asm     = fargate + "unable to retrieve secret from asm: " + once
		ssm     = fargate + "unable to retrieve secrets from ssm: " + once
		auth    = fargate + "unable to get registry auth from asm: " + once
		ec2     = "ResourceInitializationError: Fetching secret data from AWS Secrets Manager in region us-east-1: secret "
		ec2ssm  = "ResourceInitializationError: Fetching secret data from SSM Parameter Store in us-east-1: "
		canary  = "c4n4ry"
		missing = "ResourceNotFoundException: Secrets Manager can't find the specified secret."
	)
	denied := func(action, resource string) string {
		return "AccessDeniedException: User: " + executing + " is not authorized to perform: " + action + " on resource: " + resource + " because no identity-based policy allows the " + action + " action"
	}
	for _, test := range []struct {
		name   string
		refs   []string
		login  string
		before func(w *world)
		want   string
		ec2    string
	}{
		{
			name: "no such secret", refs: []string{password},
			want: asm + "failed to fetch secret " + password + " from secrets manager: " + missing, ec2: ec2 + password + ": " + missing,
		},
		{
			name: "not allowed", refs: []string{password}, before: func(w *world) { w.forbidden["secretsmanager:GetSecretValue"] = true },
			want: asm + "failed to fetch secret " + password + " from secrets manager: " + denied("secretsmanager:GetSecretValue", password),
			ec2:  ec2 + password + ": " + denied("secretsmanager:GetSecretValue", password),
		},
		{
			name: "no such key", refs: []string{creds + ":user::"},
			want: asm + "retrieved secret from Secrets Manager did not contain json key user (secret " + creds + ")", // AWS's ends before the parenthesis
			ec2:  ec2 + creds + ": retrieved secret from Secrets Manager did not contain json key user",
		},
		{
			name: "a key of what is no JSON", refs: []string{creds + "2:user::"}, // AWS's shows a piece of the value
			want: asm + "retrieved secret from Secrets Manager did not contain json key user (secret " + creds + "2)",
			ec2:  ec2 + creds + "2: retrieved secret from Secrets Manager did not contain json key user",
		},
		{
			name: "binary", refs: []string{creds + "3"}, // AWS gives an empty string
			want: asm + "the secret " + creds + "3 has a binary value: only text can be given to a container",
			ec2:  ec2 + creds + "3: the secret " + creds + "3 has a binary value: only text can be given to a container",
		},
		{
			name: "no such parameters", refs: []string{"there", "/not/there", "arn:aws:ssm:us-east-1:123456789012:parameter/nor/this"},
			want: ssm + "invalid ssm parameters: /not/there,/nor/this", ec2: ec2ssm + "invalid parameters: /not/there,/nor/this",
		},
		{
			name: "parameters not allowed", refs: []string{apiKey}, before: func(w *world) { w.forbidden["ssm:GetParameters"] = true },
			want: ssm + denied("ssm:GetParameters", apiKey), ec2: ec2ssm + denied("ssm:GetParameters", apiKey),
		},
		{
			name: "no such login", login: "nobody",
			want: auth + "asm fetching secret from the service for nobody: " + missing, ec2: "CannotPullContainerAuthError: asm fetching secret from the service for nobody: " + missing,
		},
		{
			name: "a login that is no JSON", login: "text",
			want: auth + "asm fetching authorization data: unable to unmarshal secret value of text, invalid schema",
			ec2:  "CannotPullContainerAuthError: asm fetching authorization data: unable to unmarshal secret value of text, invalid schema",
		},
		{
			name: "a login without a name", login: "nameless",
			want: auth + "asm fetching username: AuthorizationData of nameless is malformed, empty field",
			ec2:  "CannotPullContainerAuthError: asm fetching username: AuthorizationData of nameless is malformed, empty field",
		},
		{
			name: "a login without a password", login: "open",
			want: auth + "asm fetching password: AuthorizationData of open is malformed, empty field",
			ec2:  "CannotPullContainerAuthError: asm fetching password: AuthorizationData of open is malformed, empty field",
		},
		{
			name: "an empty login", login: "empty",
			want: auth + "asm fetching authorization data: empty secrets value of empty",
			ec2:  "CannotPullContainerAuthError: asm fetching authorization data: empty secrets value of empty",
		},
	} {
		for launch, want := range map[string]string{model.LaunchFargate: test.want, model.LaunchEC2: test.ec2} {
			t.Run(test.name+" "+launch, func(t *testing.T) {
				in(t, func(t *testing.T, w *world) {
					w.secrets[creds+"|AWSCURRENT"] = execution.SecretValue{Text: `{"password":"` + canary + `"}`}
					w.secrets[creds+"2|AWSCURRENT"] = execution.SecretValue{Text: canary}
					w.secrets[creds+"3|AWSCURRENT"] = execution.SecretValue{Binary: true}
					w.secrets["text|AWSCURRENT"] = execution.SecretValue{Text: canary + ":" + canary}
					w.secrets["nameless|AWSCURRENT"] = execution.SecretValue{Text: `{"password":"` + canary + `"}`}
					w.secrets["open|AWSCURRENT"] = execution.SecretValue{Text: `{"username":"` + canary + `"}`}
					w.secrets["empty|AWSCURRENT"] = execution.SecretValue{Text: " "}
					w.parameters["there"] = canary
					if test.before != nil {
						test.before(w)
					}
					task := w.task(nil, app(func(c *model.ContainerDefinition) {
						c.Secrets = secrets(test.refs...)
						if test.login != "" {
							c.RepositoryCredentials = &model.RepositoryCredentials{CredentialsParameter: test.login}
						}
					}))
					task.LaunchType = launch
					out, err := w.TaskSecrets(t.Context(), task)
					if err != nil || describe(out) != want {
						t.Errorf("got  %s, %v\nwant %s", describe(out), err, want)
					}
					if strings.Contains(describe(out), canary) {
						t.Error("it shows a value")
					}
				})
			})
		}
	}
}

// What may be gone a moment later is not the task's end.
func TestTaskSecrets_TriesAgain(t *testing.T) {
	for _, failure := range []error{
		errors.New("the store is away"),
		smithy.NewError(500, "InternalServiceError", "An error occurred on the server side."),
		smithy.NewError(400, "ThrottlingException", "Rate exceeded"),
	} {
		for _, ref := range []string{password, apiKey} {
			in(t, func(t *testing.T, w *world) {
				w.failure = failure
				task := w.task(nil, app(func(c *model.ContainerDefinition) { c.Secrets = secrets(ref) }))
				if out, err := w.TaskSecrets(t.Context(), task); !errors.Is(err, failure) || out != nil {
					t.Errorf("%v: got %v, %v", failure, out, err)
				}
			})
		}
	}
}
