package express_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"berth.dev/berth/internal/data/records"
	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/wire/api/ecsapi"
)

// in gives a test a world in a bubble.
func in(t *testing.T, f func(t *testing.T, w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { f(t, newWorld(t)) })
}

var whole = count{Balancers: 1, Listeners: 1, Rules: 1, TargetGroups: 1, SecurityGroups: 2, Certificates: 1, Gateways: 1, LogGroups: 1}

// One call makes everything, with nothing but what AWS's managed policy allows,
// and its deletion leaves nothing but the log group.
func TestMakeAndTakeAway(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		made := w.create("web")
		if s := w.service(*made.ServiceArn); s.Resources != model.ResourcesProvisioning || len(s.Revision.LoadBalancers) != 0 {
			t.Fatalf("%+v", s)
		}
		w.run()
		if got := w.count(); got != whole {
			t.Fatalf("got %+v, want %+v", got, whole)
		}
		s := w.service(*made.ServiceArn)
		if s.Resources != model.ResourcesReady || len(s.Revision.LoadBalancers) != 1 || s.Revision.LoadBalancers[0].ContainerPort != 80 || len(s.Revision.Network.SecurityGroups) != 1 {
			t.Fatalf("the service is not ready: %s %+v", s.Resources, s.Revision)
		}
		for revision := range records.ServiceRevisions.By(w.store.Snapshot(), records.ServiceRevisionsByService, s.ID) {
			if len(revision.Spec.LoadBalancers) != 1 || len(revision.Spec.Network.SecurityGroups) != 1 {
				t.Errorf("the revision is not complete: %+v", revision.Spec)
			}
		}
		w.checkResources(made, "ACTIVE", "")
		for _, c := range w.calls {
			itself := strings.HasPrefix(c, "ImportCertificate ")
			if strings.HasSuffix(c, " root") != itself {
				t.Errorf("ECS itself called: %s", c)
			}
		}

		w.delete(*made.ServiceArn)
		w.run()
		if got, want := w.count(), (count{LogGroups: 1}); got != want {
			t.Fatalf("got %+v, want %+v", got, want)
		}
		if s := w.service(*made.ServiceArn); s.Resources != "" {
			t.Errorf("the service keeps %s", s.Resources)
		}
	})
}

// checkResources checks the statuses of all resources.
func (w *world) checkResources(s *ecsapi.ECSExpressGatewayService, status, reason string) {
	w.t.Helper()
	m := w.resources(*s.ActiveConfigurations[0].ServiceRevisionArn)
	path := m.IngressPaths[0]
	balancer := status
	if status == "ACTIVE" {
		balancer = "PROVISIONING" // no node serves it here
	}
	got := []string{
		string(path.LoadBalancer.Status), string(path.LoadBalancerSecurityGroups[0].Status), string(path.Certificate.Status), string(path.Listener.Status),
		string(path.Rule.Status), string(path.TargetGroups[0].Status), string(m.ServiceSecurityGroups[0].Status), string(m.LogGroups[0].Status),
	}
	if want := []string{balancer, status, status, status, status, status, status, status}; !slices.Equal(got, want) {
		w.t.Errorf("statuses %v, want %v", got, want)
	}
	if *path.Endpoint != *s.ActiveConfigurations[0].IngressPaths[0].Endpoint || *path.Certificate.DomainName != strings.TrimPrefix(*path.Endpoint, "https://") {
		w.t.Errorf("%+v", path)
	}
}

// However the loop or its calls fail, there is one of everything in the end,
// and nothing after the service is gone.
func TestOneOfEach(t *testing.T) {
	for _, what := range []fate{fails, answerLost, killsBefore, killsAfter} {
		for n := 1; ; n++ {
			reached := false
			in(t, func(t *testing.T, w *world) {
				w.fail = func(i int) fate {
					if i == n {
						reached = true
						return what
					}
					return succeeds
				}
				made := w.create("web")
				w.run()
				if got := w.count(); got != whole {
					t.Errorf("fate %d of call %d: got %+v, want %+v", what, n, got, whole)
				}
				w.delete(*made.ServiceArn)
				w.run()
				if got, want := w.count(), (count{LogGroups: 1}); got != want {
					t.Errorf("fate %d of call %d: after the end got %+v, want %+v", what, n, got, want)
				}
			})
			if !reached {
				if n < 20 {
					t.Errorf("only %d calls", n)
				}
				break
			}
		}
	}
}

