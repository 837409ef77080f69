package spool

import (
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
)

const (
	checkpointMagic = "BLC1"
	checkpointName  = "checkpoint"
	checkpointBytes = 4 + 2*(8+4) + 8 + 8 + 4
)

// Mark is a place in one stream: Skip bytes into the payload of the record with that Index. Everything of the stream
// before it has been acknowledged.
type Mark struct {
	Index uint64
	Skip  uint32
}

// Checkpoint is how far the reader has come.
type Checkpoint struct {
	// Marks of stdout and stderr, in this order. A line of one stream may be unfinished while the other goes on.
	Marks [2]Mark
	// Read is the total of record bytes that the reader has taken and needs no more, or holds for a line that is not
	// yet finished. The writer's Total less Read is the unread backlog.
	Read uint64
	// Cut is the sequence number of the last line of a multi-line event that was ended because of its age, so that
	// a reader started again ends it at the same place. 0 is none.
	Cut uint64
}

// Resume is the index of the first record that a reader started again needs.
func (c Checkpoint) Resume() uint64 { return min(c.Marks[0].Index, c.Marks[1].Index) }

func (c Checkpoint) encode() []byte {
	b := append(make([]byte, 0, checkpointBytes), checkpointMagic...)
	for _, mark := range c.Marks {
		b = binary.LittleEndian.AppendUint64(b, mark.Index)
		b = binary.LittleEndian.AppendUint32(b, mark.Skip)
	}
	b = binary.LittleEndian.AppendUint64(b, c.Read)
	b = binary.LittleEndian.AppendUint64(b, c.Cut)
	return binary.LittleEndian.AppendUint32(b, checksum(b))
}

// ReadCheckpoint reads the checkpoint of dir; a spool that has none is at its beginning. A damaged one is an error
// (ErrCorrupt): starting from the beginning is then right, because the receiver knows what it has.
func ReadCheckpoint(dir string) (Checkpoint, error) {
	path := filepath.Join(dir, checkpointName)
	b, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return Checkpoint{}, nil
	}
	if err != nil {
		return Checkpoint{}, err
	}
	sum := checkpointBytes - 4
	if len(b) != checkpointBytes || string(b[:4]) != checkpointMagic || checksum(b[:sum]) != binary.LittleEndian.Uint32(b[sum:]) {
		return Checkpoint{}, &os.PathError{Op: "read checkpoint", Path: path, Err: ErrCorrupt}
	}
	var c Checkpoint
	at := 4
	for i := range c.Marks {
		c.Marks[i] = Mark{Index: binary.LittleEndian.Uint64(b[at:]), Skip: binary.LittleEndian.Uint32(b[at+8:])}
		at += 12
	}
	c.Read = binary.LittleEndian.Uint64(b[at:])
	c.Cut = binary.LittleEndian.Uint64(b[at+8:])
	return c, nil
}

// WriteCheckpoint replaces the checkpoint of dir, atomically for whoever reads it.
func WriteCheckpoint(dir string, c Checkpoint) error {
	tmp := filepath.Join(dir, checkpointName+".tmp")
	if err := os.WriteFile(tmp, c.encode(), 0o600); err != nil {
		return err
	}
	return os.Rename(tmp, filepath.Join(dir, checkpointName))
}
