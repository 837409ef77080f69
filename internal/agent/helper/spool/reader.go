package spool

import (
	"errors"
	"io"
	"os"
)

// readBytes is how much a reader takes from a segment at once.
const readBytes = 128 << 10

// Reader reads the records of a spool in order, while a writer may be appending. It is not safe for concurrent use.
type Reader struct {
	dir string

	file *os.File
	base uint64 // first index of the open segment

	next  uint64 // index of the next record in the open segment
	total uint64 // record bytes before it
	from  uint64 // records before this index are not returned
	lost  uint64 // records that a damaged segment swallowed

	store []byte
	buf   []byte // the part of store that was read and not yet decoded
}

// NewReader returns a reader whose first record is the one with index from.
func NewReader(dir string, from uint64) *Reader {
	return &Reader{dir: dir, next: from, from: from}
}

// Index is the index of the record that Next returns next.
func (r *Reader) Index() uint64 { return max(r.next, r.from) }

// Total is the number of record bytes before the next record.
func (r *Reader) Total() uint64 { return r.total }

// Lost is the number of records that could not be read because a segment was damaged or missing.
func (r *Reader) Lost() uint64 { return r.lost }

// Close closes the open segment.
func (r *Reader) Close() error {
	if r.file == nil {
		return nil
	}
	err := r.file.Close()
	r.file = nil
	return err
}

// Next returns the next record and its index. The payload is valid until the next call. The error is io.EOF when
// there is no whole record at present: a later call may find one.
func (r *Reader) Next() (Record, uint64, error) {
	for {
		record, err := r.step()
		if err != nil {
			return Record{}, 0, err
		}
		if index := r.next - 1; index >= r.from {
			return record, index, nil
		}
	}
}

// step returns the next record of the segments, wanted or not.
func (r *Reader) step() (Record, error) {
	if r.file == nil {
		if err := r.openFirst(); err != nil {
			return Record{}, err
		}
	}
	for {
		record, n, err := DecodeRecord(r.buf)
		if err == nil {
			r.buf = r.buf[n:]
			r.next++
			r.total += uint64(n)
			return record, nil
		}
		if err == ErrShort {
			grown, err := r.fill()
			if err != nil {
				return Record{}, err
			}
			if grown {
				continue
			}
		}
		// At the end, torn, or damaged: in each case only a newer segment can go on.
		moved, err := r.advance()
		if err != nil {
			return Record{}, err
		}
		if !moved {
			return Record{}, io.EOF
		}
	}
}

// fill reads more of the open segment and says whether there was any.
func (r *Reader) fill() (bool, error) {
	if r.store == nil {
		r.store = make([]byte, frameBytes+maxBody+readBytes)
	}
	// What is left is less than one record, so there is always room behind it.
	left := copy(r.store, r.buf)
	r.buf = r.store[:left]
	n, err := r.file.Read(r.store[left:])
	if n == 0 {
		if err == nil || err == io.EOF {
			return false, nil
		}
		return false, err
	}
	r.buf = r.store[:left+n]
	return true, nil
}

// openFirst opens the segment that holds the record from, or the oldest one when that is gone.
func (r *Reader) openFirst() error {
	found, err := segments(r.dir)
	if err != nil {
		return err
	}
	if len(found) == 0 {
		return io.EOF
	}
	chosen := found[0]
	for _, index := range found {
		if index <= r.from {
			chosen = index
		}
	}
	if r.from > 0 && chosen > r.from { // a reader that knows no place starts with what there is
		r.lost += chosen - r.from
	}
	return r.open(chosen)
}

// advance goes to the segment after the open one when there is one, and says whether it did or whether the open
// one turned out to hold more.
func (r *Reader) advance() (bool, error) {
	successor, ok, err := r.successor()
	if err != nil || !ok {
		return false, err
	}
	// The successor was made after the last write to the open segment: what is read now is all there ever is.
	if _, _, err := DecodeRecord(r.buf); err == ErrShort {
		if grown, err := r.fill(); err != nil || grown {
			return grown, err
		}
	}
	if successor > r.next {
		r.lost += successor - max(r.next, r.from)
	}
	return true, r.open(successor)
}

func (r *Reader) successor() (uint64, bool, error) {
	if len(r.buf) == 0 {
		// The ordinary case at the end of a segment, and of every read: one stat instead of a listing.
		_, err := os.Stat(segmentPath(r.dir, r.next))
		if err == nil && r.next != r.base {
			return r.next, true, nil
		}
		if errors.Is(err, os.ErrNotExist) {
			return 0, false, nil
		}
		if err != nil {
			return 0, false, err
		}
	}
	found, err := segments(r.dir)
	if err != nil {
		return 0, false, err
	}
	for _, index := range found {
		if index > r.base {
			return index, true, nil
		}
	}
	return 0, false, nil
}

func (r *Reader) open(index uint64) error {
	path := segmentPath(r.dir, index)
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	var raw [headerBytes]byte
	if _, err := io.ReadFull(file, raw[:]); err != nil {
		file.Close()
		return &os.PathError{Op: "read segment", Path: path, Err: err}
	}
	head, err := decodeHeader(raw[:])
	if err != nil {
		file.Close()
		return &os.PathError{Op: "read segment", Path: path, Err: err}
	}
	if r.file != nil {
		r.file.Close()
	}
	r.file, r.buf = file, nil
	r.base, r.next, r.total = head.index, head.index, head.total
	return nil
}
