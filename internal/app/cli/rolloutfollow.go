package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
	"github.com/spf13/cobra"
)

// rolloutPause is how often a followed service is looked at.
const rolloutPause = 250 * time.Millisecond

// absence is how long the server may not answer before following is given up:
// it may be restarted in the middle of a deployment.
const absence = 30 * time.Second

const (
	// failureLines is how much of a failed task's log is shown when it fails,
	// and tellingEvents how many events of ECS are when the deployment is over.
	failureLines  = 5
	tellingEvents = 12
)

// followFlags are what verbs that change a service have in common.
type followFlags struct {
	cluster string
	detach  bool
	timeout time.Duration
}

func (f *followFlags) register(e *environment, cmd *cobra.Command) {
	clusterFlag(cmd, &f.cluster)
	cmd.Flags().BoolVarP(&f.detach, "detach", "d", false, "do not follow")
	cmd.Flags().DurationVar(&f.timeout, "timeout", 0, "stop following after this long, with exit code 4 (default: never)")
	verboseFlag(e, cmd)
	outputFlag(e, cmd)
}

// bounded limits a context to --timeout.
func (f *followFlags) bounded(ctx context.Context) (context.Context, context.CancelFunc) {
	if f.timeout > 0 {
		return context.WithTimeout(ctx, f.timeout)
	}
	return context.WithCancel(ctx)
}

// pursuit follows one service until what was asked of it has happened.
type pursuit struct {
	e       *environment
	clients *clients
	p       *printer
	flags   *followFlags
	watcher *watcher
	rollout *rollout
	begun   time.Time
	told    bool // the log of a task that failed
	// over decides when it has succeeded, instead of the deployment's end.
	over func(*glimpse) bool
	// wants is the end that is a success.
	wants string
}

// pursue gets ready to follow a service, before it is changed, so that what is
// new can be told. A service that does not exist yet is fine.
func (c *clients) pursue(ctx context.Context, e *environment, p *printer, f *followFlags, service string) (*pursuit, error) {
	w := newWatcher(c, f.cluster, service)
	before, err := w.look(ctx)
	if _, none := errors.AsType[*noService](err); none {
		before, err = nil, nil
	}
	return &pursuit{e: e, clients: c, p: p, flags: f, watcher: w, rollout: newRollout(before), begun: time.Now(), wants: completed}, err
}

// follow shows the rollout until it is over, and returns how it ended. The
// error is for what went wrong with following.
func (u *pursuit) follow(ctx context.Context, s *types.Service) (string, *glimpse, error) {
	u.rollout.follow(s)
	ticker := time.NewTicker(rolloutPause)
	defer ticker.Stop()
	defer u.p.clear()
	for {
		g, err := u.look(ctx)
		if err != nil {
			return "", nil, u.interrupted(ctx, err)
		}
		changes, end := u.rollout.observe(g)
		switch {
		case u.over == nil:
		case u.over(g):
			end = completed
		case end == completed:
			end = ""
		}
		u.tell(ctx, changes)
		if end != "" {
			return end, g, nil
		}
		if u.e.output != formJSON {
			u.p.block(u.rollout.view(u.p, g, time.Since(u.begun)))
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return "", nil, u.interrupted(ctx, ctx.Err())
		}
	}
}

