package task_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"berth.dev/berth/internal/agent/runtime"
	"berth.dev/berth/internal/model"
)

var errRefused = errors.New("ResourceInitializationError: unable to pull secrets or registry auth: what the control plane said")

// secretive is a task whose container has a secret.
func secretive(id string) model.Assignment {
	a := one(id)
	a.TaskDefinition.ContainerDefinitions[0].Secrets = []model.SecretReference{{Name: "DB_PASSWORD", ValueFrom: "db"}}
	return a
}

// withRole is a task with a task role.
func withRole(id string) model.Assignment {
	a := one(id)
	a.TaskDefinition.TaskRoleARN = "arn:aws:iam::123456789012:role/app"
	return a
}

const ecrImage = "123456789012.dkr.ecr.us-east-1.amazonaws.com/app:1"

// ofECR is a task whose image is in a private ECR registry.
func ofECR(id string) model.Assignment {
	a := one(id)
	a.TaskDefinition.ContainerDefinitions[0].Image = ecrImage
	return a
}

func (h *host) env(id, name string) []string {
	spec, _ := h.world.Spec(id)
	var out []string
	for _, e := range spec.Env {
		if v, ok := strings.CutPrefix(e, name+"="); ok {
			out = append(out, v)
		}
	}
	return out
}

// What a task's roles give it is fetched before its containers are made and
// after nothing else: the image is found meanwhile.
func TestEngine_FetchesBeforeContainersAreMade(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t)
		h.roles.away = make(chan struct{})
		a := secretive("t1")
		h.engine.Assign([]model.Assignment{a}, true)
		time.Sleep(time.Minute)
		o := h.last("t1")
		if o.PullStoppedAt == nil || !o.ENIAttached || o.StartedAt != nil {
			t.Errorf("while the control plane is away: %+v", o)
		}
		if spec, made := h.world.Spec("t1-0"); made {
			t.Errorf("a container was made without its secrets: %+v", spec)
		}
		close(h.roles.away)
		if o := h.last("t1"); o.Status != model.TaskRunning {
			t.Fatalf("got %+v", o)
		}
		spec, _ := h.world.Spec("t1-0")
		if spec.SecretsDir != "/run/secrets/t1/app" || len(h.env("t1-0", "DB_PASSWORD")) > 0 {
			t.Errorf("got %+v", spec)
		}
		// Another agent finds it there; one after a restart of the host does not,
		// and fetches nothing for containers that run or ran.
		h.roles.heard()
		h.restart(a)
		if got := h.roles.heard(); !slices.Equal(got, []string{"resume t1"}) {
			t.Errorf("the next agent: %q", got)
		}
		h.engine.Assign([]model.Assignment{stopped(a)}, false)
		time.Sleep(time.Minute)
		if got := h.roles.heard(); !slices.Equal(got, []string{"forget t1"}) {
			t.Errorf("at its end: %q", got)
		}
		h.stop()
	})
}

// A restart of the host between the fetch and the first container loses what
// was fetched; it is fetched again.
func TestEngine_FetchesAgainAfterTheHostWasRestarted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t)
		h.network.silent = false
		a := secretive("t1")
		dependency := model.ContainerDefinition{Name: "first", Image: "app:1", Essential: new(bool)}
		a.TaskDefinition.ContainerDefinitions = append(a.TaskDefinition.ContainerDefinitions, dependency)
		a.TaskDefinition.ContainerDefinitions[0].DependsOn = []model.ContainerDependency{{ContainerName: "first", Condition: model.ConditionSuccess}}
		a.Task.Containers = append(a.Task.Containers, model.TaskContainer{Name: "first", RuntimeID: "t1-1", Image: "app:1"})
		h.engine.Assign([]model.Assignment{a}, true)
		h.last("t1")
		h.roles.heard()
		h.stop()
		h.roles.fetched = map[string]bool{} // the tmpfs is gone
		h.begin()
		h.engine.Assign([]model.Assignment{a}, true)
		if got := h.roles.heard(); !slices.Equal(got, []string{"resume t1", "fetch t1"}) {
			t.Errorf("asked %q", got)
		}
		h.stop()
	})
}

