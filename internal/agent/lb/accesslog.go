package lb

import (
	"bufio"
	"context"
	"crypto/rand"
	"errors"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"berth.dev/berth/internal/agent/logdriver"
	"berth.dev/berth/internal/base/fault"
	"berth.dev/berth/internal/base/telemetry"
	"berth.dev/berth/internal/rules/routing"
)

const (
	// A delivery has at most so many lines, and waits so long for more of them.
	mostLines = 1000
	mostBytes = 512 << 10
	gather    = time.Second
	// longestRecord is what HAProxy may send: the length that its configuration allows.
	longestRecord = 16384
)

// takeAccessLog takes records from HAProxy's processes and delivers them as lines until ctx ends. While a delivery has to
// be repeated no more are taken: they wait in HAProxy's memory, where the newest push out the oldest.
func (b *balancer) takeAccessLog(ctx context.Context, wg *sync.WaitGroup) {
	if b.cfg.Logs == nil {
		return
	}
	os.Remove(b.access) // an earlier agent's
	ln, err := net.Listen("unix", b.access)
	if err != nil {
		b.log.WarnContext(ctx, "there will be no access log", telemetry.Error, err)
		return
	}
	records := make(chan string)
	wg.Go(func() {
		defer ln.Close()
		defer context.AfterFunc(ctx, func() { ln.Close() })()
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			wg.Go(func() { readRecords(ctx, conn, records) })
		}
	})
	wg.Go(func() { b.deliver(ctx, records) })
}

// readRecords reads messages, each with its length before it, until the connection or ctx ends.
func readRecords(ctx context.Context, conn net.Conn, records chan<- string) {
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	r := bufio.NewReader(conn)
	for {
		word, err := r.ReadString(' ')
		if err != nil {
			return
		}
		length, err := strconv.Atoi(strings.TrimSpace(word))
		if err != nil || length < 0 || length > 2*longestRecord {
			return // not a record; HAProxy connects again
		}
		message := make([]byte, length)
		if _, err := io.ReadFull(r, message); err != nil {
			return
		}
		select {
		case records <- string(message):
		case <-ctx.Done():
			return
		}
	}
}

// deliver makes lines of records and delivers them, in batches, until ctx ends.
func (b *balancer) deliver(ctx context.Context, records <-chan string) {
	// A source of its own for each agent: what an earlier one delivered has nothing to do with this one's numbers.
	source, seq := "lb-"+rand.Text(), uint64(0)
	for {
		group, stream, lines := b.gather(ctx, records)
		if ctx.Err() != nil {
			return
		}
		if group == "" || len(lines) == 0 {
			continue
		}
		for i := range lines {
			seq++
			lines[i].Seq = seq
			if i > 0 && lines[i].Timestamp.Before(lines[i-1].Timestamp) {
				lines[i].Timestamp = lines[i-1].Timestamp
			}
		}
		b.deliverOne(ctx, group, stream, source, lines)
	}
}

// gather collects the lines of the next delivery.
func (b *balancer) gather(ctx context.Context, records <-chan string) (group, stream string, lines []logdriver.Event) {
	var full <-chan time.Time
	bytes := 0
	for len(lines) < mostLines && bytes < mostBytes {
		select {
		case <-ctx.Done():
			return
		case <-full:
			return
		case record := <-records:
			doc := b.document()
			if doc == nil {
				continue
			}
			at, line, ok := routing.AccessLogLine(doc, record)
			if !ok {
				b.log.WarnContext(ctx, "access log record is not understood", keyAttr, doc.LoadBalancer.ID)
				continue
			}
			group, stream = doc.LoadBalancer.Attributes[routing.AccessLogGroup], doc.LoadBalancer.ID
			lines = append(lines, logdriver.Event{Timestamp: at, Message: line})
			bytes += len(line)
			if full == nil {
				timer := time.NewTimer(gather)
				defer timer.Stop()
				full = timer.C
			}
		}
	}
	return
}

// deliverOne delivers a batch, again and again while the control plane cannot take it.
func (b *balancer) deliverOne(ctx context.Context, group, stream, source string, lines []logdriver.Event) {
	for wait := firstRetry; ; wait = min(2*wait, lastRetry) {
		of := logdriver.Source{Group: group, Stream: stream, ID: source}
		err := b.cfg.Logs.EnsureStream(ctx, of, true)
		if err == nil {
			err = b.cfg.Logs.Deliver(ctx, of, lines)
		}
		switch {
		case err == nil, ctx.Err() != nil:
			return
		case errors.Is(err, fault.NotFound), errors.Is(err, fault.Invalid):
			b.log.ErrorContext(ctx, "lines of the access log are lost", "lines", len(lines), telemetry.LogGroup, group, telemetry.Error, err)
			return
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
		case <-timer.C:
		}
		timer.Stop()
	}
}
