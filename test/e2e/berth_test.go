package e2e_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/acm"
	"github.com/aws/aws-sdk-go-v2/service/cloudtrail"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ecr"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/servicediscovery"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go/middleware"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"berth.dev/berth/internal/wire/wiretest"
)

// patience is how long anything may take before a test says that it does not happen. It is no measure of anything.
const patience = 60 * time.Second

// eventually asks until the answer is no error.
func eventually(t *testing.T, what string, ask func() error) {
	t.Helper()
	if err := poll(t.Context(), ask); err != nil {
		t.Fatalf("%s: %v", what, err)
	}
}

func poll(ctx context.Context, ask func() error) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	ticker := time.NewTicker(25 * time.Millisecond)
	defer ticker.Stop()
	for {
		err := ask()
		if err == nil {
			return nil
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return fmt.Errorf("not so in the end: %w", err)
		}
	}
}

// berth is one Berth under test.
type berth struct {
	dir, listen, id string
	roles           map[string]*process // what runs: "up", or "server" and "agent"

	ecs  *ecs.Client
	ec2  *ec2.Client
	elb  *elasticloadbalancingv2.Client
	sd   *servicediscovery.Client
	logs *cloudwatchlogs.Client
	sts  *sts.Client

	iam          *iam.Client
	secrets      *secretsmanager.Client
	parameters   *ssm.Client
	kms          *kms.Client
	trail        *cloudtrail.Client
	certificates *acm.Client
	ecr          *ecr.Client
}

// newBerth chooses a data directory and a port.
func newBerth(dir string) (*berth, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	listen := l.Addr().String()
	return &berth{dir: dir, listen: listen, roles: map[string]*process{}}, l.Close()
}

// ownBerths holds those that are running tests with Berths of their own. Each Berth starts as many containers at once as
// the cores can carry: many Berths would start many times as many, and none in time.
var (
	ownBerths = make(chan struct{}, 4)
	turns     sync.Map // tests that have their turn, by name: one may have several Berths
)

// turn waits until few enough tests have Berths of their own; the test is one of them until it ends.
func turn(t *testing.T) {
	t.Helper()
	if _, has := turns.LoadOrStore(t.Name(), true); has {
		return
	}
	ownBerths <- struct{}{}
	t.Cleanup(func() {
		turns.Delete(t.Name())
		<-ownBerths
	})
}

// start runs a Berth of the test's own, with the images, and purges it when the test ends.
func start(t *testing.T, args ...string) *berth {
	t.Helper()
	b := prepare(t)
	b.begin(t, args...)
	return b
}

// prepare chooses where a Berth of the test's own will be; begin starts it.
func prepare(t *testing.T) *berth {
	t.Helper()
	turn(t)
	b, err := newBerth(filepath.Join(t.TempDir(), "d"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			b.tell(t)
		}
		if err := b.purge(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	})
	return b
}