// look takes a glimpse. While nobody answers it tries again, for as long as a
// restart of the server takes.
func (u *pursuit) look(ctx context.Context) (*glimpse, error) {
	ticker := time.NewTicker(rolloutPause)
	defer ticker.Stop()
	for began := time.Now(); ; {
		g, err := u.watcher.look(ctx)
		if err == nil || !unanswered(err) || time.Since(began) > absence {
			return g, err
		}
		u.p.block([]string{" … nobody answers; tasks and load balancers go on meanwhile"})
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// interrupted says what goes on when following ended early.
func (u *pursuit) interrupted(ctx context.Context, err error) error {
	switch {
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return &failure{exitTimed, fmt.Errorf("it took longer than %s; the deployment goes on, `berth services %s` shows it", u.flags.timeout, u.watcher.name)}
	case ctx.Err() != nil:
		return fmt.Errorf("no longer followed; the deployment goes on, `berth services %s` shows it", u.watcher.name)
	}
	return err
}

// tell prints changes; on a terminal, where the state is shown live, only
// those that matter when it is over.
func (u *pursuit) tell(ctx context.Context, changes []change) {
	if u.e.output == formJSON {
		return
	}
	for _, c := range changes {
		if c.minor && u.p.terminal {
			continue
		}
		u.p.clear()
		u.p.say("%s", c.line(u.p, ""))
		if c.task != nil {
			u.tellLogs(ctx, c.task)
		}
	}
}

// tellLogs prints the last lines of the first task that fails; the others
// mostly fail alike, and the last one is explained in the end.
func (u *pursuit) tellLogs(ctx context.Context, t *types.Task) {
	if u.told {
		return
	}
	s, err := u.clients.storyOf(ctx, t)
	if err != nil {
		return // the end explains it, or `berth why` does
	}
	lines := s.telling()
	u.told = len(lines) > 0
	for _, l := range lines[max(0, len(lines)-failureLines):] {
		u.p.say("     %s %s", u.p.paint("2", l.Source+" |"), strings.TrimRight(l.Message, "\n"))
	}
}

// telling are the log lines of the container that explains the task's end, or
// all when it said nothing.
func (s *story) telling() []logLine {
	c := s.culprit()
	if c == nil {
		return s.logs
	}
	own := slices.DeleteFunc(slices.Clone(s.logs), func(l logLine) bool { return l.Source != aws.ToString(c.Name) })
	if len(own) == 0 {
		return s.logs
	}
	return own
}

// conclude says how the rollout ended, prints the data, and decides about the
// exit code.
func (u *pursuit) conclude(ctx context.Context, end string, g *glimpse) error {
	s := &g.service
	if u.e.output == formJSON {
		var failed any
		if n := len(u.rollout.failures); n > 0 {
			failed = awsShape(u.rollout.failures[n-1])
		}
		err := u.e.writeJSON(map[string]any{"outcome": end, "reason": u.rollout.failed, "service": awsShape(s), "failedTask": failed})
		return errors.Join(err, u.verdict(end, s))
	}
	healthy := 0
	for i := range g.tasks {
		if g.healthy(&g.tasks[i]) {
			healthy++
		}
	}
	count := fmt.Sprintf("%d/%d healthy", healthy, s.DesiredCount)
	took := seconds(time.Since(u.begun))
	switch end {
	case u.wants:
		u.p.done("%s  %s, %s after %s", serviceName(s), u.current(s), count, took)
		return u.e.showURLs(ctx, u.clients, u.p, s)
	case rolledBack:
		u.p.failed("Rolled back to %s, %s after %s", u.current(s), count, took)
	default:
		u.p.failed("%s: %s, %s after %s", serviceName(s), end, count, took)
	}
	u.explain(ctx)
	return u.verdict(end, s)
}

func (u *pursuit) current(s *types.Service) string { return definitionName(s.TaskDefinition) }

func (u *pursuit) verdict(end string, s *types.Service) error {
	switch end {
	case u.wants:
		return nil
	case rolledBack:
		return &failure{exitUndeployed, fmt.Errorf("the deployment of %s failed and was rolled back to %s", u.rollout.to, u.current(s))}
	case superseded:
		return fmt.Errorf("another deployment took the place of this one; `berth services %s` shows it", serviceName(s))
	}
	return &failure{exitUndeployed, fmt.Errorf("the deployment of %s failed", u.rollout.to)}
}

// explain puts together why a deployment failed: the last task that failed,
// what that means, its log, and what ECS said.
func (u *pursuit) explain(ctx context.Context) {
	if n := len(u.rollout.failures); n > 0 {
		t := &u.rollout.failures[n-1]
		s, err := u.clients.storyOf(ctx, t)
		if err != nil {
			s = &story{task: t}
		}
		u.p.say("")
		u.p.say("  %s", u.p.paint("33", "Why"))
		s.brief(u.p)
		u.p.hint("berth why %s%s", short(taskID(t)), u.e.dataDirHint())
	}
	if events := u.rollout.heard; len(events) > 0 {
		u.p.say("")
		u.p.say("  %s", u.p.paint("33", "What ECS said"))
		for _, e := range events[max(0, len(events)-tellingEvents):] {
			u.p.say("   %s %s", u.p.paint("2", aws.ToTime(e.CreatedAt).Local().Format(time.TimeOnly)), aws.ToString(e.Message))
		}
		u.p.say("")
	}
}

// brief says in few lines why a task ended.
func (s *story) brief(p *printer) {
	what := aws.ToString(s.task.StoppedReason)
	if c := s.culprit(); c != nil && c.ExitCode != nil {
		what += fmt.Sprintf("; container %s, exit code %d", aws.ToString(c.Name), *c.ExitCode)
		if ran := between(s.task.StartedAt, firstOf(s.task.ExecutionStoppedAt, s.task.StoppedAt)); ran > 0 {
			what += ", after " + seconds(ran)
		}
	}
	p.say("   Task %s: %s", short(taskID(s.task)), what)
	p.advise(s.advice())
	lines := s.telling()
	for _, l := range lines[max(0, len(lines)-whyLines):] {
		p.say("     %s %s", p.paint("2", l.Source+" |"), strings.TrimRight(l.Message, "\n"))
	}
}

// showURLs prints where a service answers.
func (e *environment) showURLs(ctx context.Context, c *clients, p *printer, s *types.Service) error {
	b, err := c.balancersOf(ctx, *s)
	if err != nil {
		return err
	}
	names, err := newDiscovery(c).names(ctx, s)
	if err != nil {
		return err
	}
	for _, name := range names {
		p.say(" %s %s (inside the VPC)", p.paint("36", "→"), name)
	}
	for _, url := range b.urls(s) {
		if _, err := fmt.Fprintln(e.out, url); err != nil {
			return err
		}
	}
	return nil
}
