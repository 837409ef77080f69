package datachannel

import (
	"bytes"
	"errors"
	"fmt"
	"io"
)

// Stream is a session as plain bytes: a tar archive that comes or goes, one
// connection. One goroutine may read and another write.
type Stream struct {
	session *Session
	rest    []byte // read from the session, not by the caller
	end     error  // what Read returns when rest is empty
	ended   bool   // the far end's program has ended; err says how
	err     error
	said    bytes.Buffer // the start of its standard error
}

// maxSaid is how much of a program's standard error becomes part of an error.
const maxSaid = 4 << 10

// Stream returns the session as plain bytes. Nothing else may receive from it
// afterwards.
func (s *Session) Stream() *Stream { return &Stream{session: s} }

// Read reads output. It returns io.EOF at its end: whether the far end's
// program has done all that it should is what Wait says.
func (s *Stream) Read(p []byte) (int, error) {
	for len(s.rest) == 0 && s.end == nil {
		s.receive()
	}
	if len(s.rest) == 0 {
		return 0, s.end
	}
	n := copy(p, s.rest)
	s.rest = s.rest[n:]
	return n, nil
}

// receive handles one event.
func (s *Stream) receive() {
	event, err := s.session.Recv()
	switch {
	case err != nil:
		s.ended, s.err = true, s.explain(err)
		if s.end == nil {
			s.end = s.err
		}
	case event.ExitCode != nil:
		s.ended = true
		s.end = io.EOF
		if code := *event.ExitCode; code != 0 {
			s.err = s.explain(fmt.Errorf("exit code %d", code))
		}
	case event.OutputEnd:
		s.end = io.EOF
	case event.Error != nil:
		s.said.Write(event.Error[:min(len(event.Error), maxSaid-s.said.Len())])
	default:
		s.rest = event.Output
	}
}

// explain adds what the far end's program has said.
func (s *Stream) explain(err error) error {
	if text := bytes.TrimSpace(s.said.Bytes()); len(text) > 0 {
		return fmt.Errorf("%w: %s", err, text)
	}
	return err
}

// Wait discards what is still to be read and returns how the far end's program
// has ended: nil with exit code 0.
func (s *Stream) Wait() error {
	for !s.ended {
		s.rest = nil
		s.receive()
	}
	return s.err
}

// Write sends input. It blocks while the far end takes no more.
func (s *Stream) Write(p []byte) (int, error) { return s.session.Write(p) }

// CloseWrite says that there is no more input.
func (s *Stream) CloseWrite() error { return s.session.CloseInput() }

// Close ends the session.
func (s *Stream) Close() error { return s.session.Close() }

var _ interface {
	io.ReadWriteCloser
	CloseWrite() error
} = (*Stream)(nil)

// errHalfClosed is the error of writing after CloseWrite.
var errHalfClosed = errors.New("write after the end of writing")
