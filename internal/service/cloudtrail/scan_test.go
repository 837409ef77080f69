package cloudtrail_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"berth.dev/berth/internal/data/logstore"
	"berth.dev/berth/internal/service/cloudtrail"
	"berth.dev/berth/internal/wire/api/cloudtrailapi"
)

// counting counts the records that are read.
type counting struct {
	*logstore.Store
	read int
}

func (c *counting) Read(ctx context.Context, q logstore.StreamQuery) ([]logstore.Record, error) {
	records, err := c.Store.Read(ctx, q)
	c.read += len(records)
	return records, err
}

// An answer costs what it shows, and a rare filter is bounded: the token goes
// on where the call ended, until what there is has been found.
func TestLookupEvents_ReadsLittle(t *testing.T) {
	logs, err := logstore.Open(t.TempDir(), logstore.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := logs.Close(); err != nil {
			t.Error(err)
		}
	})
	const total, batch = 60_000, 2_000
	begin := time.Now().UTC().Truncate(24 * time.Hour).Add(-12 * time.Hour) // all on one day
	day := begin.Format("2006-01-02")
	if err := logs.EnsureStream(t.Context(), cloudtrail.DefaultGroup, day, true); err != nil {
		t.Fatal(err)
	}
	for n := 0; n < total; n += batch {
		events := make([]logstore.Event, batch)
		for i := range events {
			name := "ListClusters"
			if n+i == 0 {
				name = "Rare"
			}
			events[i] = logstore.Event{Timestamp: begin.UnixMilli() + int64(n+i), Message: fmt.Sprintf(`{"eventID":"%d","eventName":%q,"eventTime":"2026-11-22T00:00:00Z"}`, n+i, name)}
		}
		if _, err := logs.Append(t.Context(), cloudtrail.DefaultGroup, day, "", 0, events); err != nil {
			t.Fatal(err)
		}
	}
	c := &counting{Store: logs}
	p := cloudtrail.New(cloudtrail.Config{Logs: c, AccountID: account})
	out, err := p.LookupEvents(t.Context(), &cloudtrailapi.LookupEventsInput{MaxResults: new(int32(10))})
	if err != nil || len(out.Events) != 10 || *out.Events[0].EventId != fmt.Sprint(total-1) {
		t.Fatalf("%+v, %v", out, err)
	}
	if c.read > 256 {
		t.Errorf("10 events cost %d records", c.read)
	}
	c.read = 0
	rare := &cloudtrailapi.LookupEventsInput{LookupAttributes: []cloudtrailapi.LookupAttribute{{AttributeKey: cloudtrailapi.LookupAttributeKeyEventName, AttributeValue: new("Rare")}}}
	out, err = p.LookupEvents(t.Context(), rare)
	if err != nil || len(out.Events) != 0 || out.NextToken == nil {
		t.Fatalf("%+v, %v", out, err)
	}
	if c.read >= total {
		t.Errorf("one call read %d records", c.read)
	}
	rare.NextToken = out.NextToken
	out, err = p.LookupEvents(t.Context(), rare)
	if err != nil || len(out.Events) != 1 || *out.Events[0].EventId != "0" || out.NextToken != nil {
		t.Fatalf("%+v, %v", out, err)
	}
}
