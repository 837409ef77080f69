package spool

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

const (
	segmentMagic  = "BLS1"
	segmentSuffix = ".seg"
	headerBytes   = 4 + 8 + 8 + 4
	nameDigits    = 20 // enough for every uint64
)

// header is what a segment begins with.
type header struct {
	index uint64 // of the first record
	total uint64 // record bytes written to the spool before this segment
}

func (h header) append(dst []byte) []byte {
	start := len(dst)
	dst = append(dst, segmentMagic...)
	dst = binary.LittleEndian.AppendUint64(dst, h.index)
	dst = binary.LittleEndian.AppendUint64(dst, h.total)
	return binary.LittleEndian.AppendUint32(dst, checksum(dst[start:]))
}

func decodeHeader(b []byte) (header, error) {
	if len(b) < headerBytes {
		return header{}, ErrShort
	}
	sum := binary.LittleEndian.Uint32(b[headerBytes-4:])
	if string(b[:4]) != segmentMagic || checksum(b[:headerBytes-4]) != sum {
		return header{}, ErrCorrupt
	}
	return header{index: binary.LittleEndian.Uint64(b[4:]), total: binary.LittleEndian.Uint64(b[12:])}, nil
}

func segmentPath(dir string, index uint64) string {
	digits := strconv.FormatUint(index, 10)
	return filepath.Join(dir, strings.Repeat("0", nameDigits-len(digits))+digits+segmentSuffix)
}

// segments lists the first indices of the segments in dir, ascending.
func segments(dir string) ([]uint64, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var found []uint64
	for _, entry := range entries {
		digits, ok := strings.CutSuffix(entry.Name(), segmentSuffix)
		if !ok || len(digits) != nameDigits {
			continue
		}
		if index, err := strconv.ParseUint(digits, 10, 64); err == nil {
			found = append(found, index)
		}
	}
	slices.Sort(found)
	return found, nil
}

// Trim deletes the segments of dir that hold only records before index. The newest segment always stays, because
// the next writer finds in it where the indices go on.
func Trim(dir string, index uint64) error {
	found, err := segments(dir)
	if err != nil {
		return err
	}
	for i := 0; i+1 < len(found) && found[i+1] <= index; i++ {
		if err := os.Remove(segmentPath(dir, found[i])); err != nil && !os.IsNotExist(err) {
			return err
		}
	}
	return nil
}
