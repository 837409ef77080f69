package cli

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	logtypes "github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs/types"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
	"github.com/spf13/cobra"
)

// logPause is how often followed logs are read.
const logPause = 250 * time.Millisecond

// logLine is one event of a log stream.
type logLine struct {
	At      time.Time `json:"timestamp"`
	Source  string    `json:"source"` // container, or stream of a group
	Message string    `json:"message"`
}

type logFlags struct {
	cluster, group, container, since string
	follow, timestamps               bool
	tail                             int32
}

func newLogs(e *environment) *cobra.Command {
	var f logFlags
	cmd := &cobra.Command{
		Use: "logs [TASK]", Short: "Print a task's logs, or those of a log group", Args: arguments(cobra.MaximumNArgs(1)),
		Long: `Print what the containers of a task logged with awslogs, or every stream of a log group,
from CloudWatch Logs.`,
		Example: `  berth logs 9f3c2a10 -f
  berth logs 9f3c2a10 --container app --tail 20
  berth logs --group /ecs/my-app --since 10m`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if (f.group == "") == (len(args) == 0) {
				return misuse("give either a task or --group; usage: %s", cmd.UseLine())
			}
			since, err := parseSince(f.since, time.Now())
			if err != nil {
				return err
			}
			c, err := e.connect(cmd)
			if err != nil {
				return err
			}
			ctx := cmd.Context()
			var source logSource
			ended := func(context.Context) (bool, error) { return false, nil }
			if f.group != "" {
				source = &groupLogs{client: c.logs, group: f.group, since: since, tail: f.tail, seen: map[string]time.Time{}}
			} else {
				task, err := c.resolve(ctx, f.cluster, args[0])
				if err != nil {
					return err
				}
				if source, err = c.taskLogs(ctx, f.cluster, task, f.container, since, f.tail); err != nil {
					return err
				}
				ended = func(ctx context.Context) (bool, error) { return c.isStopped(ctx, f.cluster, task) }
			}
			return f.print(ctx, e, source, ended)
		},
	}
	flags := cmd.Flags()
	clusterFlag(cmd, &f.cluster)
	flags.StringVar(&f.group, "group", "", "log group, instead of a task")
	flags.StringVar(&f.container, "container", "", "only this container of the task")
	flags.BoolVarP(&f.follow, "follow", "f", false, "go on until the task has stopped, or Ctrl-C")
	flags.StringVar(&f.since, "since", "", "only what is newer: 10m, 2h, or a time such as 2026-11-22T10:00:00Z")
	flags.Int32Var(&f.tail, "tail", 0, "only this many of the last lines of each container or of the group (default: all)")
	flags.BoolVarP(&f.timestamps, "timestamps", "t", false, "print the time of each line")
	outputFlag(e, cmd)
	cmd.ValidArgsFunction = e.completeTasks
	return cmd
}

// parseSince reads a duration before now, or a time.
func parseSince(s string, now time.Time) (time.Time, error) {
	if s == "" {
		return time.Time{}, nil
	}
	if d, err := time.ParseDuration(s); err == nil {
		return now.Add(-d), nil
	}
	t, err := time.Parse(time.RFC3339, s)
	if err != nil {
		return t, misuse("--since %q is neither a duration such as 10m nor a time such as 2026-11-22T10:00:00Z", s)
	}
	return t, nil
}

// logSource yields lines that were not yielded before, oldest first.
type logSource interface {
	next(ctx context.Context) ([]logLine, error)
}