func (b *berth) begin(t *testing.T, args ...string) {
	t.Helper()
	if err := b.up(t.Context(), args...); err != nil {
		t.Fatal(err)
	}
	if err := b.importImages(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// up starts `berth up` and waits until it is ready.
func (b *berth) up(ctx context.Context, args ...string) error {
	args = append([]string{"up", "--data-dir", b.dir, "--listen", b.listen, "--containerd", "private"}, args...)
	if err := b.spawn("up", args); err != nil {
		return err
	}
	if err := b.awaitReady(ctx); err != nil {
		return err
	}
	id, err := os.ReadFile(b.path("instance"))
	if err != nil {
		return err
	}
	b.id = strings.TrimSpace(string(id))
	return b.connect(ctx)
}

// apart ends `berth up` and runs the server and the agent as processes of the test, which alone starts them again.
func (b *berth) apart(t *testing.T) {
	t.Helper()
	b.end(t, "up", syscall.SIGTERM)
	b.role(t, "server")
	b.role(t, "agent")
	b.ready(t)
}

// role starts the server or the agent, which has joined already.
func (b *berth) role(t *testing.T, role string) {
	t.Helper()
	args := map[string][]string{
		"server": {"server", "--data-dir", b.dir, "--listen", b.listen, "--require-node"},
		"agent":  {"agent", "--data-dir", b.dir, "--containerd", "private", "--cpu-units", "12288", "--memory-mib", "65536"},
	}[role]
	if err := b.spawn(role, args); err != nil {
		t.Fatal(err)
	}
}

// end sends a signal to a process of this Berth and waits for its end.
func (b *berth) end(t *testing.T, role string, sig syscall.Signal) {
	t.Helper()
	if err := b.stop(t.Context(), role, sig); err != nil {
		t.Fatal(err)
	}
}

func (b *berth) stop(ctx context.Context, role string, sig syscall.Signal) error {
	p := b.roles[role]
	delete(b.roles, role)
	if err := p.cmd.Process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("%s: %w", role, err)
	}
	select {
	case <-p.done:
		return nil
	case <-time.After(patience):
		return fmt.Errorf("berth %s does not end at %v", role, sig)
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (b *berth) awaitReady(ctx context.Context) error {
	err := poll(ctx, func() error {
		reply, err := http.Get("http://" + b.listen + "/readyz") //nolint:noctx // it answers at once or not at all
		if err != nil {
			return err
		}
		defer reply.Body.Close() //nolint:errcheck // nothing of it is needed
		if reply.StatusCode != http.StatusOK {
			return errors.New(reply.Status)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("berth is not ready: %w\n%s", err, b.output(2000))
	}
	return nil
}

func (b *berth) ready(t *testing.T) {
	t.Helper()
	if err := b.awaitReady(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// connect makes the SDK's clients. They do not retry: an error that a user would see is one that a test sees.
func (b *berth) connect(ctx context.Context) error {
	cfg, err := config.LoadDefaultConfig(ctx, config.WithRegion("us-east-1"), config.WithBaseEndpoint("http://"+b.listen),
		config.WithSharedCredentialsFiles([]string{b.path("credentials")}), config.WithSharedConfigFiles(nil),
		config.WithSharedConfigProfile("default"), config.WithRetryer(func() aws.Retryer { return aws.NopRetryer{} }))
	if err != nil {
		return err
	}
	b.clients(cfg)
	return b.ensureRole(ctx, "ecsTaskExecutionRole", taskTrust, executionPolicy)
}

func (b *berth) clients(cfg aws.Config) {
	cfg.HTTPClient = wiretest.Client(http.DefaultTransport)
	b.ecs, b.ec2, b.logs, b.sts = ecs.NewFromConfig(cfg), ec2.NewFromConfig(cfg), cloudwatchlogs.NewFromConfig(cfg), sts.NewFromConfig(cfg)
	b.elb, b.sd = elasticloadbalancingv2.NewFromConfig(cfg), servicediscovery.NewFromConfig(cfg, plainHost)
	b.iam, b.kms, b.trail = iam.NewFromConfig(cfg), kms.NewFromConfig(cfg), cloudtrail.NewFromConfig(cfg)
	b.secrets, b.parameters, b.certificates = secretsmanager.NewFromConfig(cfg), ssm.NewFromConfig(cfg), acm.NewFromConfig(cfg)
	b.ecr = ecr.NewFromConfig(cfg)
}

// plainHost keeps the client from putting "data-" before the host, which is an address here.
func plainHost(o *servicediscovery.Options) {
	o.APIOptions = append(o.APIOptions, func(stack *middleware.Stack) error {
		return stack.Initialize.Add(middleware.InitializeMiddlewareFunc("plainHost",
			func(ctx context.Context, in middleware.InitializeInput, next middleware.InitializeHandler) (middleware.InitializeOutput, middleware.Metadata, error) {
				return next.HandleInitialize(smithyhttp.DisableEndpointHostPrefix(ctx, true), in)
			}), middleware.Before)
	})
}

// berth runs another command of the binary on this Berth and returns what it prints.
func (b *berth) command(ctx context.Context, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, binary, append(args, "--data-dir", b.dir)...)
	var problems strings.Builder
	cmd.Stderr = &problems
	out, err := cmd.Output()
	if err != nil {
		return string(out), fmt.Errorf("berth %s: %w: %s", strings.Join(args, " "), err, problems.String())
	}
	return string(out), nil
}

func (b *berth) importImages(ctx context.Context) error {
	_, err := b.command(ctx, "image", "import", archive, "--containerd", "private")
	return err
}

// purge ends everything and fails if anything of this Berth is left.
func (b *berth) purge(ctx context.Context) error {
	if _, err := os.Stat(b.dir); err != nil {
		return nil // it was never started, or is purged already
	}
	signs := b.signs()
	_, err := b.command(ctx, "down", "--purge", "--containerd", "private")
	for role := range b.roles {
		err = errors.Join(err, b.stop(ctx, role, syscall.SIGKILL))
	}
	if err != nil {
		return err
	}
	left, err := leftovers(signs)
	if len(left) > 0 {
		err = errors.Join(err, fmt.Errorf("left behind by berth down --purge of %s:\n%s", b.id, strings.Join(left, "\n")))
	}
	return err
}

func (b *berth) path(elem ...string) string {
	return filepath.Join(append([]string{b.dir}, elem...)...)
}

// pid reads a role's pid file.
func (b *berth) pid(role string) (int, error) {
	data, err := os.ReadFile(b.path(role + ".pid"))
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(strings.TrimSpace(string(data)))
}

// tell logs the ends of the roles' output.
func (b *berth) tell(t *testing.T) {
	t.Helper()
	t.Logf("Berth %s in %s:\n%s", b.id, b.dir, b.output(6000))
}

func (b *berth) output(most int) string {
	var out strings.Builder
	for _, file := range []string{b.dir + ".up.log", b.dir + ".server.log", b.dir + ".agent.log", b.path("server", "server.log"), b.path("agent", "agent.log")} {
		if data, err := os.ReadFile(file); err == nil {
			// Calls were answered; what went otherwise is of interest.
			said := strings.Join(slices.DeleteFunc(lines(string(data)), func(line string) bool { return strings.Contains(line, `msg="api call"`) }), "\n")
			fmt.Fprintf(&out, "== %s\n%s\n", filepath.Base(file), said[max(0, len(said)-most):])
		}
	}
	return out.String()
}

// process is a child of the test.
type process struct {
	cmd  *exec.Cmd
	done chan struct{}
}

// spawn starts the binary, which ends with the test whatever ends the test. Its output goes beside the data directory.
func (b *berth) spawn(role string, args []string) error {
	if err := os.MkdirAll(filepath.Dir(b.dir), 0o700); err != nil {
		return err
	}
	log, err := os.OpenFile(b.dir+"."+role+".log", os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	p := &process{cmd: exec.Command(binary, args...), done: make(chan struct{})}
	p.cmd.Stdout, p.cmd.Stderr = log, log
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
	started := make(chan error)
	go func() {
		defer close(p.done)
		defer log.Close() //nolint:errcheck // the child wrote it
		// The kernel sends the signal when the thread that started the child ends.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := p.cmd.Start()
		started <- err
		if err == nil {
			p.cmd.Wait() //nolint:errcheck // how it ends is the test's doing
		}
	}()
	if err := <-started; err != nil {
		return err
	}
	b.roles[role] = p
	return nil
}
