package datachannel

import (
	"encoding/json"
	"time"

	"github.com/google/uuid"
)

// How long an acknowledgement is waited for (the plugin's constants).
const (
	firstTimeout = 200 * time.Millisecond
	maxTimeout   = time.Second
	firstTrip    = 100 * time.Millisecond
	granularity  = 10 * time.Millisecond
	// maxPause is how long a request to pause is heeded; it is made again when
	// there is still no room then.
	maxPause = time.Second
	// maxControls is how many messages without acknowledgement may wait.
	maxControls = 8
)

// sender is what a Channel has to write. The Channel's lock guards it.
type sender struct {
	kind string // the type of its data messages

	sequence int64       // of the next message
	pending  []*outgoing // not acknowledged, in sequence; nil where the acknowledgement came early
	unsent   int         // index in pending of the first that was never written
	bytes    int         // cost of pending
	// writingNow is the sequence number of the data message that is being
	// written for the first time, -1 for none: it may be acknowledged already.
	writingNow int64
	// pausedUntil is when new data may be sent although the peer asked to
	// pause: the message that ends a pause may be lost.
	pausedUntil time.Time

	// life counts the connections that the frames went over. What was written in
	// an earlier one is written again, from redo on, before anything new.
	life int
	redo int64 // sequence number of the next message that this may be due for

	acks     []ack
	controls [][]byte
	writing  bool // a control or acknowledgement is being written

	timeout        time.Duration
	trip, variance time.Duration
}

// outgoing is a data message on its way.
type outgoing struct {
	sequence int64
	frame    []byte
	cost     int
	sentAt   time.Time // zero: never
	resent   int
	// first and last are the lives in which it was written, by when that began.
	first, last int
}

type ack struct {
	kind     string
	id       uuid.UUID
	sequence int64
}

// job is a frame to write.
type job struct {
	frame []byte
	data  *outgoing // set for data
	life  int
}

func newSender(kind string) sender {
	return sender{kind: kind, timeout: firstTimeout, trip: firstTrip, writingNow: -1}
}

// hasRoom says whether a payload fits into the window. One always does.
func (s *sender) hasRoom(n, window int) bool {
	return s.bytes == 0 || s.bytes+n+messageCost <= window
}

// queue adds a payload to what is to be written.
func (s *sender) queue(t PayloadType, data []byte, now time.Time) {
	m := Message{Type: s.kind, Created: now, Sequence: s.sequence, ID: uuid.New(), PayloadType: t, Payload: data}
	if s.sequence == 0 {
		m.Flags = flagSYN
	}
	o := &outgoing{sequence: s.sequence, cost: len(data) + messageCost, frame: m.Append(make([]byte, 0, headerBytes+4+len(data)))}
	s.pending = append(s.pending, o)
	s.bytes += o.cost
	s.sequence++
}

// pause takes note that the peer wants no new data, or wants it again.
func (s *sender) pause(pause bool, now time.Time) {
	s.pausedUntil = time.Time{}
	if pause {
		s.pausedUntil = now.Add(maxPause)
	}
}

// control adds a message that has no place in the sequence. When the peer
// takes none of them it is left out: only SendClosed must come through, and
// nothing else is sent by then.
func (s *sender) control(kind string, content []byte, now time.Time) {
	if len(s.controls) >= maxControls && kind != TypeClosed {
		return
	}
	m := Message{Type: kind, Created: now, ID: uuid.New(), Payload: content}
	s.controls = append(s.controls, m.Append(nil))
}

// next returns what to write now, or how long to wait for something.
// Acknowledgements are first, because the peer waits for them; of messages
// whose acknowledgement is late only the oldest is sent again, as the plugin
// does it: nearly always the later ones have come, and all wait for that one.
func (s *sender) next(now time.Time) (job, time.Duration) {
	if len(s.acks) > 0 {
		a := s.acks[0]
		s.acks = s.acks[1:]
		s.writing = true
		return job{frame: a.encode(now)}, 0
	}
	if len(s.controls) > 0 {
		frame := s.controls[0]
		s.controls = s.controls[1:]
		s.writing = true
		return job{frame: frame}, 0
	}
	wait := time.Hour
	if o := s.doubtful(); o != nil {
		return job{o.frame, o, s.life}, 0
	}
	if s.unsent > 0 {
		oldest := s.pending[0]
		if wait = oldest.sentAt.Add(min(s.timeout<<min(oldest.resent, 8), maxTimeout)).Sub(now); wait <= 0 {
			return job{oldest.frame, oldest, s.life}, 0
		}
	}
	if s.unsent < len(s.pending) {
		if rest := s.pausedUntil.Sub(now); rest > 0 {
			return job{}, min(wait, rest)
		}
		o := s.pending[s.unsent]
		s.writingNow = o.sequence
		return job{o.frame, o, s.life}, 0
	}
	return job{}, wait
}

