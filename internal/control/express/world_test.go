package express_test

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"berth.dev/berth/internal/base/arn"
	"berth.dev/berth/internal/control/express"
	"berth.dev/berth/internal/data/keyring"
	"berth.dev/berth/internal/data/kv/memkv"
	"berth.dev/berth/internal/data/records"
	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/edge/authority"
	"berth.dev/berth/internal/edge/gateway"
	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/service/acm"
	"berth.dev/berth/internal/service/ec2"
	"berth.dev/berth/internal/service/ecs"
	"berth.dev/berth/internal/service/elbv2"
	"berth.dev/berth/internal/wire/api/acmapi"
	"berth.dev/berth/internal/wire/api/ec2api"
	"berth.dev/berth/internal/wire/api/ecsapi"
	"berth.dev/berth/internal/wire/api/elbv2api"
	"berth.dev/berth/internal/wire/api/logsapi"
	"berth.dev/berth/internal/wire/caller"
	"berth.dev/berth/internal/wire/sigv4"
	"berth.dev/berth/internal/wire/smithy"
)

var scope = arn.Scope{Region: "us-east-1", AccountID: "123456789012"}

const (
	executionRole = "arn:aws:iam::123456789012:role/ecsTaskExecutionRole"
	infraRole     = "arn:aws:iam::123456789012:role/ecsInfrastructureRole"
	managedPolicy = "arn:aws:iam::aws:policy/service-role/AmazonECSInfrastructureRoleforExpressGatewayServices"
	trust         = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"ecs.amazonaws.com"},"Action":"sts:AssumeRole"}]}`
)

// world is a store with the real providers of all that an express service is
// made of, behind the gateway and its authority, and the loop in front of them.
// Log groups alone are a map. Interfaces of load balancers that are gone are
// taken away as control/balancing does.
type world struct {
	t     *testing.T
	store *store.Store
	door  *gateway.Gateway
	guard *authority.Authority

	mu     sync.Mutex
	groups []string // log groups
	calls  []string // operations that the loop called, with who
	// fail decides what becomes of the n-th call, from 1.
	fail func(n int) fate
	kill context.CancelFunc
}

// fate is what becomes of a call.
type fate int

const (
	succeeds    fate = iota
	fails            // nothing happens, an error comes
	answerLost       // it happens, an error comes
	killsBefore      // nothing happens, the loop dies
	killsAfter       // it happens, the loop dies
)

func newWorld(t *testing.T) *world {
	t.Helper()
	s, err := store.Open(memkv.New(0), "/berth/", store.Options{CheckMutation: true}, records.All()...)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil && !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
	<-s.Ready()
	w := &world{t: t, store: s, fail: func(int) fate { return succeeds }}
	if err := ec2.Bootstrap(t.Context(), s, scope, netip.MustParsePrefix("172.31.0.0/16")); err != nil {
		t.Fatal(err)
	}
	w.write(func(tx *store.Tx) {
		records.Roles.Put(tx, &model.Role{ID: "AROAINFRA", Name: "ecsInfrastructureRole", Path: "/", Trust: trust, Attached: []string{managedPolicy}})
	})
	if w.guard, err = authority.New(authority.Config{Store: s, Scope: scope}); err != nil {
		t.Fatal(err)
	}
	ring, err := keyring.Ephemeral()
	if err != nil {
		t.Fatal(err)
	}
	w.door, err = gateway.New(gateway.Config{
		Credentials: w, Authorizer: w.guard, Logger: slog.New(slog.DiscardHandler), Region: scope.Region,
		Services: []gateway.Service{
			{API: ecsapi.API, Provider: ecs.New(ecs.Config{Store: s, Scope: scope, PublicAddresses: netip.MustParsePrefix("127.64.3.0/24")})},
			{API: ec2api.API, Provider: ec2.New(ec2.Config{Store: s, Scope: scope})},
			{API: elbv2api.API, Provider: elbv2.New(elbv2.Config{Store: s, Scope: scope, PublicAddresses: netip.MustParsePrefix("127.64.3.0/24")})},
			{API: acmapi.API, Provider: acm.New(acm.Config{Store: s, Ring: ring, Scope: scope})},
			{API: logsapi.API, Provider: logGroups{w: w}},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// Credentials implements gateway.CredentialStore: everybody is root.
func (w *world) Credentials(context.Context, string, string) (sigv4.Credential, caller.Identity, error) {
	return sigv4.Credential{SecretAccessKey: "secret"}, w.root(), nil
}

func (w *world) root() caller.Identity {
	return caller.Identity{AccountID: scope.AccountID, ARN: scope.Root(), UserID: scope.AccountID}
}

func (w *world) write(change func(tx *store.Tx)) {
	w.t.Helper()
	if _, err := w.store.Update(context.Background(), func(tx *store.Tx) error { change(tx); return nil }); err != nil {
		w.t.Fatal(err)
	}
}

// logGroups are a map of log groups.
type logGroups struct {
	logsapi.Unimplemented
	w *world
}

func (g logGroups) CreateLogGroup(_ context.Context, in *logsapi.CreateLogGroupInput) (*logsapi.CreateLogGroupOutput, error) {
	g.w.mu.Lock()
	defer g.w.mu.Unlock()
	if slices.Contains(g.w.groups, *in.LogGroupName) {
		return nil, &logsapi.ResourceAlreadyExistsException{Message: new("The specified log group already exists")}
	}
	g.w.groups = append(g.w.groups, *in.LogGroupName)
	return &logsapi.CreateLogGroupOutput{}, nil
}

// Call implements express.API, with the fate that the test has for the call.
func (w *world) Call(ctx context.Context, who caller.Identity, api *smithy.Service, operation string, in smithy.Shape) (smithy.Shape, error) {
	w.mu.Lock()
	w.calls = append(w.calls, operation+" "+who.ARN[strings.LastIndexByte(who.ARN, ':')+1:])
	what, kill := w.fail(len(w.calls)), w.kill
	w.mu.Unlock()
	unavailable := smithy.NewError(http.StatusInternalServerError, "InternalFailure", "try again")
	switch what {
	case fails:
		return nil, unavailable
	case killsBefore:
		kill()
		return nil, ctx.Err()
	}
	out, err := w.door.Call(ctx, who, api, operation, in)
	switch what {
	case answerLost:
		return nil, unavailable
	case killsAfter:
		kill()
		return nil, ctx.Err()
	}
	return out, err
}

// call calls as the account's root.
func call[Out smithy.Shape](w *world, api *smithy.Service, operation string, in smithy.Shape) Out {
	w.t.Helper()
	out, err := w.door.Call(w.t.Context(), w.root(), api, operation, in)
	if err != nil {
		w.t.Fatalf("%s: %v", operation, err)
	}
	return out.(Out) //nolint:errcheck,forcetypeassert // what the operation answers
}

func (w *world) create(name string) *ecsapi.ECSExpressGatewayService {
	w.t.Helper()
	return call[*ecsapi.CreateExpressGatewayServiceOutput](w, ecsapi.API, "CreateExpressGatewayService", &ecsapi.CreateExpressGatewayServiceInput{
		ExecutionRoleArn: new(executionRole), InfrastructureRoleArn: new(infraRole), ServiceName: &name,
		PrimaryContainer: &ecsapi.ExpressGatewayContainer{Image: new("nginx")},
	}).Service
}

func (w *world) delete(arn string) {
	w.t.Helper()
	call[*ecsapi.DeleteExpressGatewayServiceOutput](w, ecsapi.API, "DeleteExpressGatewayService", &ecsapi.DeleteExpressGatewayServiceInput{ServiceArn: &arn})
}

func (w *world) describe(arn string) *ecsapi.ECSExpressGatewayService {
	w.t.Helper()
	return call[*ecsapi.DescribeExpressGatewayServiceOutput](w, ecsapi.API, "DescribeExpressGatewayService", &ecsapi.DescribeExpressGatewayServiceInput{ServiceArn: &arn}).Service
}

// resources are what DescribeServiceRevisions tells of what ECS manages.
func (w *world) resources(revisionARN string) *ecsapi.ECSManagedResources {
	w.t.Helper()
	out := call[*ecsapi.DescribeServiceRevisionsOutput](w, ecsapi.API, "DescribeServiceRevisions", &ecsapi.DescribeServiceRevisionsInput{ServiceRevisionArns: []string{revisionARN}})
	return out.ServiceRevisions[0].EcsManagedResources
}

// run runs the loop until everything is at rest for a while. One that dies on
// its way has a successor.
func (w *world) run() {
	w.t.Helper()
	for {
		ctx, kill := context.WithCancel(w.t.Context())
		w.mu.Lock()
		w.kill = kill
		w.mu.Unlock()
		loop := express.New(express.Config{
			Store: w.store, API: w, Guard: w.guard, Issuer: express.Authority{}, Scope: scope, Log: slog.New(slog.DiscardHandler),
		})
		ended := make(chan error, 1)
		go func() { ended <- loop.Run(ctx) }()
		for range 5 {
			synctest.Wait()
			w.sweep()
			<-time.After(time.Minute) // longer than the longest pause
		}
		died := ctx.Err() != nil
		kill()
		if err := <-ended; err != nil {
			w.t.Fatal(err)
		}
		if !died {
			return
		}
	}
}

// sweep takes away the interfaces of load balancers that are gone.
func (w *world) sweep() {
	w.write(func(tx *store.Tx) {
		for n := range records.NetworkInterfaces.All(tx) {
			if n.Owner == model.InterfaceOfLoadBalancer && !records.LoadBalancers.Has(tx, n.OwnerID) {
				records.NetworkInterfaces.Delete(tx, n.ID)
				records.AddressClaims.Delete(tx, model.AddressClaimKey(n.SubnetID, n.Address))
			}
		}
	})
}

// count is how many there are of what a service is made of.
type count struct{ Balancers, Listeners, Rules, TargetGroups, SecurityGroups, Certificates, Gateways, LogGroups int }

func (w *world) count() count {
	snap := w.store.Snapshot()
	n := count{
		Balancers: records.LoadBalancers.Len(snap), Listeners: records.Listeners.Len(snap), Rules: records.ListenerRules.Len(snap),
		TargetGroups: records.TargetGroups.Len(snap), Certificates: records.Certificates.Len(snap), Gateways: records.ExpressGateways.Len(snap),
	}
	for g := range records.SecurityGroups.All(snap) {
		if strings.HasPrefix(g.Name, "ecs-express-") {
			n.SecurityGroups++
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	n.LogGroups = len(w.groups)
	return n
}

func (w *world) service(arn string) *model.Service {
	w.t.Helper()
	for s := range records.Services.All(w.store.Snapshot()) {
		if s.ARN == arn {
			return s
		}
	}
	w.t.Fatalf("%s is not there", arn)
	return nil
}
