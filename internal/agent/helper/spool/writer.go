package spool

import (
	"os"
	"path/filepath"
)

// Writer appends records. Only the holder of Lock may have one. It is not safe for concurrent use.
type Writer struct {
	dir          string
	segmentBytes int64

	file *os.File // the newest segment; nil before the first flush
	size int64    // its length up to the last whole record

	index uint64 // of the next record to be buffered
	total uint64 // record bytes written and buffered

	buffer   []byte
	buffered uint64 // records in buffer
	lastTime int64
}

// OpenWriter goes on after the last whole record in dir, in a new segment that begins with a Begin record of the
// given time. Segments hold about segmentBytes.
func OpenWriter(dir string, segmentBytes int64, now int64) (*Writer, error) {
	found, err := segments(dir)
	if err != nil {
		return nil, err
	}
	w := &Writer{dir: dir, segmentBytes: segmentBytes}
	if len(found) > 0 {
		if err := w.recover(segmentPath(dir, found[len(found)-1])); err != nil {
			return nil, err
		}
	}
	w.Append(Record{Kind: Begin, Time: now})
	if err := w.Flush(); err != nil {
		return nil, err
	}
	return w, nil
}

// recover finds where the newest segment of a predecessor ends.
func (w *Writer) recover(path string) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	head, err := decodeHeader(data)
	if err != nil {
		return &os.PathError{Op: "read segment", Path: path, Err: err}
	}
	w.index, w.total = head.index, head.total
	for data = data[headerBytes:]; ; {
		record, n, err := DecodeRecord(data)
		if err != nil {
			return nil // the torn tail stays where it is; readers skip it when they see our segment
		}
		data = data[n:]
		w.index++
		w.total += uint64(n)
		w.lastTime = record.Time
	}
}

// Append buffers a record; Flush writes it. The clock may go back, the times of the records do not.
func (w *Writer) Append(r Record) {
	r.Time = max(r.Time, w.lastTime)
	w.lastTime = r.Time
	w.buffer = AppendRecord(w.buffer, r)
	w.buffered++
	w.index++
	w.total += uint64(r.Size())
}

// Buffered is the number of bytes that await Flush.
func (w *Writer) Buffered() int { return len(w.buffer) }

// Total is the number of record bytes ever appended to this spool, buffered ones included.
func (w *Writer) Total() uint64 { return w.total }

// Flush writes the buffered records with one write, in a new segment when the present one is full. After an error
// nothing of them is in the spool and all of them are still buffered, so that Flush can be tried again.
func (w *Writer) Flush() error {
	if len(w.buffer) == 0 {
		return nil
	}
	if w.file == nil || w.size+int64(len(w.buffer)) > w.segmentBytes {
		if err := w.rotate(); err != nil {
			return err
		}
	} else if _, err := w.file.Write(w.buffer); err != nil {
		// A part may have been written (a full disk): take it back, or the records after it could not be found.
		if undo := w.file.Truncate(w.size); undo != nil {
			return undo
		}
		return err
	} else {
		w.size += int64(len(w.buffer))
	}
	w.buffer, w.buffered = w.buffer[:0], 0
	return nil
}

// rotate writes the buffer as the beginning of a new segment, which becomes visible whole or not at all.
func (w *Writer) rotate() error {
	head := header{index: w.index - w.buffered, total: w.total - uint64(len(w.buffer))}
	data := append(head.append(make([]byte, 0, headerBytes+len(w.buffer))), w.buffer...)
	// O_APPEND keeps the offset right after the Truncate of a failed write.
	tmp, err := os.OpenFile(filepath.Join(w.dir, "segment.tmp"), os.O_CREATE|os.O_TRUNC|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	if _, err := tmp.Write(data); err != nil {
		tmp.Close()
		return err
	}
	if err := os.Rename(tmp.Name(), segmentPath(w.dir, head.index)); err != nil {
		tmp.Close()
		return err
	}
	if w.file != nil {
		w.file.Close()
	}
	w.file, w.size = tmp, int64(len(data))
	return nil
}

// Close flushes and closes.
func (w *Writer) Close() error {
	err := w.Flush()
	if w.file != nil {
		if closing := w.file.Close(); err == nil {
			err = closing
		}
	}
	return err
}

// Reset throws the buffered records away. The spool must not be appended to afterwards except to be closed: their
// indices are used up.
func (w *Writer) Reset() { w.buffer, w.buffered = w.buffer[:0], 0 }
