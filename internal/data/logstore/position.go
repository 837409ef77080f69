package logstore

import (
	"cmp"
	"fmt"
	"strconv"
)

// MaxTimestamp is the latest time an event can have, in milliseconds since the
// epoch. It is what fits into the digits of an event id.
const MaxTimestamp int64 = 1e17 - 1

// Position says where an event is among all events. Positions are unique, and
// their order (timestamp, then ingestion, then sequence) is the order in which
// events are returned. The zero Position comes before every event.
type Position struct {
	Timestamp int64  // when the event happened, milliseconds since the epoch
	Ingestion int64  // when it was stored, milliseconds since the epoch; never goes back
	Sequence  uint64 // order of storing, over the whole store; the first event has 1
}

// Compare returns a negative number when p comes before q, zero when they are
// equal and a positive number otherwise.
func (p Position) Compare(q Position) int {
	return cmp.Or(
		cmp.Compare(p.Timestamp, q.Timestamp),
		cmp.Compare(p.Ingestion, q.Ingestion),
		cmp.Compare(p.Sequence, q.Sequence),
	)
}

// The digits of an id. The leading 3 is there because AWS's ids have it and
// because clients that treat ids as numbers would lose leading zeros.
const (
	idDigits        = 56
	timestampDigits = 17
	ingestionDigits = 18
	sequenceDigits  = 20
)

// ID returns the position as 56 decimal digits. Ids order as positions do,
// both as text and as numbers.
func (p Position) ID() string {
	return fmt.Sprintf("3%0*d%0*d%0*d",
		timestampDigits, p.Timestamp, ingestionDigits, p.Ingestion, sequenceDigits, p.Sequence)
}

// ParseID reads what [Position.ID] wrote.
func ParseID(id string) (Position, error) {
	if len(id) != idDigits || id[0] != '3' {
		return Position{}, fmt.Errorf("%q is not an event id", id)
	}
	for i := range len(id) {
		if id[i] < '0' || id[i] > '9' {
			return Position{}, fmt.Errorf("%q is not an event id", id)
		}
	}
	rest := id[1:]
	timestamp, _ := strconv.ParseInt(rest[:timestampDigits], 10, 64) // 17 and 18 digits always fit
	ingestion, _ := strconv.ParseInt(rest[timestampDigits:timestampDigits+ingestionDigits], 10, 64)
	sequence, err := strconv.ParseUint(rest[timestampDigits+ingestionDigits:], 10, 64)
	if err != nil {
		return Position{}, fmt.Errorf("%q is not an event id", id)
	}
	return Position{Timestamp: timestamp, Ingestion: ingestion, Sequence: sequence}, nil
}
