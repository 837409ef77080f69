package logstore

import (
	"fmt"
	"strings"
	"testing"
)

// line is about as long as a log line of a web server.
var line = strings.Repeat("GET /index.html 200 ", 6)

func batch(n int) []Event {
	events := make([]Event, n)
	for i := range events {
		events[i] = Event{Timestamp: epoch + int64(i), Message: line}
	}
	return events
}

// BenchmarkAppend measures durable appends: one writer with small and large
// batches, and many writers that share syncs.
func BenchmarkAppend(b *testing.B) {
	for _, c := range []struct{ writers, events int }{{1, 1}, {1, 500}, {64, 1}, {64, 50}} {
		b.Run(fmt.Sprintf("writers=%d/events=%d", c.writers, c.events), func(b *testing.B) {
			s := openIn(b, b.TempDir(), Options{})
			ensure(b, s, "g", "s")
			events := batch(c.events)
			b.SetParallelism(c.writers)
			b.ResetTimer()
			if c.writers == 1 {
				for range b.N {
					if _, err := s.Append(b.Context(), "g", "s", "", 0, events); err != nil {
						b.Fatal(err)
					}
				}
			} else {
				b.RunParallel(func(pb *testing.PB) {
					for pb.Next() {
						if _, err := s.Append(b.Context(), "g", "s", "", 0, events); err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			b.ReportMetric(float64(b.N*c.events)/b.Elapsed().Seconds(), "events/s")
			b.ReportMetric(float64(b.N)/float64(s.commits.Load()), "appends/sync")
		})
	}
}

// BenchmarkScan measures a group-wide scan over streams that follow each other
// in time, as the tasks of a service do.
func BenchmarkScan(b *testing.B) {
	s := openIn(b, b.TempDir(), Options{})
	const streams, perStream = 200, 500
	for i := range streams {
		stream := fmt.Sprint("s", i)
		ensure(b, s, "g", stream)
		events := batch(perStream)
		for j := range events {
			events[j].Timestamp += int64(i * perStream / 2)
		}
		if _, err := s.Append(b.Context(), "g", stream, "", 0, events); err != nil {
			b.Fatal(err)
		}
	}
	b.ResetTimer()
	for range b.N {
		n := 0
		for _, err := range s.Scan(b.Context(), GroupQuery{Group: "g"}) {
			if err != nil {
				b.Fatal(err)
			}
			n++
		}
		if n != streams*perStream {
			b.Fatalf("%d events", n)
		}
	}
	b.ReportMetric(float64(b.N*streams*perStream)/b.Elapsed().Seconds(), "events/s")
}
