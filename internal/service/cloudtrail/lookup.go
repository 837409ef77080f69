package cloudtrail

import (
	"context"
	"errors"
	"slices"
	"time"

	"berth.dev/berth/internal/data/logstore"
	"berth.dev/berth/internal/wire/api/cloudtrailapi"
)

const (
	pageSize  = 50      // events of an answer, at most and unasked
	history   = 90      // days that are looked back
	readEach  = 256     // records that are read at once
	readBytes = 1 << 20 // and their bytes
	dayLayout = "2006-01-02"

	// scanMost is how many records one call reads. It bounds what a rare filter
	// costs; the token goes on.
	scanMost = 50_000
)

// LookupEvents implements cloudtrailapi.Service.
func (p *Provider) LookupEvents(ctx context.Context, in *cloudtrailapi.LookupEventsInput) (*cloudtrailapi.LookupEventsOutput, error) {
	q, err := p.query(in)
	if err != nil {
		return nil, err
	}
	out := &cloudtrailapi.LookupEventsOutput{Events: []cloudtrailapi.Event{}}
	read := 0
	for r, err := range p.backwards(ctx, q) {
		if err != nil {
			return nil, err
		}
		if len(out.Events) == q.limit || read == scanMost {
			out.NextToken = q.token()
			return out, nil
		}
		read++
		q.last = &r.Position
		q.day = r.Stream
		if e, ok := q.match(r); ok {
			out.Events = append(out.Events, e)
		}
	}
	return out, nil
}

// query is a request, checked.
type query struct {
	filter
	start, end int64 // milliseconds, end not included
	limit      int
	// day and last are the stream and the position of the record that was
	// looked at last; empty at the beginning.
	day  string
	last *logstore.Position
	hash string // of what a token's request must have in common with this one
}

func (p *Provider) query(in *cloudtrailapi.LookupEventsInput) (*query, error) {
	if in.EventCategory != "" {
		return nil, &cloudtrailapi.InvalidEventCategoryException{Message: new("There are no Insights events here: this server does not analyse activity.")}
	}
	q := &query{limit: pageSize}
	if in.MaxResults != nil { // its bounds are in the model
		q.limit = int(*in.MaxResults)
	}
	switch len(in.LookupAttributes) {
	case 0:
	case 1:
		q.filter = newFilter(in.LookupAttributes[0])
	default:
		return nil, &cloudtrailapi.InvalidLookupAttributesException{Message: new("You can specify only one lookup attribute.")}
	}
	now := p.cfg.Now()
	start, end := now.AddDate(0, 0, -history), now.Add(time.Hour) // clocks of callers' records are ours
	if in.StartTime != nil {
		start = *in.StartTime
	}
	if in.EndTime != nil {
		end = *in.EndTime
	}
	if end.Before(start) {
		return nil, &cloudtrailapi.InvalidTimeRangeException{Message: new("The start time must be before the end time.")}
	}
	// Events have times of whole seconds: the end's is included.
	q.start, q.end = start.Unix()*1000, (end.Unix()+1)*1000
	q.hash = hashOf(in)
	return q, q.resume(in.NextToken)
}

// backwards yields the records of a query, newest first.
func (p *Provider) backwards(ctx context.Context, q *query) func(func(logstore.Record, error) bool) {
	return func(yield func(logstore.Record, error) bool) {
		days, err := p.days(ctx, q)
		if err != nil {
			yield(logstore.Record{}, err)
			return
		}
		for _, day := range days {
			var before *logstore.Position
			if day == q.day {
				before = q.last
			}
			for {
				records, err := p.cfg.Logs.Read(ctx, logstore.StreamQuery{
					Group: p.cfg.Group, Stream: day, Start: q.start, End: q.end, Before: before, Newest: true, Limit: readEach, MaxBytes: readBytes,
				})
				if errors.Is(err, logstore.ErrStreamNotFound) || errors.Is(err, logstore.ErrGroupNotFound) {
					break // its time has come
				}
				if err != nil {
					yield(logstore.Record{}, err)
					return
				}
				for _, r := range slices.Backward(records) {
					if !yield(r, nil) {
						return
					}
				}
				if len(records) == 0 {
					break
				}
				before = &records[0].Position
			}
		}
	}
}

// days are the streams that may have records of a query, newest first.
func (p *Provider) days(ctx context.Context, q *query) ([]string, error) {
	first, last := time.UnixMilli(q.start).UTC().Format(dayLayout), time.UnixMilli(q.end-1).UTC().Format(dayLayout)
	if q.day != "" {
		last = q.day
	}
	var days []string
	for s, err := range p.cfg.Logs.Streams(ctx, logstore.StreamList{Group: p.cfg.Group, Reverse: true}) {
		switch {
		case errors.Is(err, logstore.ErrGroupNotFound):
			return nil, nil // nothing has been recorded yet
		case err != nil:
			return nil, err
		case s.Name < first:
			return days, nil
		case s.Name <= last && isDay(s.Name):
			days = append(days, s.Name)
		}
	}
	return days, nil
}

// isDay reports whether a stream is one of the recorder's.
func isDay(name string) bool {
	_, err := time.Parse(dayLayout, name)
	return err == nil
}
