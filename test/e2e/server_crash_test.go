package e2e_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
)

// rounds of SIGKILL at random moments.
const rounds = 20

// SIGKILL of the server at random moments loses nothing that it acknowledged, and running tasks do not notice: their
// processes, their connections and their lines go on.
func TestServerKilledAtAnyMomentLosesNothing(t *testing.T) {
	t.Parallel()
	b := start(t, "--cpu-units", "12288", "--memory-mib", "65536")
	steady := b.run(t, fargate(container("app", "answer", "3000", "0"), container("lines", "count", "20ms")))
	steady.awaitStatus(t, "RUNNING")
	steady.hears(t, 3000, "/")
	talk := steady.converse(t, 3001)
	before := steady.pids(t)
	if len(before) != 2 {
		t.Fatalf("the task has the processes %v", before)
	}
	b.apart(t)

	c := &customers{b: b, in: b.request(t, fargate(container("app", "trap", "0"))), ledger: map[string]string{}}
	ctx, leave := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() { c.buy(ctx) })
	}
	for round := range rounds {
		// Every other round waits until the server answers, so that kills hit its start as well as its work.
		if round%2 == 0 {
			b.ready(t)
		}
		<-time.After(rand.N(600 * time.Millisecond)) // a random moment is what this is about
		b.end(t, "server", syscall.SIGKILL)
		talk.echo(t)
		b.role(t, "server")
	}
	b.ready(t)
	leave()
	wg.Wait()

	c.check(t)
	if after := steady.pids(t); !slices.Equal(after, before) {
		t.Errorf("the task's processes were %v and are %v", before, after)
	}
	talk.echo(t)
	steady.awaitStatus(t, "RUNNING")
	steady.stop(t, "enough")
	steady.countedOnce(t, "lines")
}

// What happens while the server is away is reported when it is back, and the lines of the time arrive once.
func TestServerHearsWhatHappenedWhileItWasAway(t *testing.T) {
	t.Parallel()
	b := start(t)
	app := func() *task {
		return b.run(t, fargate(container("app", "answer", "3000", "0"), optional(container("side", "answer", "4000", "0")), container("lines", "count", "10ms")))
	}
	ends, stays := app(), app()
	for _, k := range []*task{ends, stays} {
		k.awaitStatus(t, "RUNNING")
		k.hears(t, 3000, "/")
		k.hears(t, 4000, "/")
	}
	b.apart(t)
	b.end(t, "server", syscall.SIGKILL)
	ends.exit(t, 3000, 5)
	stays.exit(t, 4000, 6)
	for _, port := range []int{3000, 3001} { // both listeners of the ended program
		eventually(t, "the program has ended", func() error {
			if _, err := ends.ask(t.Context(), port, "/"); err == nil {
				return fmt.Errorf("port %d answers", port)
			}
			return nil
		})
	}
	stays.hears(t, 3000, "/say", "line", "nobody hears me")
	b.role(t, "server")
	b.ready(t)

	got := ends.awaitStatus(t, "STOPPED")
	if got.StopCode != types.TaskStopCodeEssentialContainerExited || *find(t, got, "app").ExitCode != 5 {
		t.Errorf("%s, %s", got.StopCode, containers(got))
	}
	timesAreInOrder(t, got)
	ends.countedOnce(t, "lines")
	alive := stays.await(t, "the end of side is known", func(got types.Task) bool { return *find(t, got, "side").LastStatus == "STOPPED" })
	if *alive.LastStatus != "RUNNING" || *find(t, alive, "side").ExitCode != 6 {
		t.Errorf("%s, %s", *alive.LastStatus, containers(alive))
	}
	stays.logged(t, "app", "nobody hears me")
	stays.stop(t, "enough")
	stays.countedOnce(t, "lines")
}

// customers run and stop tasks all the time, and write down what was acknowledged.
type customers struct {
	b  *berth
	in *ecs.RunTaskInput

	mu     sync.Mutex
	ledger map[string]string // client token to ARN
	wrong  []string
}

// buy goes on until ctx ends; a task that it has begun to ask for it gets first.
func (c *customers) buy(ctx context.Context) {
	for ctx.Err() == nil && !c.complained() {
		token := random()
		arn := c.run(token)
		if arn == "" {
			continue
		}
		if rand.N(3) == 0 {
			c.run(token)
		}
		c.insist(func(ctx context.Context) error {
			_, err := c.b.ecs.StopTask(ctx, &ecs.StopTaskInput{Task: &arn, Reason: aws.String("sold")})
			return err
		})
	}
}

