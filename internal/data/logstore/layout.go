package logstore

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"
)

// layoutVersion is the version of the keys and values described in DESIGN.md.
const layoutVersion = 1

// The first byte of every key.
const (
	kindMeta   = 'm'
	kindGroup  = 'g'
	kindBytes  = 'b'
	kindStream = 's'
	kindMark   = 'd'
	kindEvent  = 'e'
)

// key builds a key from its kind and its numeric components.
func key(kind byte, numbers ...uint64) []byte {
	k := make([]byte, 1, 1+8*len(numbers)+64)
	k[0] = kind
	for _, n := range numbers {
		k = binary.BigEndian.AppendUint64(k, n)
	}
	return k
}

func versionKey() []byte  { return []byte{kindMeta, 'v'} }
func countersKey() []byte { return []byte{kindMeta, 'c'} }

func groupKey(name string) []byte { return append(key(kindGroup), name...) }

func streamKey(gid uint64, name string) []byte { return append(key(kindStream, gid), name...) }

func markKey(gid, sid uint64, source string) []byte {
	return append(key(kindMark, gid, sid), source...)
}

func eventKey(gid, sid uint64, p Position) []byte {
	return key(kindEvent, gid, sid, uint64(p.Timestamp), uint64(p.Ingestion), p.Sequence)
}

const eventKeyLen = 1 + 5*8

// positionOf reads the position at the end of an event's key.
func positionOf(k []byte) (Position, error) {
	if len(k) != eventKeyLen || k[0] != kindEvent {
		return Position{}, fmt.Errorf("log store: %x is not the key of an event", k)
	}
	return Position{
		Timestamp: int64(binary.BigEndian.Uint64(k[17:])),
		Ingestion: int64(binary.BigEndian.Uint64(k[25:])),
		Sequence:  binary.BigEndian.Uint64(k[33:]),
	}, nil
}

// prefixEnd returns the first key after all keys that begin with prefix. The
// kinds are letters, so there always is one.
func prefixEnd(prefix []byte) []byte {
	end := append([]byte(nil), prefix...)
	for i := len(end) - 1; ; i-- {
		if end[i] != math.MaxUint8 {
			end[i]++
			return end[:i+1]
		}
	}
}

// counters is what the whole store counts.
type counters struct {
	nextID        uint64 // of groups and streams
	nextSequence  uint64 // of events
	lastIngestion int64  // highest ingestion time given to an event, ms
}

func (c counters) encode() []byte {
	b := binary.BigEndian.AppendUint64(nil, c.nextID)
	b = binary.BigEndian.AppendUint64(b, c.nextSequence)
	return binary.BigEndian.AppendUint64(b, uint64(c.lastIngestion))
}

func decodeCounters(b []byte) (counters, error) {
	if len(b) != 24 {
		return counters{}, fmt.Errorf("log store: counters have %d bytes, not 24", len(b))
	}
	return counters{
		nextID:        binary.BigEndian.Uint64(b),
		nextSequence:  binary.BigEndian.Uint64(b[8:]),
		lastIngestion: int64(binary.BigEndian.Uint64(b[16:])),
	}, nil
}

// groupRecord is the stored form of a group.
type groupRecord struct {
	ID      uint64 `json:"id"`
	Created int64  `json:"created"`
	GroupSettings
}

func (g *groupRecord) encode() ([]byte, error) {
	body, err := json.Marshal(g)
	if err != nil {
		return nil, fmt.Errorf("log store: encoding a group: %w", err)
	}
	return append([]byte{layoutVersion}, body...), nil
}

func decodeGroup(b []byte) (*groupRecord, error) {
	if len(b) == 0 || b[0] != layoutVersion {
		return nil, fmt.Errorf("log store: group record of an unknown version")
	}
	g := new(groupRecord)
	if err := json.Unmarshal(b[1:], g); err != nil {
		return nil, fmt.Errorf("log store: decoding a group: %w", err)
	}
	return g, nil
}

// streamRecord is the stored form of a stream. minTimestamp and maxTimestamp
// enclose the timestamps of its events; both mean nothing while count is zero.
type streamRecord struct {
	id            uint64
	created       int64
	count         uint64 // events on disk, expired ones included
	bytes         int64  // messages and their overhead
	minTimestamp  int64
	maxTimestamp  int64
	lastIngestion int64 // zero before the first event
}

const streamRecordLen = 1 + 7*8

func (r *streamRecord) encode() []byte {
	b := make([]byte, 1, streamRecordLen)
	b[0] = layoutVersion
	for _, n := range [...]uint64{
		r.id, uint64(r.created), r.count, uint64(r.bytes),
		uint64(r.minTimestamp), uint64(r.maxTimestamp), uint64(r.lastIngestion),
	} {
		b = binary.BigEndian.AppendUint64(b, n)
	}
	return b
}

func decodeStream(b []byte) (*streamRecord, error) {
	if len(b) != streamRecordLen || b[0] != layoutVersion {
		return nil, fmt.Errorf("log store: stream record of an unknown version")
	}
	at := func(i int) uint64 { return binary.BigEndian.Uint64(b[1+8*i:]) }
	return &streamRecord{
		id: at(0), created: int64(at(1)), count: at(2), bytes: int64(at(3)),
		minTimestamp: int64(at(4)), maxTimestamp: int64(at(5)), lastIngestion: int64(at(6)),
	}, nil
}

func decodeUint64(b []byte) (uint64, error) {
	if len(b) != 8 {
		return 0, fmt.Errorf("log store: a number has %d bytes, not 8", len(b))
	}
	return binary.BigEndian.Uint64(b), nil
}
