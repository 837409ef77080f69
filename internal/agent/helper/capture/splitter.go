package capture

import (
	"bytes"

	"berth.dev/berth/internal/agent/helper/spool"
)

// splitter cuts one stream into pieces. Where it cuts does not depend on how the bytes were chunked.
type splitter struct {
	pending []byte // less than spool.MaxPayload bytes of a line whose end has not been seen
}

// feed cuts data and calls put for every piece; last says that the piece ends its line. A piece is valid only
// during the call.
func (s *splitter) feed(data []byte, put func(piece []byte, last bool)) {
	for len(data) > 0 {
		room := spool.MaxPayload - len(s.pending)
		end := bytes.IndexByte(data[:min(room, len(data))], '\n')
		switch {
		case end >= 0:
			put(s.take(data[:end]), true)
			data = data[end+1:]
		case len(data) >= room:
			put(s.take(data[:room]), false)
			data = data[room:]
		default:
			s.pending = append(s.pending, data...)
			return
		}
	}
}

// finish puts what is left of a line that the stream did not end.
func (s *splitter) finish(put func(piece []byte, last bool)) {
	if len(s.pending) > 0 {
		put(s.take(nil), true)
	}
}

// take joins what is pending with the rest of its piece.
func (s *splitter) take(rest []byte) []byte {
	if len(s.pending) == 0 {
		return rest
	}
	piece := append(s.pending, rest...)
	s.pending = s.pending[:0]
	return piece
}
