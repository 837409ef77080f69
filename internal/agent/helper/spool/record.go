package spool

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
)

// Kind says what a record is.
type Kind uint8

// The kinds of records. Their values are the file format.
const (
	// Line is the last piece of a line (mostly its only one), without the newline.
	Line Kind = 1
	// Partial is a piece of exactly MaxPayload bytes whose line goes on in the stream's next record.
	Partial Kind = 2
	// Dropped says that lines of its stream were dropped at this place; the payload is their count (u64).
	// It ends a line of which pieces had been written already.
	Dropped Kind = 3
	// Begin is the first record of a logger's life: what its predecessor left unfinished stays unfinished.
	Begin Kind = 4
	// End is the last record of a logger that saw both streams end.
	End Kind = 5
)

// Stream says where a record came from.
type Stream uint8

// The streams. Begin and End belong to none.
const (
	NoStream Stream = 0
	Stdout   Stream = 1
	Stderr   Stream = 2
)

// MaxPayload is the largest payload in bytes: Docker's size of a partial message.
const MaxPayload = 16 << 10

const (
	frameBytes = 8     // length and crc
	bodyBytes  = 2 + 8 // kind, stream, time
	maxBody    = bodyBytes + MaxPayload
)

// Record is one entry of the spool.
type Record struct {
	Kind    Kind
	Stream  Stream
	Time    int64 // Unix nanoseconds; never less than that of the record before it
	Payload []byte
}

// Size is the number of bytes the record takes in a segment.
func (r Record) Size() int { return frameBytes + bodyBytes + len(r.Payload) }

// Count is the number of lines that a Dropped record tells of.
func (r Record) Count() uint64 {
	if r.Kind != Dropped || len(r.Payload) != 8 {
		return 0
	}
	return binary.LittleEndian.Uint64(r.Payload)
}

// DroppedRecord tells that count lines of a stream were dropped.
func DroppedRecord(stream Stream, time int64, count uint64) Record {
	return Record{Kind: Dropped, Stream: stream, Time: time, Payload: binary.LittleEndian.AppendUint64(nil, count)}
}

var (
	// ErrShort means that the bytes end before the record does: more may come, or the record is torn.
	ErrShort = errors.New("spool: record is not complete")
	// ErrCorrupt means that the bytes are no record, and more bytes will not make them one.
	ErrCorrupt = errors.New("spool: record is corrupt")
)

func checksum(b []byte) uint32 {
	// MakeTable answers the one shared table for Castagnoli, it builds nothing here.
	return crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli))
}

// AppendRecord appends the encoding of r, whose payload must not exceed MaxPayload.
func AppendRecord(dst []byte, r Record) []byte {
	start := len(dst)
	dst = append(dst, 0, 0, 0, 0, 0, 0, 0, 0, byte(r.Kind), byte(r.Stream))
	dst = binary.LittleEndian.AppendUint64(dst, uint64(r.Time))
	dst = append(dst, r.Payload...)
	body := dst[start+frameBytes:]
	binary.LittleEndian.PutUint32(dst[start:], uint32(len(body)))
	binary.LittleEndian.PutUint32(dst[start+4:], checksum(body))
	return dst
}

// DecodeRecord reads the record at the start of b and returns it with the number of bytes it takes. The payload
// aliases b. The error is ErrShort or ErrCorrupt.
func DecodeRecord(b []byte) (Record, int, error) {
	if len(b) < frameBytes {
		return Record{}, 0, ErrShort
	}
	length := binary.LittleEndian.Uint32(b)
	if length < bodyBytes || length > maxBody {
		return Record{}, 0, ErrCorrupt
	}
	if len(b) < frameBytes+int(length) {
		return Record{}, 0, ErrShort
	}
	body := b[frameBytes : frameBytes+int(length)]
	if checksum(body) != binary.LittleEndian.Uint32(b[4:]) {
		return Record{}, 0, ErrCorrupt
	}
	r := Record{
		Kind:    Kind(body[0]),
		Stream:  Stream(body[1]),
		Time:    int64(binary.LittleEndian.Uint64(body[2:])),
		Payload: body[bodyBytes:],
	}
	if !r.valid() {
		return Record{}, 0, ErrCorrupt
	}
	return r, frameBytes + int(length), nil
}

func (r Record) valid() bool {
	switch r.Kind {
	case Line, Partial:
		return r.Stream == Stdout || r.Stream == Stderr
	case Dropped:
		return (r.Stream == Stdout || r.Stream == Stderr) && len(r.Payload) == 8
	case Begin, End:
		return r.Stream == NoStream && len(r.Payload) == 0
	default:
		return false
	}
}
