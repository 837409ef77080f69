package logdriver

import (
	"regexp"
	"time"
	"unicode/utf8"

	"berth.dev/berth/internal/agent/helper/spool"
)

// Limits of CloudWatch Logs.
const (
	eventOverheadBytes = 26
	maxEventBytes      = 256<<10 - eventOverheadBytes
	maxBatchBytes      = 1 << 20
	maxBatchEvents     = 10_000
	maxBatchSpan       = 24 * time.Hour
)

// multilineAge is how old a multi-line event gets before it is ended without a further line.
const multilineAge = 5 * time.Second

// Event is one log event.
type Event struct {
	// Seq grows strictly within a source; the first is greater than 0. A receiver that stores only events above the
	// highest Seq it has stored for the source stores each event once.
	Seq       uint64
	Timestamp time.Time // never before that of the event before it
	Message   string    // valid UTF-8, 1 to 262,118 bytes
}

// queued is an event that waits for its delivery.
type queued struct {
	Event
	// after is the checkpoint once the event is acknowledged, nil when only a later event gives one.
	after *spool.Checkpoint
}

// seq numbers within one record.
const (
	seqCut   = 0 // a piece cut from an overlong line
	seqLine  = 1 // the end of a line
	seqFlush = 2 // plus the stream: a line that End or Begin ended
)

func seqOf(index uint64, within int) uint64 { return index<<2 | uint64(within) }

// assembler makes events of records. It is a function of what it is given: no clock, no I/O.
type assembler struct {
	pattern *regexp.Regexp // nil: every line is an event
	marks   [2]spool.Mark  // records of a stream before its mark are not wanted
	cut     uint64         // end the multi-line event whose last line has this Seq

	next    uint64 // index after the last record
	read    uint64 // total after the last record
	time    int64  // of the last record
	partial [2]partialLine
	multi   multiEvent

	queue   []queued
	dropped uint64 // lines that the logger dropped
}

// partialLine is a line of one stream whose end has not come.
type partialLine struct {
	buf   []byte
	parts []part // where the bytes of buf came from
}

type part struct {
	offset int // in buf
	from   spool.Mark
}

// line is a finished line (or a piece of an overlong one).
type line struct {
	stream int
	start  spool.Mark
	seq    uint64
	time   int64
	text   string
}

// multiEvent is a multi-line event whose end has not come.
type multiEvent struct {
	open  bool
	text  []byte
	time  int64
	seq   uint64         // of its last line
	first [2]*spool.Mark // where its first line of each stream begins
}

func newAssembler(pattern *regexp.Regexp, from spool.Checkpoint) *assembler {
	return &assembler{pattern: pattern, marks: from.Marks, cut: from.Cut, next: from.Resume(), read: from.Read}
}

// add takes the record with that index, after which the spool's total is read.
func (a *assembler) add(r spool.Record, index, read uint64) {
	before := len(a.queue)
	a.next, a.read, a.time = index+1, max(a.read, read), r.Time
	switch r.Kind {
	case spool.Begin, spool.End:
		a.flush(index, r.Time)
	default:
		stream := int(r.Stream) - 1
		if mark := a.marks[stream]; index > mark.Index || index == mark.Index && int(mark.Skip) <= len(r.Payload) {
			a.addOutput(r, stream, index)
		}
	}
	a.stamp(before)
}

func (a *assembler) addOutput(r spool.Record, stream int, index uint64) {
	p := &a.partial[stream]
	if r.Kind == spool.Dropped {
		a.dropped += r.Count()
		a.finish(stream, seqOf(index, seqLine), r.Time)
		return
	}
	from, payload := spool.Mark{Index: index}, r.Payload
	if mark := a.marks[stream]; mark.Index == index {
		from, payload = mark, payload[mark.Skip:]
	}
	p.parts = append(p.parts, part{offset: len(p.buf), from: from})
	p.buf = append(p.buf, payload...)
	if length, over := fitting(p.buf, r.Kind == spool.Line); over {
		a.line(line{stream: stream, start: p.parts[0].from, seq: seqOf(index, seqCut), time: r.Time, text: text(p.buf[:length])})
		p.drop(length)
	}
	if r.Kind == spool.Line {
		a.finish(stream, seqOf(index, seqLine), r.Time)
	}
}

// finish ends the unfinished line of a stream, if there is one.
func (a *assembler) finish(stream int, seq uint64, at int64) {
	p := &a.partial[stream]
	if len(p.parts) == 0 {
		return
	}
	done := line{stream: stream, start: p.parts[0].from, seq: seq, time: at, text: text(p.buf)}
	*p = partialLine{buf: p.buf[:0], parts: p.parts[:0]}
	a.line(done)
}

