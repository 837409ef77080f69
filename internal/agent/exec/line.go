package exec

import (
	"context"
	"io"
	"sync"
	"time"

	"berth.dev/berth/internal/agent/session"
	"berth.dev/berth/internal/wire/nodeapi"
)

const (
	// frameBytes is the most that one frame of ours carries: half of gRPC's
	// window, less what the frame itself takes. One byte more than 32 KiB, and
	// gRPC would take a buffer of 1 MiB for it, and clear all of that.
	frameBytes = 32<<10 - 64
	// inputFrames are held of what comes in, until what it is for has read it.
	// Sizes and signals overtake them.
	inputFrames = 8
	// controls are sizes and signals that wait.
	controls = 64
	// lookEvery is how often it is asked whether somebody is still there while
	// nothing can be received, because nobody reads what has come.
	lookEvery = time.Second
)

// line is the node's end of a stream. Its receiver never waits for ever: it is
// how the end of the stream is noticed.
type line struct {
	stream  session.Stream
	sending sync.Mutex

	input   chan []byte               // closed at the end of what comes in
	control chan *nodeapi.StreamFrame // sizes and signals
	over    sync.Once
	done    chan struct{} // closed when nobody reads input any more
}

func newLine(stream session.Stream) *line {
	return &line{
		stream: stream, input: make(chan []byte, inputFrames), control: make(chan *nodeapi.StreamFrame, controls),
		done: make(chan struct{}),
	}
}

// finish says that nobody reads input any more: what comes is dropped.
func (l *line) finish() { l.over.Do(func() { close(l.done) }) }

func (l *line) send(f *nodeapi.StreamFrame) error {
	l.sending.Lock()
	defer l.sending.Unlock()
	return l.stream.Send(f)
}

// receive takes frames until the control plane has ended the stream.
func (l *line) receive() {
	open := true
	for {
		f, err := l.stream.Recv()
		if err != nil {
			return
		}
		switch {
		case f.GetInputEnd() && open:
			open = false
			close(l.input)
		case len(f.GetInput()) > 0 && open:
			if !l.take(f.GetInput()) {
				return
			}
		case f.GetSize() != nil, f.GetSignal() != 0:
			select {
			case l.control <- f:
			default: // more than anybody types
			}
		}
	}
}

// take hands input on. While it waits it would not notice that the stream has
// ended, so it asks: a frame without content cannot be sent then.
func (l *line) take(data []byte) bool {
	timer := time.NewTimer(lookEvery)
	defer timer.Stop()
	for {
		select {
		case l.input <- data:
			return true
		case <-l.done:
			return true
		case <-timer.C:
			if l.send(&nodeapi.StreamFrame{}) != nil {
				return false
			}
			timer.Reset(lookEvery)
		}
	}
}

// reader is what comes in, until ctx ends.
type reader struct {
	ctx  context.Context //nolint:containedctx // of one use of the reader
	l    *line
	rest []byte
}

func (l *line) reader(ctx context.Context) *reader { return &reader{ctx: ctx, l: l} }

// Read implements io.Reader. io.EOF says that all has come in.
func (r *reader) Read(p []byte) (int, error) {
	if len(r.rest) == 0 {
		select {
		case data, more := <-r.l.input:
			if !more {
				return 0, io.EOF
			}
			r.rest = data
		case <-r.ctx.Done():
			return 0, context.Cause(r.ctx)
		}
	}
	n := copy(p, r.rest)
	r.rest = r.rest[n:]
	return n, nil
}

// writer sends what is written to it.
type writer struct {
	l     *line
	frame func([]byte) *nodeapi.StreamFrame
}

func output(data []byte) *nodeapi.StreamFrame {
	return &nodeapi.StreamFrame{Frame: &nodeapi.StreamFrame_Output{Output: data}}
}

func errorOutput(data []byte) *nodeapi.StreamFrame {
	return &nodeapi.StreamFrame{Frame: &nodeapi.StreamFrame_ErrorOutput{ErrorOutput: data}}
}

// Write implements io.Writer.
func (w writer) Write(p []byte) (int, error) {
	written := 0
	for written < len(p) {
		end := min(len(p), written+frameBytes)
		if err := w.l.send(w.frame(p[written:end])); err != nil {
			return written, err
		}
		written = end
	}
	return written, nil
}

// onlyReader and onlyWriter hide the shortcuts by which io.Copy would leave the
// buffer, and its bound, aside.
type (
	onlyReader struct{ io.Reader }
	onlyWriter struct{ io.Writer }
)

func copyFrames(to io.Writer, from io.Reader) error {
	_, err := io.CopyBuffer(onlyWriter{to}, onlyReader{from}, make([]byte, frameBytes))
	return err
}
