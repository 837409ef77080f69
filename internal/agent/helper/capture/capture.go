package capture

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"sync"
	"time"

	"berth.dev/berth/internal/agent/helper/spool"
)

const (
	readBytes = 64 << 10
	// fullPause is how often a full spool is looked at. It costs one small read, and only while the container is held up.
	fullPause = 50 * time.Millisecond
	// diskPause is how often a write that failed (a full disk) is tried again.
	diskPause = 200 * time.Millisecond
	// stopGraceBytes is what may exceed the limit once the container is gone: two pipes of the largest size that
	// Linux gives to anybody (1 MiB each), with what the records add to very short lines.
	stopGraceBytes = 32 << 20
	// stopPatience bounds the tries of a failing disk once the container is gone, because the shim waits for us.
	stopPatience = 5 * time.Second
	// checkpointAge is how long a non-blocking logger over its limit believes what it read of the checkpoint.
	checkpointAge = 10 * time.Millisecond
)

// Run spools both streams until both have ended, and closes ready once the spool can take records. stop is closed
// when the container is gone and only what the pipes still hold is left to be read. The error is that the spool could
// not be opened; the streams are then still to be read, by Discard.
func Run(cfg Config, stdout, stderr io.Reader, ready io.Closer, stop <-chan struct{}) error {
	lock, err := spool.Lock(cfg.Dir)
	if err != nil {
		return err
	}
	defer lock.Close()
	writer, err := spool.OpenWriter(cfg.Dir, cfg.SegmentBytes, time.Now().UnixNano())
	if err != nil {
		return err
	}
	ready.Close()

	c := &capture{cfg: cfg, writer: writer, stop: stop}
	var streams sync.WaitGroup
	streams.Go(func() { c.pump(&source{stream: spool.Stdout}, stdout) })
	streams.Go(func() { c.pump(&source{stream: spool.Stderr}, stderr) })
	streams.Wait()

	c.mu.Lock()
	defer c.mu.Unlock()
	writer.Append(spool.Record{Kind: spool.End, Time: time.Now().UnixNano()})
	c.flush()
	_ = writer.Close() // nothing is buffered, and nobody could do anything about it
	return nil
}

// Discard reads both streams to their end after a failure, whose text it leaves in the spool's directory.
func Discard(dir string, cause error, stdout, stderr io.Reader, ready io.Closer) {
	if dir != "" {
		// There is nobody to tell when this fails too.
		_ = os.WriteFile(filepath.Join(dir, "error"), []byte(cause.Error()+"\n"), 0o600)
	}
	ready.Close()
	var streams sync.WaitGroup
	for _, r := range []io.Reader{stdout, stderr} {
		streams.Go(func() { _, _ = io.Copy(io.Discard, r) })
	}
	streams.Wait()
}

// source is one stream and what became of its present line.
type source struct {
	stream   spool.Stream
	splitter splitter
	inLine   bool   // pieces of the present line are in the spool
	dropping bool   // the rest of the present line is to be dropped
	dropped  uint64 // lines dropped and not yet told
}

type capture struct {
	cfg  Config
	stop <-chan struct{}

	mu        sync.Mutex
	writer    *spool.Writer
	read      uint64 // what the checkpoint said
	readAt    time.Time
	stopped   bool // stop was seen closed
	discarded bool // the spool is gone, or takes nothing more: records are thrown away
}

func (c *capture) pump(s *source, r io.Reader) {
	buf := make([]byte, readBytes)
	for {
		n, err := r.Read(buf)
		c.accept(s, buf[:n], err != nil)
		if err != nil {
			return // a pipe has no other error than its end that reading on could cure
		}
	}
}

// accept spools what one read gave.
func (c *capture) accept(s *source, data []byte, ended bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	put := func(piece []byte, last bool) { c.put(s, now, piece, last) }
	s.splitter.feed(data, put)
	if ended {
		s.splitter.finish(put)
		c.tellDropped(s, now)
	}
	c.flush()
}

func (c *capture) put(s *source, now time.Time, piece []byte, last bool) {
	if s.dropping {
		s.dropping = !last
		return
	}
	record := spool.Record{Kind: spool.Line, Stream: s.stream, Time: now.UnixNano(), Payload: piece}
	if !last {
		record.Kind = spool.Partial
	}
	if !c.admit(record.Size()) {
		s.dropped++
		s.dropping = !last
		if s.inLine {
			// Told at once: the reader must not wait for the end of a line that will not come, nor may its beginning
			// hold the backlog over the limit for ever.
			s.inLine = false
			c.tellDropped(s, now)
		}
		return
	}
	c.tellDropped(s, now)
	c.writer.Append(record)
	s.inLine = !last
}

func (c *capture) tellDropped(s *source, now time.Time) {
	if s.dropped > 0 {
		c.writer.Append(spool.DroppedRecord(s.stream, now.UnixNano(), s.dropped))
		s.dropped = 0
	}
}

// admit says whether a record of that size may be appended: at once in non-blocking mode, and after waiting for room in
// blocking mode, during which the other stream goes on as far as it can.
func (c *capture) admit(size int) bool {
	if c.fits(size) || c.discarded {
		return true
	}
	if c.cfg.NonBlocking {
		if time.Since(c.readAt) < checkpointAge {
			return false
		}
		c.look()
		return c.fits(size)
	}
	for c.look(); !c.fits(size) && !c.discarded; c.look() {
		c.flush() // what is buffered must be readable, or there would never be room
		if c.pause(fullPause) {
			c.cfg.LimitBytes += stopGraceBytes
		}
	}
	return true
}

// pause lets the other stream go on for a while. It returns early, and true, the first time that it finds stop closed.
func (c *capture) pause(d time.Duration) bool {
	stop := c.stop
	if c.stopped {
		stop = nil
	}
	c.mu.Unlock()
	closed := false
	select {
	case <-stop:
		closed = true
	case <-time.After(d):
	}
	c.mu.Lock()
	first := closed && !c.stopped
	c.stopped = c.stopped || closed
	return first
}

// fits says whether the backlog as it was last seen leaves room.
func (c *capture) fits(size int) bool {
	unread := c.writer.Total() - min(c.read, c.writer.Total())
	return unread == 0 || unread+uint64(size) <= c.cfg.LimitBytes
}

// look reads how far the agent has come.
func (c *capture) look() {
	c.readAt = time.Now()
	if _, err := os.Stat(c.cfg.Dir); errors.Is(err, os.ErrNotExist) {
		c.discarded = true
	}
	// A checkpoint that cannot be read says nothing new; the agent will write another.
	if checkpoint, err := spool.ReadCheckpoint(c.cfg.Dir); err == nil {
		c.read = max(c.read, checkpoint.Read)
	}
}

// flush writes what is buffered. A disk that takes nothing holds the container up, as a full spool does, in both modes.
func (c *capture) flush() {
	var stopped time.Time
	for !c.discarded {
		err := c.writer.Flush()
		if err == nil {
			return
		}
		if errors.Is(err, os.ErrNotExist) {
			break // the agent removed the spool
		}
		c.pause(diskPause)
		if c.stopped && stopped.IsZero() {
			stopped = time.Now()
		}
		if c.stopped && time.Since(stopped) > stopPatience {
			break
		}
	}
	c.discarded = true
	c.writer.Reset()
}