// flush ends everything that is unfinished, at a record that ends a logger's life.
func (a *assembler) flush(index uint64, at int64) {
	for stream := range a.partial {
		a.finish(stream, seqOf(index, seqFlush+stream), at)
	}
	a.endMulti()
}

// flushDead does what a Begin record would do that follows the last record.
func (a *assembler) flushDead() {
	before := len(a.queue)
	a.flush(a.next, a.time)
	a.stamp(before)
}

// flushAged ends the multi-line event because of its age and returns the Cut that must be on disk before it is delivered.
func (a *assembler) flushAged() uint64 {
	before := len(a.queue)
	a.cut = a.multi.seq
	a.endMulti()
	a.stamp(before)
	return a.cut
}

// line makes an event of a finished line, or adds it to one.
func (a *assembler) line(l line) {
	if a.pattern == nil {
		if l.text != "" { // CloudWatch Logs refuses empty messages
			a.queue = append(a.queue, queued{Event: Event{Seq: l.seq, Timestamp: time.Unix(0, l.time), Message: l.text}})
		}
		return
	}
	m := &a.multi
	size := len(l.text)
	if size < maxEventBytes {
		size++ // its newline
	}
	if m.open && (len(m.text)+size > maxEventBytes || a.pattern.MatchString(l.text)) {
		a.endMulti()
	}
	if !m.open {
		m.open, m.time = true, l.time
	}
	m.text = append(m.text, l.text...)
	if len(l.text) < maxEventBytes {
		m.text = append(m.text, '\n')
	}
	m.seq = l.seq
	if m.first[l.stream] == nil {
		m.first[l.stream] = &l.start
	}
	if m.seq == a.cut {
		a.endMulti()
	}
}

func (a *assembler) endMulti() {
	if m := &a.multi; m.open {
		a.queue = append(a.queue, queued{Event: Event{Seq: m.seq, Timestamp: time.Unix(0, m.time), Message: string(m.text)}})
		a.multi = multiEvent{text: m.text[:0]}
	}
}

// stamp gives the last event queued since before the checkpoint that holds after it.
func (a *assembler) stamp(before int) {
	if len(a.queue) > before {
		checkpoint := a.checkpoint()
		a.queue[len(a.queue)-1].after = &checkpoint
	}
}

// checkpoint is where to start again when everything queued has been acknowledged.
func (a *assembler) checkpoint() spool.Checkpoint {
	c := spool.Checkpoint{Read: a.read, Cut: a.cut}
	for stream := range c.Marks {
		switch {
		case a.multi.first[stream] != nil:
			c.Marks[stream] = *a.multi.first[stream]
		case len(a.partial[stream].parts) > 0:
			c.Marks[stream] = a.partial[stream].parts[0].from
		case a.next > a.marks[stream].Index:
			c.Marks[stream] = spool.Mark{Index: a.next}
		default: // this stream was further than the other when we started, and is not reached again yet
			c.Marks[stream] = a.marks[stream]
		}
	}
	return c
}

// drop takes the first length bytes away, which are not all.
func (p *partialLine) drop(length int) {
	rest := p.markAt(length)
	keep := p.parts[:0]
	for _, old := range p.parts {
		if old.offset > length {
			keep = append(keep, part{offset: old.offset - length, from: old.from})
		}
	}
	n := copy(p.buf, p.buf[length:])
	p.buf = p.buf[:n]
	p.parts = append([]part{{from: rest}}, keep...)
}

// markAt is where the byte at offset is in the spool.
func (p *partialLine) markAt(offset int) spool.Mark {
	at := p.parts[0]
	for _, candidate := range p.parts {
		if candidate.offset <= offset {
			at = candidate
		}
	}
	return spool.Mark{Index: at.from.Index, Skip: at.from.Skip + uint32(offset-at.offset)}
}

// fitting is the length of the longest beginning of b, ending between characters, that makes an event's message; over says
// that b does not fit as a whole. A character whose end may still come is not judged, unless b is the whole line.
func fitting(b []byte, whole bool) (length int, over bool) {
	if len(b)*utf8.RuneLen(utf8.RuneError) <= maxEventBytes {
		return len(b), false
	}
	size := 0
	for at := 0; at < len(b) && (whole || utf8.FullRune(b[at:])); {
		r, width := utf8.DecodeRune(b[at:])
		size += utf8.RuneLen(r)
		if size > maxEventBytes {
			return at, true
		}
		at += width
	}
	return len(b), false
}

// text is b with each byte that is not UTF-8 replaced by U+FFFD.
func text(b []byte) string {
	if utf8.Valid(b) {
		return string(b)
	}
	return string([]rune(string(b)))
}