// A task that stops while the control plane is away does not wait for it.
func TestEngine_StopsWhileFetching(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t)
		h.roles.away = make(chan struct{})
		a := secretive("t1")
		h.engine.Assign([]model.Assignment{a}, true)
		h.last("t1")
		h.engine.Assign([]model.Assignment{stopped(a)}, false)
		if o := h.last("t1"); o.Status != model.TaskStopped || o.StopCode != "" {
			t.Errorf("got %+v", o)
		}
		h.stop()
	})
}

// The environment says where the credentials and the API are, as the network
// mode has it.
func TestEngine_TellsContainersWhereCredentialsAndTheAPIAre(t *testing.T) {
	for _, test := range []struct {
		mode, relative, full, api string
	}{
		{"", "/v2/credentials/", "", "http://169.254.170.2:51680"},
		{"bridge", "/v2/credentials/", "", "http://169.254.170.2:51680"},
		{"host", "", "http://127.170.0.1/v2/credentials/", "http://127.170.0.1:51680"},
		{"none", "/v2/credentials/", "", ""},
	} {
		t.Run("mode "+test.mode, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := newHost(t)
				defer func() { h.stop() }()
				a := withRole("t1")
				if test.mode != "" {
					a = inMode(test.mode, a)
				}
				h.engine.Assign([]model.Assignment{a}, true)
				if o := h.last("t1"); o.Status != model.TaskRunning {
					t.Fatalf("got %+v", o)
				}
				v, _ := h.engine.Task("t1")
				id := v.State.CredentialsID
				want := func(prefix string) []string {
					if prefix == "" {
						return nil
					}
					return []string{prefix + id}
				}
				if got := h.env("t1-0", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"); !slices.Equal(got, want(test.relative)) {
					t.Errorf("relative: %q", got)
				}
				if got := h.env("t1-0", "AWS_CONTAINER_CREDENTIALS_FULL_URI"); !slices.Equal(got, want(test.full)) {
					t.Errorf("full: %q", got)
				}
				if got := strings.Join(h.env("t1-0", "AWS_ENDPOINT_URL"), " "); got != test.api {
					t.Errorf("endpoint: %q", got)
				}
				// By the id alone only a task in mode host is known.
				if taskID, ok := h.engine.HostTask(id); ok != (test.mode == "host") || ok && taskID != "t1" {
					t.Errorf("HostTask: %q, %v", taskID, ok)
				}
				if len(id) != 36 {
					t.Errorf("id %q", id)
				}
				h.restart(a)
				if v, _ := h.engine.Task("t1"); v.State.CredentialsID != id {
					t.Errorf("the next agent has the id %q, not %q", v.State.CredentialsID, id)
				}
			})
		})
	}
}

// The user's own words win, and a task without a role has no credentials.
func TestEngine_TheDefinitionDecidesAboutTheEndpoint(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t)
		defer func() { h.stop() }()
		own, off := one("t1"), one("t2")
		own.TaskDefinition.ContainerDefinitions[0].Environment = []model.KeyValuePair{{Name: "AWS_ENDPOINT_URL", Value: "http://mine"}}
		off.TaskDefinition.ContainerDefinitions[0].DockerLabels = map[string]string{"berth.task-endpoint": "off"}
		h.engine.Assign([]model.Assignment{own, off}, true)
		h.last("t1")
		if got := h.env("t1-0", "AWS_ENDPOINT_URL"); len(got) == 0 || got[len(got)-1] != "http://mine" {
			t.Errorf("with its own: %q", got)
		}
		if got := h.env("t2-0", "AWS_ENDPOINT_URL"); len(got) > 0 {
			t.Errorf("switched off: %q", got)
		}
		if got := h.env("t1-0", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"); len(got) > 0 {
			t.Errorf("without a role: %q", got)
		}
		if got := h.roles.heard(); len(got) > 0 {
			t.Errorf("asked %q", got)
		}
	})
}

// Only the owner of an ECR registry is asked, and a login is used when it was
// fetched.
func TestEngine_PullsWithTheExecutionRole(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t)
		defer func() { h.stop() }()
		h.world.AddImage(runtime.Image{Ref: ecrImage, Cmd: []string{"/app"}})
		h.engine.Assign([]model.Assignment{ofECR("t1"), one("t2")}, true)
		if o := h.last("t1"); o.Status != model.TaskRunning {
			t.Fatalf("got %+v", o)
		}
		if got := h.roles.heard(); !slices.Equal(got, []string{"pull t1 app"}) {
			t.Errorf("asked %q", got)
		}
	})
}