// The same with many services and many failures: they share a load balancer.
func TestManyFailures(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		fates := rapid.SliceOfN(rapid.SampledFrom([]fate{succeeds, fails, answerLost, killsBefore, killsAfter}), 0, 60).Draw(rt, "fates")
		services := rapid.IntRange(1, 3).Draw(rt, "services")
		gone := rapid.IntRange(0, services).Draw(rt, "gone")
		in(t, func(t *testing.T, w *world) {
			w.fail = func(i int) fate {
				if i <= len(fates) {
					return fates[i-1]
				}
				return succeeds
			}
			var arns []string
			for i := range services {
				arns = append(arns, *w.create(fmt.Sprintf("web%d", i)).ServiceArn)
			}
			w.run()
			want := count{Balancers: 1, Listeners: 1, Rules: services, TargetGroups: services, SecurityGroups: 1 + services, Certificates: services, Gateways: 1, LogGroups: services}
			if got := w.count(); got != want {
				rt.Errorf("got %+v, want %+v", got, want)
			}
			for _, arn := range arns[:gone] {
				w.delete(arn)
			}
			w.run()
			left := services - gone
			want = count{Rules: left, TargetGroups: left, Certificates: left, LogGroups: services}
			if left > 0 {
				want.Balancers, want.Listeners, want.Gateways, want.SecurityGroups = 1, 1, 1, 1+left
			}
			if got := w.count(); got != want {
				rt.Errorf("after %d of %d went: got %+v, want %+v", gone, services, got, want)
			}
		})
	})
}

// What is missing later is made again.
func TestRepair(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		made := w.create("web")
		w.run()
		w.write(func(tx *store.Tx) {
			for r := range records.ListenerRules.All(tx) {
				records.ListenerRules.Delete(tx, r.ID)
			}
			for g := range records.SecurityGroups.All(tx) {
				if strings.HasPrefix(g.Name, "ecs-express-") {
					changed := *g
					changed.Ingress, changed.Egress = nil, nil
					records.SecurityGroups.Put(tx, &changed)
				}
			}
		})
		w.run()
		if got := w.count(); got != whole {
			t.Errorf("got %+v, want %+v", got, whole)
		}
		w.checkResources(made, "ACTIVE", "")
		n := 0
		for g := range records.SecurityGroups.All(w.store.Snapshot()) {
			if strings.HasPrefix(g.Name, "ecs-express-") {
				n += len(g.Ingress) + len(g.Egress)
			}
		}
		if n != 3 {
			t.Errorf("%d rules, want 443 in, one out, one in", n)
		}
	})
}

// A role that may not, does not exist or does not trust ECS is named, and once
// it is as it should be everything goes on.
func TestRole(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		role := func(edit func(*model.Role)) {
			w.write(func(tx *store.Tx) {
				if err := records.Roles.Edit(tx, "ecsinfrastructurerole", func(r *model.Role) error { edit(r); return nil }); err != nil {
					t.Fatal(err)
				}
			})
		}
		role(func(r *model.Role) { r.Trust = strings.Replace(trust, "ecs.", "ecs-tasks.", 1) })
		made := w.create("web")
		w.run()
		says := func(want string) {
			t.Helper()
			s := w.describe(*made.ServiceArn).Status
			if s.StatusReason == nil || !strings.Contains(*s.StatusReason, want) || s.StatusCode != "ACTIVE" {
				t.Errorf("%+v, want %s", s, want)
			}
		}
		says("ECS was unable to assume the role '" + infraRole + "'")

		role(func(r *model.Role) {
			r.Trust, r.Attached = trust, nil
			r.Inline = []model.InlinePolicy{{Name: "p", Document: `{"Version":"2012-10-17","Statement":[
				{"Effect":"Allow","Action":["logs:*","ec2:*"],"Resource":"*"},{"Effect":"Deny","Action":"elasticloadbalancing:CreateLoadBalancer","Resource":"*"}]}`}}
		})
		w.run()
		says("is not authorized to perform: elasticloadbalancing:CreateLoadBalancer on resource: ")
		m := w.resources(*made.ActiveConfigurations[0].ServiceRevisionArn).IngressPaths[0]
		if m.LoadBalancer.Status != "FAILED" || m.Rule.Status != "PROVISIONING" || m.LoadBalancerSecurityGroups[0].Status != "ACTIVE" {
			t.Errorf("%+v", m)
		}

		role(func(r *model.Role) {
			r.Inline[0].Document = `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":["logs:*","ec2:*","elasticloadbalancing:*"],"Resource":"*"}}`
		})
		w.run()
		says("acm:RequestCertificate")

		role(func(r *model.Role) { r.Inline, r.Attached = nil, []string{managedPolicy} })
		w.run()
		if s := w.describe(*made.ServiceArn).Status; s.StatusReason != nil {
			t.Errorf("still %s", *s.StatusReason)
		}
		if got := w.count(); got != whole {
			t.Errorf("got %+v, want %+v", got, whole)
		}
	})
}