func (c *customers) run(token string) string {
	in := *c.in
	in.ClientToken = &token
	var arn string
	c.insist(func(ctx context.Context) error {
		out, err := c.b.ecs.RunTask(ctx, &in)
		if err != nil {
			return err
		}
		if len(out.Tasks) == 1 {
			arn = *out.Tasks[0].TaskArn
		}
		return nil // without a task: the node is not back yet, which is an answer too
	})
	if arn == "" {
		return ""
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if known, ok := c.ledger[token]; ok && known != arn {
		c.wrong = append(c.wrong, fmt.Sprintf("token %s made %s and then %s", token, known, arn))
	}
	c.ledger[token] = arn
	return arn
}

// insist calls until it is acknowledged.
func (c *customers) insist(call func(context.Context) error) {
	err := poll(context.Background(), func() error {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		return call(ctx)
	})
	if err != nil {
		c.complain("never acknowledged: %v", err)
	}
}

func (c *customers) complain(format string, args ...any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.wrong = append(c.wrong, fmt.Sprintf(format, args...))
}

func (c *customers) complained() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.wrong) > 0
}

// check compares the ledger with what the server knows.
func (c *customers) check(t *testing.T) {
	t.Helper()
	for _, w := range c.wrong {
		t.Error(w)
	}
	if t.Failed() {
		return
	}
	if len(c.ledger) < rounds {
		t.Errorf("only %d tasks were run", len(c.ledger))
	}
	t.Logf("%d tasks were run through %d kills", len(c.ledger), rounds)
	known := map[string]bool{}
	for _, status := range []types.DesiredStatus{types.DesiredStatusRunning, types.DesiredStatusStopped} {
		pages := ecs.NewListTasksPaginator(c.b.ecs, &ecs.ListTasksInput{Family: family(c.in), DesiredStatus: status})
		for pages.HasMorePages() {
			page, err := pages.NextPage(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			for _, arn := range page.TaskArns {
				known[arn] = true
			}
		}
	}
	for token, arn := range c.ledger {
		if !known[arn] {
			t.Errorf("the acknowledged task %s (token %s) is gone", arn, token)
			continue
		}
		k := &task{b: c.b, arn: arn, id: arn[strings.LastIndexByte(arn, '/')+1:]}
		got := k.awaitStatus(t, "STOPPED")
		if got.StopCode != types.TaskStopCodeUserInitiated || *got.StoppedReason != "sold" {
			t.Errorf("%s was stopped: %s %s", arn, got.StopCode, *got.StoppedReason)
		}
		if again := c.run(token); again != arn {
			t.Errorf("token %s made %s, and afterwards %s", token, arn, again)
		}
	}
	if len(known) != len(c.ledger) {
		t.Errorf("%d tasks exist, %d were asked for", len(known), len(c.ledger))
	}
}

func family(in *ecs.RunTaskInput) *string {
	name := (*in.TaskDefinition)[strings.LastIndexByte(*in.TaskDefinition, '/')+1:]
	name, _, _ = strings.Cut(name, ":")
	return &name
}

func (k *task) pids(t *testing.T) []string {
	t.Helper()
	pids, err := pidsIn(k.b, k.eni)
	if err != nil {
		t.Fatal(err)
	}
	return pids
}

// countedOnce wants every line of `probe count` once and in order, to its end.
func (k *task) countedOnce(t *testing.T, container string) {
	t.Helper()
	k.logged(t, container, "end ")
	got, err := k.messages(t.Context(), container)
	if err != nil {
		t.Fatal(err)
	}
	for i, line := range got[:len(got)-1] {
		if line != fmt.Sprintf("line %d", i) {
			t.Fatalf("line %d of %d is %q", i, len(got), line)
		}
	}
	if last := got[len(got)-1]; last != fmt.Sprintf("end %d", len(got)-1) {
		t.Errorf("%d lines, then %q", len(got)-1, last)
	}
}

// answers asks whether the API answers at all.
func (b *berth) answers() bool {
	reply, err := http.Get("http://" + b.listen + "/healthz") //nolint:noctx // it answers at once or not at all
	if err != nil {
		return false
	}
	reply.Body.Close() //nolint:errcheck,gosec // nothing of it is needed
	return true
}
