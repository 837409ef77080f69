package image

import (
	"errors"
	"fmt"
	"io"
	"sync/atomic"
	"syscall"
)

// checkEvery is how many bytes are written between two looks at the disk.
const checkEvery = 16 << 20

var (
	errNoSeek = errors.New("the registry's answer cannot be positioned")
	// errTooLarge says that an image unpacks to more than this host allows.
	errTooLarge = errors.New("the image is too large")
)

// Disk is how full the disk with containerd's content is.
type Disk struct {
	Total, Free uint64 // bytes; Free is what may still be written
}

// used is the share that is in use, in percent.
func (d Disk) used() int {
	if d.Total == 0 {
		return 0
	}
	return int((d.Total - min(d.Free, d.Total)) * 100 / d.Total)
}

// reserve is what an image must leave free: the node itself has to write down what happens to its tasks.
func (d Disk) reserve() uint64 { return min(d.Total/50, 1<<30) }

// room is how much one image may still write. It may be used by several goroutines.
type room struct {
	disk    func() (Disk, error)
	limit   int64 // of the unpacked size; 0 is none
	left    atomic.Int64
	written atomic.Int64 // since the disk was last looked at
}

func newRoom(limit int64, disk func() (Disk, error)) *room {
	r := &room{disk: disk, limit: limit}
	r.left.Store(limit)
	return r
}

// check fails when the disk has no more than its reserve.
func (r *room) check() error {
	if r.disk == nil {
		return nil
	}
	d, err := r.disk()
	if err != nil {
		return fmt.Errorf("look at the disk for images: %w", err)
	}
	if d.Free < d.reserve() {
		return fmt.Errorf("only %d MiB are free on the disk for images, and %d MiB have to stay so: %w", d.Free>>20, d.reserve()>>20, syscall.ENOSPC)
	}
	return nil
}

// take says that n more bytes are written.
func (r *room) take(n int) error {
	if r.written.Add(int64(n)) < checkEvery {
		return nil
	}
	r.written.Store(0)
	return r.check()
}

// unpacked says that n more bytes of the image are unpacked.
func (r *room) unpacked(n int) error {
	if r.limit > 0 && r.left.Add(-int64(n)) < 0 {
		return fmt.Errorf("it unpacks to more than %d MiB: %w", r.limit>>20, errTooLarge)
	}
	return r.take(n)
}

// boundedReader is an unpacked layer that takes room.
type boundedReader struct {
	io.Reader
	room *room
	n    int64
}

func (r *boundedReader) Read(p []byte) (int, error) {
	n, err := r.Reader.Read(p)
	r.n += int64(n)
	if full := r.room.unpacked(n); full != nil {
		return 0, full
	}
	return n, err
}
