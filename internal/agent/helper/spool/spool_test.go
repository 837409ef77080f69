package spool

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func FuzzDecodeRecord(f *testing.F) {
	f.Add(AppendRecord(nil, Record{Kind: Line, Stream: Stdout, Time: 5, Payload: []byte("hello")}))
	f.Add(AppendRecord(nil, DroppedRecord(Stderr, -1, 7)))
	f.Add(AppendRecord(nil, Record{Kind: End}))
	f.Add([]byte{255, 255, 255, 255, 0, 0, 0, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		r, n, err := DecodeRecord(b)
		if err != nil {
			if n != 0 || !errors.Is(err, ErrShort) && !errors.Is(err, ErrCorrupt) {
				t.Fatalf("n = %d, error %v", n, err)
			}
			return
		}
		if got := AppendRecord(nil, r); !bytes.Equal(got, b[:n]) {
			t.Fatalf("decoded %x, which encodes as %x", b[:n], got)
		}
	})
}

func TestRecord_EveryTruncationIsShortAndEveryFlipIsSeen(t *testing.T) {
	whole := AppendRecord(nil, Record{Kind: Partial, Stream: Stderr, Time: 1 << 60, Payload: []byte("some payload")})
	for n := range whole {
		if _, _, err := DecodeRecord(whole[:n]); err != ErrShort {
			t.Errorf("%d of %d bytes: error %v, want ErrShort", n, len(whole), err)
		}
	}
	for i := range 8 * len(whole) {
		flipped := bytes.Clone(whole)
		flipped[i/8] ^= 1 << (i % 8)
		if _, _, err := DecodeRecord(flipped); err == nil {
			t.Errorf("flipping bit %d is not noticed", i)
		}
	}
}

// entry is a record with its payload copied, for comparison.
type entry struct {
	Index  uint64
	Kind   Kind
	Stream Stream
	Text   string
}

func drain(t interface{ Fatalf(string, ...any) }, r *Reader) []entry {
	var got []entry
	for {
		record, index, err := r.Next()
		if err == io.EOF {
			return got
		}
		if err != nil {
			t.Fatalf("Next: %v", err)
		}
		got = append(got, entry{index, record.Kind, record.Stream, string(record.Payload)})
	}
}

// TestSpool_ReadsWhatWasWritten writes through crashes that tear the tail, while readers come and go at any record and
// trim behind them, and checks that each record is read once and in order.
func TestSpool_ReadsWhatWasWritten(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		dir, err := os.MkdirTemp(t.TempDir(), "spool") //nolint:usetesting // short: the path of a socket has 107 characters at most
		if err != nil {
			rt.Fatal(err)
		}
		segment := rapid.Int64Range(64, 4096).Draw(rt, "segment")
		writer, err := OpenWriter(dir, segment, 0)
		if err != nil {
			rt.Fatal(err)
		}
		reader := NewReader(dir, 0)
		want := []entry{{0, Begin, NoStream, ""}}
		var got []entry
		next := uint64(1)
		rt.Repeat(map[string]func(*rapid.T){
			"append": func(rt *rapid.T) {
				for range rapid.IntRange(1, 5).Draw(rt, "records") {
					payload := rapid.SliceOfN(rapid.Byte(), 0, 300).Draw(rt, "payload")
					stream := rapid.SampledFrom([]Stream{Stdout, Stderr}).Draw(rt, "stream")
					writer.Append(Record{Kind: Line, Stream: stream, Payload: payload})
					want = append(want, entry{next, Line, stream, string(payload)})
					next++
				}
				if err := writer.Flush(); err != nil {
					rt.Fatal(err)
				}
			},
			"read": func(rt *rapid.T) { got = append(got, drain(rt, reader)...) },
			"reader starts again": func(rt *rapid.T) {
				index := reader.Index()
				reader.Close()
				if err := Trim(dir, index); err != nil {
					rt.Fatal(err)
				}
				reader = NewReader(dir, index)
			},
			"writer is killed": func(rt *rapid.T) {
				torn := AppendRecord(nil, Record{Kind: Line, Stream: Stdout, Payload: []byte("never whole")})
				torn = torn[:rapid.IntRange(0, len(torn)-1).Draw(rt, "torn")]
				if _, err := writer.file.Write(torn); err != nil {
					rt.Fatal(err)
				}
				if rapid.Bool().Draw(rt, "read before the successor") {
					got = append(got, drain(rt, reader)...)
				}
				writer.file.Close()
				if writer, err = OpenWriter(dir, segment, 0); err != nil {
					rt.Fatal(err)
				}
				want = append(want, entry{next, Begin, NoStream, ""})
				next++
			},
		})
		got = append(got, drain(rt, reader)...)
		if diff := cmp.Diff(want, got); diff != "" {
			rt.Fatalf("records differ (-written +read):\n%s", diff)
		}
		if reader.Lost() != 0 || reader.Total() != writer.Total() || reader.Index() != next {
			rt.Fatalf("lost %d, total %d and %d, index %d and %d", reader.Lost(), reader.Total(), writer.Total(), reader.Index(), next)
		}
		reader.Close()
		if err := writer.Close(); err != nil {
			rt.Fatal(err)
		}
	})
}

