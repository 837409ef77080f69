package image

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"io"
	"syscall"
	"testing"
	"time"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"berth.dev/berth/internal/agent/runtime"
	"berth.dev/berth/internal/model"
)

func TestInside(t *testing.T) {
	for _, tt := range []struct {
		header tar.Header
		ok     bool
	}{
		{tar.Header{Name: "etc/passwd"}, true},
		{tar.Header{Name: "/etc/passwd"}, true},
		{tar.Header{Name: "a/../b"}, true},
		{tar.Header{Name: "..data/x"}, true},
		{tar.Header{Name: "a", Typeflag: tar.TypeSymlink, Linkname: "../../../x"}, true}, // followed inside only
		{tar.Header{Name: "a", Typeflag: tar.TypeLink, Linkname: "b/c"}, true},
		{tar.Header{Name: ".."}, false},
		{tar.Header{Name: "../x"}, false},
		{tar.Header{Name: "a/../../x"}, false},
		{tar.Header{Name: "/../x"}, false},
		{tar.Header{Name: "a", Typeflag: tar.TypeLink, Linkname: "../x"}, false},
	} {
		if ok, err := inside(&tt.header); ok != tt.ok || (err == nil) != tt.ok || err != nil && classify(err) != runtime.PullCorrupt {
			t.Errorf("%q to %q: %t, %v", tt.header.Name, tt.header.Linkname, ok, err)
		}
	}
}

func TestRoom(t *testing.T) {
	disk := Disk{Total: 100 << 30, Free: 50 << 30}
	r := newRoom(100, func() (Disk, error) { return disk, nil })
	in := &boundedReader{Reader: bytes.NewReader(make([]byte, 101)), room: r}
	if _, err := io.Copy(io.Discard, in); !errors.Is(err, errTooLarge) || classify(err) != runtime.PullTooLarge {
		t.Errorf("one byte too many: %v", err)
	}
	// The disk is looked at again after a while.
	disk.Free = 1<<30 - 1
	r = newRoom(0, func() (Disk, error) { return disk, nil })
	if err := r.take(checkEvery - 1); err != nil {
		t.Errorf("too early: %v", err)
	}
	if err := r.take(1); !errors.Is(err, syscall.ENOSPC) || classify(err) != runtime.PullNoSpace {
		t.Errorf("a full disk: %v", err)
	}
	for _, tt := range []struct {
		disk    Disk
		used    int
		reserve uint64
	}{
		{Disk{}, 0, 0},
		{Disk{Total: 1000, Free: 250}, 75, 20},
		{Disk{Total: 1000, Free: 2000}, 0, 20},
		{Disk{Total: 1 << 40, Free: 1 << 30}, 99, 1 << 30},
	} {
		if tt.disk.used() != tt.used || tt.disk.reserve() != tt.reserve {
			t.Errorf("%+v: %d%%, %d", tt.disk, tt.disk.used(), tt.disk.reserve())
		}
	}
}

func TestProgress(t *testing.T) {
	var p progress
	if got := p.snapshot(); got != (model.PullProgress{}) {
		t.Errorf("before the manifest: %+v", got)
	}
	layer := func(name string, size int64) ocispec.Descriptor {
		return ocispec.Descriptor{Digest: digest.FromString(name), Size: size}
	}
	a, b, c := layer("a", 10), layer("b", 20), layer("c", 30)
	p.expect([]ocispec.Descriptor{a, b, c, b})
	p.arrived(digest.FromString("config"), 99)
	for _, tt := range []struct {
		of   ocispec.Descriptor
		n    int64
		want model.PullProgress
	}{
		{b, 5, model.PullProgress{Bytes: 15, Total: 60, Layers: 3, LayersDone: 1}}, // a is unpacked already
		{c, 30, model.PullProgress{Bytes: 45, Total: 60, Layers: 3, LayersDone: 2}},
		{b, 20, model.PullProgress{Bytes: 60, Total: 60, Layers: 3, LayersDone: 3}},
		{b, 3, model.PullProgress{Bytes: 43, Total: 60, Layers: 3, LayersDone: 2}}, // begun anew
	} {
		p.arrived(tt.of.Digest, tt.n)
		if got := p.snapshot(); got != tt.want {
			t.Errorf("got %+v, want %+v", got, tt.want)
		}
	}
}

func TestRank(t *testing.T) {
	at := func(hour int) time.Time { return time.Date(2026, 1, 1, hour, 0, 0, 0, time.UTC) }
	id := func(name string) digest.Digest { return digest.FromString(name) }
	record := func(name, content, origin string, used time.Time) images.Image {
		return images.Image{Name: name, Target: ocispec.Descriptor{Digest: id(content)}, Labels: map[string]string{labelOrigin: origin}, UpdatedAt: used}
	}
	pinned := func(content string) string { return "docker.io/library/app@" + id(content).String() }
	got := rank([]images.Image{
		record("docker.io/library/app:new", "new", runtime.SourceRegistry, at(1)), record(pinned("new"), "new", runtime.SourceRegistry, at(2)),
		record("docker.io/library/app:b", "b", runtime.SourceDocker, at(1)),
		record("docker.io/library/app:mine", "mine", runtime.SourceContainerd, at(1)), record(pinned("mine"), "mine", runtime.SourceContainerd, at(1)),
		record(pinned("moved"), "moved", runtime.SourceContainerd, at(9)), // a tag that was imported and means another image now
		record(pinned("gone"), "gone", runtime.SourceRegistry, at(8)),
	}, map[string]time.Time{id("b").String(): at(5)})
	var order []string
	for _, c := range got {
		for _, name := range []string{"new", "b", "mine", "moved", "gone"} {
			if c.digest == id(name).String() {
				order = append(order, name)
			}
		}
	}
	if want := "gone moved new b"; len(order) != 4 || order[0]+" "+order[1]+" "+order[2]+" "+order[3] != want {
		t.Errorf("they go in the order %q, want %q", order, want)
	}
	for _, tt := range []struct {
		high, low int
		ok        bool
	}{{0, 0, true}, {90, 50, true}, {80, 80, false}, {101, 80, false}, {10, 20, false}, {50, -1, false}} {
		if err := (Collection{High: tt.high, Low: tt.low}).Check(); (err == nil) != tt.ok {
			t.Errorf("from %d to %d: %v", tt.high, tt.low, err)
		}
	}
}

// A flight asks in the name of one who still waits.
func TestFlightAsker(t *testing.T) {
	var f flights
	ctx, leave := context.WithCancel(t.Context())
	second := make(chan struct{})
	asked := make(chan string, 2)
	begun := make(chan *flight)
	done := make(chan error, 2)
	go func() {
		_, err := f.do(ctx, "a", &asker{taskID: "first"}, func(_ context.Context, fl *flight) (runtime.Image, error) {
			begun <- fl
			who, _ := fl.asker()
			asked <- who.taskID
			<-second
			who, _ = fl.asker()
			asked <- who.taskID
			return runtime.Image{}, nil
		})
		done <- err
	}()
	fl := <-begun
	if got := <-asked; got != "first" {
		t.Errorf("in the name of %q", got)
	}
	joined := &asker{taskID: "second"}
	if f.join(t.Context(), "a", joined, nil) != fl {
		t.Fatal("the second has work of its own")
	}
	leave()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	close(second)
	if got := <-asked; got != "second" {
		t.Errorf("after the first has left, in the name of %q", got)
	}
	if err := fl.wait(t.Context(), joined); err != nil {
		t.Error(err)
	}
}
