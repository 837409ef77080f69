package channel

import (
	"bytes"
	"context"
	"strings"
	"sync"
	"time"

	"berth.dev/berth/internal/model"
)

// Logs is where the output of sessions is kept.
type Logs interface {
	// EnsureStream makes the stream. The error's text is for the user.
	EnsureStream(ctx context.Context, group, stream string, createGroup bool) error
	// Put stores events, in order, durably.
	Put(ctx context.Context, group, stream string, events []LogEvent) error
}

// LogEvent is a line of output.
type LogEvent struct {
	Time    time.Time
	Message string
}

const (
	// maxLine is how long an event may be; CloudWatch Logs takes 1 MiB.
	maxLine = 200 << 10
	// maxUnstored is how much may wait to be stored. Then the program waits.
	maxUnstored = 1 << 20
	// maxStored is how much is stored at a time: what one call of AWS's API
	// takes.
	maxStored = 1 << 20
	// lineCost is what a line counts beyond its bytes, as on AWS.
	lineCost = 26
	// storeEvery is how long a line waits at most.
	storeEvery = time.Second
	// maxAttempts is how often storing is tried in a row, a second apart.
	maxAttempts = 10
)

// transcript keeps the output of a session. A nil one keeps nothing.
type transcript struct {
	logs   Logs
	log    model.SessionLog
	failed func() // called when it cannot be kept

	mu      sync.Mutex
	partial []byte
	lines   []LogEvent
	cost    int // of lines
	closed  bool
	err     error
	changed chan struct{} // closed when there is room, or the end has come
	wake    chan struct{}
	done    chan struct{}
}

func newTranscript(logs Logs, log model.SessionLog, failed func()) *transcript {
	return &transcript{
		logs: logs, log: log, failed: failed,
		changed: make(chan struct{}), wake: make(chan struct{}, 1), done: make(chan struct{}),
	}
}

// write adds output. It blocks while too much waits to be stored.
func (t *transcript) write(ctx context.Context, p []byte) error {
	if t == nil {
		return nil
	}
	for {
		t.mu.Lock()
		if t.err != nil {
			defer t.mu.Unlock()
			return t.err
		}
		if t.cost < maxUnstored {
			t.add(p, time.Now())
			t.mu.Unlock()
			return nil
		}
		changed := t.changed
		t.mu.Unlock()
		select {
		case t.wake <- struct{}{}:
		default:
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// add cuts output into lines.
func (t *transcript) add(p []byte, now time.Time) {
	for len(p) > 0 {
		line, rest, found := bytes.Cut(p, []byte("\n"))
		if room := maxLine - len(t.partial); len(line) > room {
			line, rest, found = p[:room], p[room:], true
		}
		t.partial = append(t.partial, line...)
		p = rest
		if found {
			t.endLine(now)
		}
	}
}

// endLine makes an event of what is there. Empty ones are none, as on AWS.
func (t *transcript) endLine(now time.Time) {
	if line := strings.TrimSuffix(strings.ToValidUTF8(string(t.partial), "\uFFFD"), "\r"); line != "" {
		t.lines = append(t.lines, LogEvent{now, line})
		t.cost += cost(line)
	}
	t.partial = t.partial[:0]
}

func cost(line string) int { return len(line) + lineCost }

// fitting is how many of the lines, one at least, are stored at a time.
func fitting(lines []LogEvent) int {
	sum := 0
	for i, line := range lines {
		if sum += cost(line.Message); sum > maxStored && i > 0 {
			return i
		}
	}
	return len(lines)
}

// close stores what is left and returns when it is stored, or cannot be.
func (t *transcript) close() error {
	if t == nil {
		return nil
	}
	t.mu.Lock()
	t.endLine(time.Now())
	t.closed = true
	t.mu.Unlock()
	select {
	case t.wake <- struct{}{}:
	default:
	}
	<-t.done
	return t.err
}

// run stores lines until the transcript is closed. It does not end with the
// session: what was shown is to be kept.
func (t *transcript) run() {
	defer close(t.done)
	ticker := time.NewTicker(storeEvery)
	defer ticker.Stop()
	attempts := 0
	for {
		select {
		case <-t.wake:
		case <-ticker.C:
		}
		t.mu.Lock()
		lines := t.lines[:fitting(t.lines)]
		over := t.closed && len(lines) == len(t.lines)
		t.mu.Unlock()
		var err error
		if len(lines) > 0 {
			err = t.store(lines)
		}
		if err == nil {
			attempts = 0
			if t.stored(lines); over {
				return
			}
			continue
		}
		if attempts++; attempts == maxAttempts {
			t.mu.Lock()
			t.err = errNotLogged
			close(t.changed)
			t.mu.Unlock()
			t.failed()
			return
		}
	}
}

func (t *transcript) store(lines []LogEvent) error {
	ctx, cancel := context.WithTimeout(context.Background(), farewell)
	defer cancel()
	return t.logs.Put(ctx, t.log.LogGroup, t.log.LogStream, lines)
}

// stored forgets what is stored and lets the program go on. What is left does
// not wait for the next tick.
func (t *transcript) stored(lines []LogEvent) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, line := range lines {
		t.cost -= cost(line.Message)
	}
	if t.lines = t.lines[len(lines):]; len(t.lines) > 0 {
		select {
		case t.wake <- struct{}{}:
		default:
		}
	}
	close(t.changed)
	t.changed = make(chan struct{})
}