// written says that a job is done.
func (s *sender) written(j job, now time.Time) {
	s.writing = false
	o := j.data
	if o == nil {
		return
	}
	if o.sequence == s.writingNow {
		s.writingNow = -1
		o.first = j.life
		s.unsent++
		if s.pending[s.unsent-1] == nil && o.first == s.life { // it is acknowledged already
			s.settle(s.unsent - 1)
		}
		s.trim()
	} else {
		o.resent++
	}
	o.last = j.life
	o.sentAt = now
}

// reconnected begins another life. The plugin acknowledges a message once and
// never again, so that those whose acknowledgement was lost with a connection
// look as if they had been lost themselves. They are written again, and after
// them an empty message: over one connection everything comes in its order, so
// with its acknowledgement the others are known to have come before.
func (s *sender) reconnected(now time.Time) {
	s.life++
	s.redo = s.base()
	if s.unsent > 0 || s.writingNow >= 0 {
		s.queue(PayloadOutput, nil, now)
	}
}

// doubtful returns the next message that was written in an earlier life only.
func (s *sender) doubtful() *outgoing {
	for s.redo = max(s.redo, s.base()); s.redo < s.base()+int64(s.unsent); s.redo++ {
		if o := s.pending[s.redo-s.base()]; o != nil && o.last < s.life {
			return o
		}
	}
	return nil
}

// base is the sequence number of pending's first.
func (s *sender) base() int64 { return s.sequence - int64(len(s.pending)) }

// acknowledged takes note that the peer has a message. It says whether that
// was news.
func (s *sender) acknowledged(sequence int64, now time.Time) bool {
	i := sequence - s.base()
	if i < 0 || i >= int64(len(s.pending)) || s.pending[i] == nil {
		return false
	}
	if i >= int64(s.unsent) && sequence != s.writingNow {
		return false // what was not written cannot have arrived
	}
	o := s.pending[i]
	s.pending[i] = nil
	s.bytes -= o.cost
	if o.sequence != s.writingNow && o.first == s.life {
		s.settle(int(i))
	}
	if !o.sentAt.IsZero() && o.resent == 0 { // else nobody knows which of them was acknowledged
		s.measured(now.Sub(o.sentAt))
	}
	s.trim()
	return true
}

// settle forgets what the peer has had since an earlier life, before the message
// at index i of pending, which this life wrote first and which has come.
func (s *sender) settle(i int) {
	for k, o := range s.pending[:i] {
		if o != nil && o.first < s.life && o.last == s.life {
			s.pending[k] = nil
			s.bytes -= o.cost
		}
	}
}

// trim forgets the messages before the first that is not acknowledged.
func (s *sender) trim() {
	n := 0
	for n < s.unsent && s.pending[n] == nil {
		n++
	}
	s.pending, s.unsent = s.pending[n:], s.unsent-n
}

// measured adapts the timeout to a round trip (RFC 6298's smoothing, with the
// plugin's bounds).
func (s *sender) measured(trip time.Duration) {
	s.variance += ((s.trip - trip).Abs() - s.variance) / 4
	s.trip += (trip - s.trip) / 8
	s.timeout = min(max(s.trip+max(granularity, 4*s.variance), firstTimeout), maxTimeout)
}

// idle says whether all is written and acknowledged.
func (s *sender) idle() bool {
	return len(s.pending) == 0 && len(s.acks) == 0 && len(s.controls) == 0 && !s.writing
}

func (a ack) encode(now time.Time) []byte {
	content, err := json.Marshal(Acknowledgement{Type: a.kind, ID: a.id.String(), Sequence: a.sequence, IsSequential: true})
	if err != nil {
		panic(err) // of strings and a number
	}
	m := Message{Type: TypeAck, Created: now, Flags: flagSYN | flagFIN, ID: uuid.New(), Payload: content}
	return m.Append(make([]byte, 0, headerBytes+4+len(content)))
}
