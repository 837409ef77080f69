package logdriver

import (
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"berth.dev/berth/internal/agent/helper/spool"
)

func out(kind spool.Kind, payload string) spool.Record {
	return spool.Record{Kind: kind, Stream: spool.Stdout, Payload: []byte(payload)}
}

func errs(kind spool.Kind, payload string) spool.Record {
	return spool.Record{Kind: kind, Stream: spool.Stderr, Payload: []byte(payload)}
}

type numbered struct {
	Seq     uint64
	Message string
}

func TestAssembler(t *testing.T) {
	const line, partial = spool.Line, spool.Partial
	end, begin := spool.Record{Kind: spool.End}, spool.Record{Kind: spool.Begin}
	big := strings.Repeat("x", maxEventBytes-10)
	brim := strings.Repeat("x", maxEventBytes-len("世"))
	tests := []struct {
		name    string
		pattern string
		records []spool.Record // from index 0
		want    []numbered
	}{
		{"a line is an event", "", []spool.Record{out(line, "a"), errs(line, "b")}, []numbered{{1, "a"}, {5, "b"}}},
		{"empty lines are none", "", []spool.Record{out(line, ""), out(line, "b"), out(line, "")}, []numbered{{5, "b"}}},
		{"pieces are joined for each stream", "", []spool.Record{out(partial, "a1"), errs(line, "b"), out(partial, "a2"), out(line, "a3")}, []numbered{{5, "b"}, {13, "a1a2a3"}}},
		{"the end ends lines, stdout first", "", []spool.Record{errs(partial, "b"), out(partial, "a"), end}, []numbered{{10, "a"}, {11, "b"}}},
		{"so does the beginning of another logger", "", []spool.Record{out(partial, "a"), begin, out(line, "b")}, []numbered{{6, "a"}, {9, "b"}}},
		{"dropped lines end the line of their stream", "", []spool.Record{out(partial, "a"), errs(partial, "b"), spool.DroppedRecord(spool.Stdout, 0, 1), errs(line, "c")}, []numbered{{9, "a"}, {13, "bc"}}},
		{"each bad byte is replaced", "", []spool.Record{out(line, "a\xff\xfeb")}, []numbered{{1, "a\uFFFD\uFFFDb"}}},
		{"characters are joined over pieces", "", []spool.Record{out(partial, "\xe4\xb8"), out(line, "\x96")}, []numbered{{5, "世"}}},
		{"overlong lines are cut between characters", "", []spool.Record{out(partial, big), out(line, "12345678世世")}, []numbered{{4, big + "12345678"}, {5, "世世"}}},
		{"nor in a character that two pieces share", "", []spool.Record{out(partial, brim+"\xe4\xb8"), out(line, "\x96!")}, []numbered{{4, brim + "世"}, {5, "!"}}},
		{"multiline: events start with a match", "^S", []spool.Record{out(line, "S1"), out(line, " a"), out(line, ""), out(line, "S2"), end}, []numbered{{9, "S1\n a\n\n"}, {13, "S2\n"}}},
		{"multiline: lines before the first match are one", "^S", []spool.Record{out(line, "a"), out(line, "b"), out(line, "S")}, []numbered{{5, "a\nb\n"}}},
		{"multiline: an event takes lines of both streams", "^S", []spool.Record{out(line, "S1"), errs(line, "e"), end}, []numbered{{5, "S1\ne\n"}}},
		{"multiline: size ends an event", "^S", []spool.Record{out(line, "S23456789"), out(line, big), out(line, "b"), end}, []numbered{{1, "S23456789\n"}, {9, big + "\nb\n"}}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var pattern *regexp.Regexp
			if test.pattern != "" {
				pattern = regexp.MustCompile(test.pattern)
			}
			a := newAssembler(pattern, spool.Checkpoint{})
			for i, record := range test.records {
				a.add(record, uint64(i), uint64(i))
			}
			var got []numbered
			for _, event := range a.queue {
				got = append(got, numbered{event.Seq, event.Message})
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("events (-want +got):\n%.1000s", diff)
			}
		})
	}
}
