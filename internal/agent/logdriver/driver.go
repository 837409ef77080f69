package logdriver

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/fsnotify/fsnotify"

	"berth.dev/berth/internal/agent/helper/capture"
	"berth.dev/berth/internal/agent/seal"
	"berth.dev/berth/internal/base/telemetry"
)

// pollEvery is how often every spool is looked at where the kernel cannot tell (no inotify instance left).
const pollEvery = 250 * time.Millisecond

// Sink is where log events go: the control plane.
type Sink interface {
	// EnsureStream makes the log stream, and with createGroup the log group, unless they exist. The error has AWS's text,
	// such as "ResourceNotFoundException: The specified log group does not exist.".
	EnsureStream(ctx context.Context, of Source, createGroup bool) error
	// Deliver returns nil once every event whose Seq is above the highest Seq stored before for that source's ID is durable.
	// Events come in the order of Seq, 1 to 10,000 of them, at most 1 MiB (26 bytes counted for each) and 24 hours apart.
	// An error of class fault.NotFound or fault.Invalid is final: the events are thrown away. After any other they are
	// delivered again, perhaps in other batches.
	Deliver(ctx context.Context, of Source, events []Event) error
}

// Source is who delivers to a log stream.
type Source struct {
	Group, Stream string
	// ID is unique among all that ever deliver to the stream; empty before there is anything to deliver.
	ID string
	// TaskID and Container say whose output it is; both are empty for a load balancer's access log.
	TaskID, Container string
}

// Config is what a Driver needs. All fields but Key are required.
type Config struct {
	Dir    string // holds one directory for each stream
	Helper string // path of the installed berth-helper
	Sink   Sink
	// Key seals what a stream's options say on disk, because secretOptions may have said it. Without it that is in clear.
	Key *seal.Key
	Log *slog.Logger
}

// Stream is the log of one container.
type Stream struct {
	ID        string // unique on this host among present and past runs: the runtime's container id
	Container string // the name in the task definition
	TaskID    string
	Options   Options
}

// LogArgs is the program that a container's output goes to, in the form of runtime.Log.
type LogArgs struct {
	Binary string
	Args   map[string]string
}

// Stats counts what became of a stream's log since the agent started.
type Stats struct {
	Delivered uint64 // events acknowledged
	Dropped   uint64 // lines dropped by the logger in non-blocking mode
	Refused   uint64 // events that the sink refused for good
}

// ErrUnknown means that there is no such stream.
var ErrUnknown = errors.New("no such log stream on this host")

// Driver delivers the logs of this host's containers. Its methods may be called before, while and after Run runs, by any
// number of goroutines.
type Driver struct {
	cfg Config

	mu        sync.Mutex
	followers map[string]*follower
	running   *running // nil unless Run runs
}

// running is what exists only while Run runs.
type running struct {
	ctx     context.Context
	watcher *fsnotify.Watcher // nil: poll
	group   sync.WaitGroup
}

// New returns a Driver that follows nothing yet.
func New(cfg Config) *Driver {
	return &Driver{cfg: cfg, followers: map[string]*follower{}}
}

// Run delivers until ctx ends. It touches neither containers nor loggers when it ends; what is not delivered waits on disk.
func (d *Driver) Run(ctx context.Context) error {
	watcher, err := fsnotify.NewWatcher()
	if err != nil {
		d.cfg.Log.WarnContext(ctx, "no inotify, log spools are polled", telemetry.Error, err)
		watcher = nil
	}
	r := &running{ctx: ctx, watcher: watcher}
	d.mu.Lock()
	d.running = r
	for _, f := range d.followers {
		d.launch(f)
	}
	d.mu.Unlock()

	d.watch(ctx, watcher)

	d.mu.Lock()
	d.running = nil
	d.mu.Unlock()
	r.group.Wait()
	if watcher != nil {
		return watcher.Close()
	}
	return nil
}