func TestReader_SkipsDamageAndCountsIt(t *testing.T) {
	dir := t.TempDir()
	writer, err := OpenWriter(dir, 100, 0)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 9 { // records of 25 bytes: four in a segment
		writer.Append(Record{Kind: Line, Stream: Stdout, Payload: fmt.Appendf(nil, "line %02d", i)})
		if err := writer.Flush(); err != nil {
			t.Fatal(err)
		}
	}
	defer writer.Close()
	found, err := segments(dir)
	if err != nil || len(found) < 3 {
		t.Fatalf("segments %v, %v", found, err)
	}
	path := segmentPath(dir, found[1])
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	data[headerBytes+frameBytes] ^= 0xff // the second segment's first record
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	reader := NewReader(dir, 0)
	defer reader.Close()
	var indices []uint64
	for _, e := range drain(t, reader) {
		indices = append(indices, e.Index)
	}
	var want []uint64
	for index := range uint64(10) {
		if index < found[1] || index >= found[2] {
			want = append(want, index)
		}
	}
	if !slices.Equal(indices, want) || reader.Lost() != found[2]-found[1] {
		t.Errorf("read %v and lost %d, want %v and %d", indices, reader.Lost(), want, found[2]-found[1])
	}
}

func TestTrim_KeepsTheNewestSegment(t *testing.T) {
	dir := t.TempDir()
	writer, err := OpenWriter(dir, 1, 0) // every flush makes a segment
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		writer.Append(Record{Kind: Line, Stream: Stdout})
		if err := writer.Flush(); err != nil {
			t.Fatal(err)
		}
	}
	writer.Close()
	for _, step := range []struct {
		index uint64
		want  []uint64
	}{{0, []uint64{0, 1, 2, 3}}, {2, []uint64{2, 3}}, {100, []uint64{3}}} {
		if err := Trim(dir, step.index); err != nil {
			t.Fatal(err)
		}
		if got, err := segments(dir); err != nil || !slices.Equal(got, step.want) {
			t.Errorf("after Trim(%d): %v, %v; want %v", step.index, got, err, step.want)
		}
	}
	again, err := OpenWriter(dir, 1, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	if got, _ := segments(dir); !slices.Equal(got, []uint64{3, 4}) {
		t.Errorf("a new writer goes on in %v, want 3 and 4", got)
	}
}

func TestWriter_TimesNeverGoBack(t *testing.T) {
	dir := t.TempDir()
	for life, now := range []int64{100, 50} {
		writer, err := OpenWriter(dir, 1<<20, now)
		if err != nil {
			t.Fatal(err)
		}
		writer.Append(Record{Kind: Line, Stream: Stdout, Time: now + 10 - int64(20*life)})
		if err := writer.Close(); err != nil {
			t.Fatal(err)
		}
	}
	reader := NewReader(dir, 0)
	defer reader.Close()
	var times []int64
	for {
		record, _, err := reader.Next()
		if err != nil {
			break
		}
		times = append(times, record.Time)
	}
	if want := []int64{100, 110, 110, 110}; !slices.Equal(times, want) {
		t.Errorf("times %v, want %v", times, want)
	}
}

func TestCheckpoint(t *testing.T) {
	dir := t.TempDir()
	if got, err := ReadCheckpoint(dir); err != nil || got != (Checkpoint{}) {
		t.Errorf("without a file: %+v, %v", got, err)
	}
	want := Checkpoint{Marks: [2]Mark{{Index: 7, Skip: 3}, {Index: 1 << 40}}, Read: 99, Cut: 12}
	if err := WriteCheckpoint(dir, want); err != nil {
		t.Fatal(err)
	}
	if got, err := ReadCheckpoint(dir); err != nil || got != want || got.Resume() != 7 {
		t.Errorf("read %+v, %v; want %+v", got, err, want)
	}
	path := filepath.Join(dir, checkpointName)
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	data[9] ^= 1
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadCheckpoint(dir); !errors.Is(err, ErrCorrupt) {
		t.Errorf("a damaged checkpoint: error %v, want ErrCorrupt", err)
	}
}

func TestAlive(t *testing.T) {
	dir := t.TempDir()
	check := func(when string, want bool) {
		t.Helper()
		if got, err := Alive(dir); err != nil || got != want {
			t.Errorf("%s: alive %v, %v; want %v", when, got, err, want)
		}
	}
	check("before", false)
	lock, err := Lock(dir)
	if err != nil {
		t.Fatal(err)
	}
	check("while", true)
	lock.Close()
	check("after", false)
}