// print writes lines until there are no more, or when they are followed, until
// the task has ended and its last lines were read.
func (f *logFlags) print(ctx context.Context, e *environment, source logSource, ended func(context.Context) (bool, error)) error {
	p := newPrinter(e.out)
	colours := map[string]string{}
	ticker := time.NewTicker(logPause)
	defer ticker.Stop()
	for {
		// Whether it is over is asked first: what was logged until then is read below.
		over, err := ended(ctx)
		if err != nil {
			return quietly(ctx, err)
		}
		lines, err := source.next(ctx)
		if err != nil {
			return quietly(ctx, explained(err))
		}
		for _, l := range lines {
			if err := f.line(e, p, colours, l); err != nil {
				return err
			}
		}
		if !f.follow || over {
			return nil
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// quietly makes Ctrl-C no error.
func quietly(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// palette are the colours of containers, in the order of their appearance.
var palette = []string{"36", "33", "35", "32", "34", "31"} //nolint:gochecknoglobals // a constant list

func (f *logFlags) line(e *environment, p *printer, colours map[string]string, l logLine) error {
	if e.output == formJSON {
		return e.writeJSON(l)
	}
	if _, ok := colours[l.Source]; !ok {
		colours[l.Source] = palette[len(colours)%len(palette)]
	}
	when := ""
	if f.timestamps {
		when = l.At.UTC().Format("2006-01-02T15:04:05.000Z") + " "
	}
	_, err := fmt.Fprintf(e.out, "%s%s %s\n", when, p.paint(colours[l.Source], l.Source+" |"), strings.TrimRight(l.Message, "\n"))
	return err
}

func (c *clients) isStopped(ctx context.Context, cluster, task string) (bool, error) {
	tasks, _, err := c.describe(ctx, cluster, []string{task})
	return err == nil && (len(tasks) == 0 || aws.ToString(tasks[0].LastStatus) == stopped), err
}

// stream is where one container logs to.
type stream struct{ container, group, name string }

// streamsOf finds the log streams of a task's containers in its definition.
func streamsOf(def *types.TaskDefinition, taskID string) []stream {
	var all []stream
	for _, c := range def.ContainerDefinitions {
		l := c.LogConfiguration
		if l == nil || l.LogDriver != types.LogDriverAwslogs || l.Options["awslogs-stream-prefix"] == "" {
			continue
		}
		name := aws.ToString(c.Name)
		all = append(all, stream{name, l.Options["awslogs-group"], l.Options["awslogs-stream-prefix"] + "/" + name + "/" + taskID})
	}
	return all
}

// taskLogs reads the streams of a task.
func (c *clients) taskLogs(ctx context.Context, cluster, task, container string, since time.Time, tail int32) (*streamLogs, error) {
	tasks, failures, err := c.describe(ctx, cluster, []string{task})
	if err != nil {
		return nil, err
	}
	if len(tasks) == 0 {
		return nil, fmt.Errorf("task %s: %s", task, aws.ToString(failures[0].Reason))
	}
	def, err := definitions{}.get(ctx, c, aws.ToString(tasks[0].TaskDefinitionArn))
	if err != nil {
		return nil, err
	}
	streams := streamsOf(def, taskID(&tasks[0]))
	if container != "" {
		streams = slices.DeleteFunc(streams, func(s stream) bool { return s.container != container })
	}
	if len(streams) == 0 {
		if container != "" {
			return nil, fmt.Errorf("container %q of task %s has no awslogs configuration, so its output is not kept", container, short(taskID(&tasks[0])))
		}
		return nil, fmt.Errorf("no container of task %s has an awslogs configuration with a stream prefix, so its output is not kept", short(taskID(&tasks[0])))
	}
	return &streamLogs{client: c.logs, streams: streams, since: since, tail: tail, tokens: map[string]string{}}, nil
}

// streamLogs reads log streams from where it was.
type streamLogs struct {
	client  *cloudwatchlogs.Client
	streams []stream
	since   time.Time
	tail    int32 // lines of each stream at first; zero is all
	tokens  map[string]string
}

func (s *streamLogs) next(ctx context.Context) ([]logLine, error) {
	var lines []logLine
	for _, one := range s.streams {
		some, err := s.read(ctx, one)
		if err != nil {
			return nil, err
		}
		lines = append(lines, some...)
	}
	slices.SortStableFunc(lines, func(a, b logLine) int { return a.At.Compare(b.At) })
	return lines, nil
}

// read returns the new lines of one stream. A stream that does not exist yet
// is empty.
func (s *streamLogs) read(ctx context.Context, from stream) ([]logLine, error) {
	in := &cloudwatchlogs.GetLogEventsInput{LogGroupName: &from.group, LogStreamName: &from.name, StartFromHead: aws.Bool(true)}
	if !s.since.IsZero() {
		in.StartTime = aws.Int64(s.since.UnixMilli())
	}
	token, begun := s.tokens[from.name]
	if !begun && s.tail > 0 {
		in.StartFromHead, in.Limit = aws.Bool(false), &s.tail
	}
	var lines []logLine
	for {
		if token != "" {
			in.NextToken, in.Limit = &token, nil
		}
		out, err := s.client.GetLogEvents(ctx, in)
		if _, missing := errors.AsType[*logtypes.ResourceNotFoundException](err); missing {
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
		for _, event := range out.Events {
			lines = append(lines, logLine{time.UnixMilli(aws.ToInt64(event.Timestamp)), from.container, aws.ToString(event.Message)})
		}
		// The same token again says that this was all.
		if next := aws.ToString(out.NextForwardToken); next != token {
			token = next
			continue
		}
		s.tokens[from.name] = token
		return lines, nil
	}
}

// groupLogs reads every stream of a group.
type groupLogs struct {
	client *cloudwatchlogs.Client
	group  string
	since  time.Time
	tail   int32
	begun  bool
	seen   map[string]time.Time // ids of events that were returned and would be again
}

func (g *groupLogs) next(ctx context.Context) ([]logLine, error) {
	in := &cloudwatchlogs.FilterLogEventsInput{LogGroupName: &g.group}
	if !g.since.IsZero() {
		in.StartTime = aws.Int64(g.since.UnixMilli())
	}
	var lines []logLine
	for pages := cloudwatchlogs.NewFilterLogEventsPaginator(g.client, in); pages.HasMorePages(); {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, err
		}
		for _, event := range page.Events {
			id, at := aws.ToString(event.EventId), time.UnixMilli(aws.ToInt64(event.Timestamp))
			if _, again := g.seen[id]; !again {
				g.seen[id] = at
				lines = append(lines, logLine{at, aws.ToString(event.LogStreamName), aws.ToString(event.Message)})
			}
		}
	}
	slices.SortStableFunc(lines, func(a, b logLine) int { return a.At.Compare(b.At) })
	if len(lines) > 0 {
		g.since = lines[len(lines)-1].At
		maps.DeleteFunc(g.seen, func(_ string, at time.Time) bool { return at.Before(g.since) })
	}
	if !g.begun && g.tail > 0 {
		lines = lines[max(0, len(lines)-int(g.tail)):]
	}
	g.begun = true
	return lines, nil
}
