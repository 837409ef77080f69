package dispatch_test

import (
	"context"
	"slices"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/wire/nodeapi"
)

// An answer of any size passes, for the repository of the container's image and after its role was asked.
func TestDialRegistry(t *testing.T) {
	withRoles(t, func(t *testing.T, p *plane) {
		p.place("1", nodeA)
		p.edit("1", func(t *model.Task) {
			t.Containers = append(slices.Clone(t.Containers),
				model.TaskContainer{Name: "host", Image: "registry.internal/a/b@sha256:0000000000000000000000000000000000000000000000000000000000000000"},
				model.TaskContainer{Name: "other", Image: "999999999999.dkr.ecr.us-east-1.amazonaws.com/theirs:v1"},
				model.TaskContainer{Name: "region", Image: "123456789012.dkr.ecr.eu-west-1.amazonaws.com/far"},
				model.TaskContainer{Name: "plain", Image: "nginx"},
			)
		})
		p.connect(nodeA)
		client := p.client(nodeA, p.ca)
		const size = 3_000_000
		for _, container := range []string{"app", "host"} {
			got, err := pull(t.Context(), client, "1", container, size)
			if err != nil || !strings.HasSuffix(got, strings.Repeat("x", size)) {
				t.Errorf("%s: got %d bytes, %v", container, len(got), err)
			}
		}
		p.expectAsked("pull 1 app", "pull 1 host")
		if !slices.Equal(p.roles.pulled, []string{"team/app", "a/b"}) {
			t.Errorf("reached %q", p.roles.pulled)
		}
		for _, test := range []struct {
			container string
			code      codes.Code
			words     string
		}{
			{"other", codes.NotFound, "The repository with name 'theirs' does not exist in the registry with id '999999999999'"},
			{"region", codes.NotFound, "pulling from host 123456789012.dkr.ecr.eu-west-1.amazonaws.com failed with status code [manifests latest]: 404 Not Found"},
			{"plain", codes.PermissionDenied, "is not of this registry"},
			{"nobody", codes.PermissionDenied, "no container nobody"},
		} {
			if _, err := pull(t.Context(), client, "1", test.container, 1); status.Code(err) != test.code || !strings.Contains(err.Error(), test.words) {
				t.Errorf("%s: %v", test.container, err)
			}
		}
		p.roles.refusal = "CannotPullContainerError: no"
		if _, err := pull(t.Context(), client, "1", "app", 1); status.Code(err) != codes.PermissionDenied || status.Convert(err).Message() != p.roles.refusal {
			t.Errorf("refused: %v", err)
		}
		if n := p.roles.served(); n != 0 || len(p.roles.pulled) != 2 {
			t.Errorf("%d connections are open, of %q", n, p.roles.pulled)
		}
	})
}

// A task has so many connections to the registry, which end with its node.
func TestDialRegistry_Limits(t *testing.T) {
	withRoles(t, func(t *testing.T, p *plane) {
		p.place("1", nodeA)
		p.connect(nodeA)
		client := p.client(nodeA, p.ca)
		ctx, leave := context.WithCancel(t.Context())
		defer leave()
		open := func(ctx context.Context) error {
			stream, err := client.DialRegistry(ctx)
			if err == nil {
				err = stream.Send(&nodeapi.Chunk{TaskId: "1", Container: "app"})
			}
			if err != nil {
				t.Fatal(err)
			}
			if header, err := stream.Header(); header != nil || err != nil {
				return err
			}
			_, err = stream.Recv()
			return err
		}
		for range 32 {
			if err := open(ctx); err != nil {
				t.Fatal(err)
			}
		}
		if n := p.roles.served(); n != 32 {
			t.Fatalf("%d connections are open", n)
		}
		if err := open(t.Context()); status.Code(err) != codes.ResourceExhausted {
			t.Errorf("one more: %v", err)
		}
		leave()
		if n := p.roles.served(); n != 0 {
			t.Errorf("%d connections are open after the node has left", n)
		}
		if _, err := pull(t.Context(), client, "1", "app", 1); err != nil {
			t.Errorf("after that: %v", err)
		}
	})
}

// How far an image has come is taken over under the number of the last report, and is gone with the next.
func TestReport_Pulling(t *testing.T) {
	withRoles(t, func(t *testing.T, p *plane) {
		p.place("1", nodeA)
		n := p.connect(nodeA)
		observed := model.TaskObserved{Seq: 3, Status: model.TaskPending, Containers: []model.ContainerObserved{{Name: "app", Status: model.ContainerPending}}}
		n.report("1", observed)
		version := p.task("1").Version
		for _, bytes := range []int64{1, 2, 2} {
			o := observed
			o.Containers = []model.ContainerObserved{{Name: "app", Pull: &model.PullProgress{Bytes: bytes, Total: 10, Layers: 1}}}
			n.report("1", o)
			c, _ := new(p.task("1")).Observed.Container("app")
			if c.Pull == nil || c.Pull.Bytes != bytes || c.Status != model.ContainerPending {
				t.Errorf("%+v", c)
			}
		}
		old := observed
		old.Seq, old.Containers = 2, []model.ContainerObserved{{Name: "app", Pull: &model.PullProgress{Bytes: 9}}}
		n.report("1", old)
		if task := p.task("1"); task.Observed.Containers[0].Pull.Bytes != 2 || task.Version != version {
			t.Errorf("%+v", task.Observed)
		}
		observed.Seq = 4
		n.report("1", observed)
		if task := p.task("1"); task.Observed.Containers[0].Pull != nil || task.Version != version+1 {
			t.Errorf("%+v", task.Observed)
		}
	})
}