// watch wakes followers until ctx ends.
func (d *Driver) watch(ctx context.Context, watcher *fsnotify.Watcher) {
	if watcher == nil {
		tick := time.NewTicker(pollEvery)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				d.kickAll()
			}
		}
	}
	for {
		select {
		case <-ctx.Done():
			return
		case event := <-watcher.Events:
			// Our own checkpoints are events too, and no news.
			if strings.HasSuffix(event.Name, ".seg") {
				d.kick(filepath.Base(filepath.Dir(event.Name)))
			}
		case err := <-watcher.Errors:
			// An overflow of the queue: anything may have happened.
			d.cfg.Log.WarnContext(ctx, "log spools are not watched for a moment", telemetry.Error, err)
			d.kickAll()
		}
	}
}

func (d *Driver) kick(id string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if f, ok := d.followers[id]; ok {
		f.kick()
	}
}

func (d *Driver) kickAll() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, f := range d.followers {
		f.kick()
	}
}

// launch starts a follower under Run. mu is held.
func (d *Driver) launch(f *follower) {
	r := d.running
	if r == nil || r.ctx.Err() != nil {
		return
	}
	r.group.Go(func() {
		// Before the first read, so that nothing falls in between, and without mu, which watch may need meanwhile.
		if r.watcher != nil {
			if err := r.watcher.Add(f.dir); err != nil {
				d.cfg.Log.ErrorContext(r.ctx, "log spool cannot be watched", telemetry.Path, f.dir, telemetry.Error, err)
			}
		}
		f.run(r.ctx)
		d.forget(f)
	})
}