// A certificate is replaced before it expires, and keeps its ARN.
func TestRenewal(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		w.create("web")
		w.run()
		first := w.certificate()
		<-time.After(340 * 24 * time.Hour)
		w.run()
		if next := w.certificate(); next.ARN != first.ARN || next.Body == first.Body {
			t.Error("the certificate was not replaced")
		}
		if got := w.count(); got != whole {
			t.Errorf("got %+v, want %+v", got, whole)
		}
	})
}

func (w *world) certificate() *model.Certificate {
	for c := range records.Certificates.All(w.store.Snapshot()) {
		return c
	}
	w.t.Fatal("no certificate")
	return nil
}

// A load balancer serves 25 services, and the next has another.
func TestSharing(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		for i := range 26 {
			w.create(fmt.Sprintf("web%d", i))
		}
		w.run()
		if n := w.count(); n.Balancers != 2 || n.Rules != 26 || n.Gateways != 2 {
			t.Errorf("%+v", n)
		}
	})
}

// An update to another port or health check opens the new port beside the old
// one, and closes that when its revision is over.
func TestUpdate(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		made := w.create("web")
		w.run()
		updated := call[*ecsapi.UpdateExpressGatewayServiceOutput](w, ecsapi.API, "UpdateExpressGatewayService", &ecsapi.UpdateExpressGatewayServiceInput{
			ServiceArn: made.ServiceArn, HealthCheckPath: new("/ping"),
			PrimaryContainer: &ecsapi.ExpressGatewayContainer{Image: new("nginx:2"), ContainerPort: new(int32(8080))},
		}).Service
		if c := updated.TargetConfiguration; *c.HealthCheckPath != "/ping" || *c.PrimaryContainer.ContainerPort != 8080 || *c.PrimaryContainer.Image != "nginx:2" {
			t.Errorf("%+v", c)
		}
		w.run()
		if ports := w.openPorts(); !slices.Equal(ports, []int32{80, 8080}) {
			t.Errorf("ports %v", ports)
		}
		for g := range records.TargetGroups.All(w.store.Snapshot()) {
			if g.HealthCheck.Path != "/ping" {
				t.Errorf("checks %s", g.HealthCheck.Path)
			}
		}
		w.write(func(tx *store.Tx) {
			for d := range records.Deployments.All(tx) {
				if d.Status == model.DeploymentActive {
					over := *d
					over.Status = model.DeploymentInactive
					records.Deployments.Put(tx, &over)
				}
			}
		})
		w.run()
		if ports := w.openPorts(); !slices.Equal(ports, []int32{8080}) {
			t.Errorf("ports %v", ports)
		}
	})
}

// openPorts are those from the load balancer to the service.
func (w *world) openPorts() []int32 {
	var ports []int32
	for g := range records.SecurityGroups.All(w.store.Snapshot()) {
		if strings.HasPrefix(g.Name, "ecs-express-gateway-svc-") {
			for _, r := range g.Ingress {
				ports = append(ports, *r.FromPort)
			}
		}
	}
	slices.Sort(ports)
	return ports
}