// forget drops a follower whose directory is gone.
func (d *Driver) forget(f *follower) {
	if !f.left() {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.followers[f.meta.ID] == f {
		delete(d.followers, f.meta.ID)
	}
}

var validID = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.-]{0,127}$`)

// Prepare makes the log stream and the spool of a container that is about to start and returns where its output is to go.
// It may be repeated, also for a container that is started again. Its error is what ECS says as the task's stopped reason;
// nothing is left on disk then.
func (d *Driver) Prepare(ctx context.Context, s Stream) (LogArgs, error) {
	if !validID.MatchString(s.ID) {
		return LogArgs{}, fmt.Errorf("prepare log: %q is no id of a container", s.ID)
	}
	if _, err := os.Stat(d.dir(s.ID)); errors.Is(err, fs.ErrNotExist) {
		name := s.Options.StreamName(s.Container, s.TaskID, s.ID)
		if err := d.cfg.Sink.EnsureStream(ctx, Source{Group: s.Options.Group, Stream: name, TaskID: s.TaskID, Container: s.Container}, s.Options.CreateGroup); err != nil {
			return LogArgs{}, fmt.Errorf("ResourceInitializationError: failed to validate logger args: create stream has been "+
				"retried 1 times: failed to create Cloudwatch log stream: %w : exit status 1", err)
		}
		m := meta{
			ID: s.ID, Group: s.Options.Group, Stream: name, Source: s.ID + "/" + rand.Text(), Multiline: s.Options.Multiline,
			TaskID: s.TaskID, Container: s.Container,
		}
		if err := m.seal(d.cfg.Key); err != nil {
			return LogArgs{}, fmt.Errorf("prepare log of %s: %w", s.ID, err)
		}
		if err := d.create(m); err != nil {
			return LogArgs{}, fmt.Errorf("prepare log of %s: %w", s.ID, err)
		}
	} else if err != nil {
		return LogArgs{}, fmt.Errorf("prepare log of %s: %w", s.ID, err)
	}
	return d.logArgs(s), nil
}

// create makes the spool unless another call of Prepare has made it meanwhile.
func (d *Driver) create(m meta) error {
	d.mu.Lock() // Adopt removes what looks unfinished
	defer d.mu.Unlock()
	if _, err := os.Stat(d.dir(m.ID)); err == nil {
		return nil
	}
	return m.create(d.cfg.Dir)
}

func (d *Driver) logArgs(s Stream) LogArgs {
	args := map[string]string{
		capture.KeySpool: d.dir(s.ID),
		capture.KeyMode:  string(s.Options.Mode),
	}
	if limit := s.Options.MaxBufferBytes; limit > 0 {
		args[capture.KeyLimit] = strconv.FormatInt(limit, 10)
		// Small segments for a small buffer, so that the disk holds little more than was asked for.
		args[capture.KeySegment] = strconv.FormatInt(min(capture.DefaultSegmentBytes, max(limit/8, 64<<10)), 10)
	}
	return LogArgs{Binary: d.cfg.Helper, Args: args}
}

// Follow delivers a prepared stream from now on, while Run runs. It may be repeated. The error is ErrUnknown when the
// stream was never prepared or is removed.
func (d *Driver) Follow(id string) error {
	_, err := d.follow(id)
	return err
}

func (d *Driver) follow(id string) (*follower, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if f, ok := d.followers[id]; ok && !f.left() {
		return f, nil
	}
	if !validID.MatchString(id) {
		return nil, fmt.Errorf("%w: %q", ErrUnknown, id)
	}
	m, err := readMeta(d.dir(id))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: %s", ErrUnknown, id)
	}
	if err == nil {
		err = m.open(d.cfg.Key)
	}
	if err != nil {
		return nil, fmt.Errorf("follow log: %w", err)
	}
	f := newFollower(d.dir(id), m, d.cfg.Sink, d.cfg.Log)
	d.followers[id] = f
	d.launch(f)
	return f, nil
}

// Adopt follows every stream that an agent before this one left, and returns their ids in order. The caller removes those
// whose containers it does not know. Damaged directories are reported in the error and left alone.
func (d *Driver) Adopt() ([]string, error) {
	entries, err := os.ReadDir(d.cfg.Dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("adopt logs: %w", err)
	}
	var ids []string
	var failed []error
	for _, entry := range entries {
		if strings.HasPrefix(entry.Name(), tmpPrefix) {
			failed = append(failed, d.discard(entry.Name()))
			continue
		}
		if !entry.IsDir() {
			continue
		}
		if err := d.Follow(entry.Name()); errors.Is(err, ErrUnknown) {
			// Its deletion was interrupted: what says whose it is went first.
			failed = append(failed, d.discard(entry.Name()))
			continue
		} else if err != nil {
			failed = append(failed, err)
			continue
		}
		ids = append(ids, entry.Name())
	}
	slices.Sort(ids)
	return ids, errors.Join(failed...)
}

// discard removes what an interrupted Prepare left. No Prepare is at work on it: those hold mu.
func (d *Driver) discard(name string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return os.RemoveAll(filepath.Join(d.cfg.Dir, name))
}

// Drain waits until the container's logger has ended and everything it wrote is delivered. A logger ends when its
// container's task is deleted, so that comes first. The error wraps that of ctx: the rest is delivered later.
func (d *Driver) Drain(ctx context.Context, id string) error {
	f, err := d.follow(id)
	if err != nil {
		return err
	}
	return f.drain(ctx)
}

// Remove deletes the stream's spool as soon as its logger has ended and everything is delivered, which may be after
// another start of the agent. It returns at once. Removing an unknown stream is success.
func (d *Driver) Remove(id string) error {
	f, err := d.follow(id)
	if errors.Is(err, ErrUnknown) {
		return nil
	}
	if err != nil {
		return err
	}
	err = os.WriteFile(filepath.Join(f.dir, removeName), nil, 0o600)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove log: %w", err)
	}
	f.mu.Lock()
	f.remove = true
	f.mu.Unlock()
	f.kick()
	return nil
}

// Stats returns the counts of a stream; ok is false when it is not followed.
func (d *Driver) Stats(id string) (stats Stats, ok bool) {
	d.mu.Lock()
	f, ok := d.followers[id]
	d.mu.Unlock()
	if !ok {
		return Stats{}, false
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.stats, true
}

func (d *Driver) dir(id string) string { return filepath.Join(d.cfg.Dir, id) }
