package logs

import (
	"context"
	"fmt"
	"time"

	"berth.dev/berth/internal/data/logstore"
	"berth.dev/berth/internal/rules/logpattern"
	"berth.dev/berth/internal/wire/api/logsapi"
)

// AWS's limits on events.
const (
	maxBatchBytes = 1 << 20 // messages with logstore.EventOverhead each
	maxEventBytes = 1 << 20 // one message with its overhead
	maxBatchSpan  = 24 * time.Hour
	maxFuture     = 2 * time.Hour
	maxAge        = 14 * 24 * time.Hour

	pageEvents = 10_000
	pageBytes  = 1 << 20
)

// scanLimit bounds the events that one FilterLogEvents looks at, so that a
// pattern that matches nothing answers in time: with an empty page and a token.
const scanLimit = 200_000

// PutLogEvents implements logsapi.Service.
func (p *Provider) PutLogEvents(ctx context.Context, in *logsapi.PutLogEventsInput) (*logsapi.PutLogEventsOutput, error) {
	if err := checkBatch(in.LogEvents); err != nil {
		return nil, err
	}
	if err := p.untouchable(*in.LogGroupName); err != nil {
		return nil, err
	}
	group, err := p.store.Group(*in.LogGroupName)
	if err != nil {
		return nil, p.answer(err)
	}
	now := p.nowMillis()
	from, to, rejected := accept(in.LogEvents, now, group.RetentionDays)
	events := make([]logstore.Event, 0, to-from)
	for _, e := range in.LogEvents[from:to] {
		events = append(events, logstore.Event{Timestamp: *e.Timestamp, Message: *e.Message})
	}
	if _, err := p.store.Append(ctx, group.Name, *in.LogStreamName, "", 0, events); err != nil {
		return nil, p.answer(err)
	}
	out := &logsapi.PutLogEventsOutput{NextSequenceToken: sequenceToken(now), RejectedLogEventsInfo: rejected}
	if in.Entity != nil {
		out.RejectedEntityInfo = &logsapi.RejectedEntityInfo{ErrorType: logsapi.EntityRejectionErrorTypeUnsupportedLogGroupType}
	}
	return out, nil
}

// checkBatch checks what concerns the batch as a whole.
func checkBatch(events []logsapi.InputLogEvent) error {
	total := 0
	for i, e := range events {
		size := len(*e.Message) + logstore.EventOverhead
		if size > maxEventBytes {
			return invalid(fmt.Sprintf("Log event too large: %d bytes exceeds limit of %d", size, maxEventBytes))
		}
		total += size
		if i > 0 && *e.Timestamp < *events[i-1].Timestamp {
			return invalid("Log events in a single PutLogEvents request must be in chronological order.")
		}
	}
	if total > maxBatchBytes {
		return invalid(fmt.Sprintf("Upload too large: %d bytes exceeds limit of %d", total, maxBatchBytes))
	}
	if n := len(events); n > 0 && *events[n-1].Timestamp-*events[0].Timestamp > maxBatchSpan.Milliseconds() {
		return invalid("The batch of log events in a single PutLogEvents request cannot span more than 24 hours.")
	}
	return nil
}

// accept returns the range of events that are neither too old, expired nor too
// new, and what to tell about the others; nil when there are none. Events are
// in chronological order, so each kind is one end of the batch.
func accept(events []logsapi.InputLogEvent, now int64, retentionDays int) (from, to int, rejected *logsapi.RejectedLogEventsInfo) {
	// before returns how many events are older than a limit.
	before := func(limit int64) int {
		n := 0
		for n < len(events) && *events[n].Timestamp < limit {
			n++
		}
		return n
	}
	var info logsapi.RejectedLogEventsInfo
	tooOld := before(now - maxAge.Milliseconds())
	if tooOld > 0 {
		info.TooOldLogEventEndIndex = new(int32(tooOld))
	}
	expired := 0
	if retentionDays > 0 {
		expired = before(now - (time.Duration(retentionDays) * 24 * time.Hour).Milliseconds())
	}
	if expired > 0 {
		info.ExpiredLogEventEndIndex = new(int32(expired))
	}
	to = before(now + maxFuture.Milliseconds() + 1)
	if to < len(events) {
		info.TooNewLogEventStartIndex = new(int32(to))
	}
	from = max(tooOld, expired)
	if from > 0 || to < len(events) {
		rejected = &info
	}
	return from, to, rejected
}

// GetLogEvents implements logsapi.Service. A token decides the direction, and
// the end is reached when the token that comes back is the one that was given.
func (p *Provider) GetLogEvents(ctx context.Context, in *logsapi.GetLogEventsInput) (*logsapi.GetLogEventsOutput, error) {
	group, err := p.groupOf(in.LogGroupName, in.LogGroupIdentifier)
	if err != nil {
		return nil, err
	}
	q := logstore.StreamQuery{
		Group: group, Stream: *in.LogStreamName,
		Start: deref(in.StartTime), End: deref(in.EndTime),
		Newest: !deref(in.StartFromHead),
		Limit:  limitOf(in.Limit, pageEvents), MaxBytes: pageBytes,
	}
	// What to answer when the page is empty: both tokens stay around the place.
	var before, after logstore.Position
	if in.NextToken != nil {
		place, backward, err := readEventToken(*in.NextToken)
		if err != nil {
			return nil, err
		}
		before, after = place, place
		if q.Newest = backward; backward {
			q.Before = &place
			after.Sequence -= min(after.Sequence, 1) // forward from here returns the event at the place
		} else {
			q.After = &place
			before.Sequence++ // and so does backward
		}
	}
	page, err := p.store.Read(ctx, q)
	if err != nil {
		return nil, p.answer(err)
	}
	if len(page) > 0 {
		before, after = page[0].Position, page[len(page)-1].Position
	}
	out := &logsapi.GetLogEventsOutput{
		Events:           make([]logsapi.OutputLogEvent, 0, len(page)),
		NextForwardToken: forwardToken(after), NextBackwardToken: backwardToken(before),
	}
	for _, r := range page {
		out.Events = append(out.Events, logsapi.OutputLogEvent{
			Timestamp: &r.Timestamp, Message: &r.Message, IngestionTime: &r.Ingestion,
		})
	}
	return out, nil
}

// FilterLogEvents implements logsapi.Service.
func (p *Provider) FilterLogEvents(ctx context.Context, in *logsapi.FilterLogEventsInput) (*logsapi.FilterLogEventsOutput, error) {
	q, asked, err := p.filterQuery(in)
	if err != nil {
		return nil, err
	}
	pattern, err := logpattern.Compile(deref(in.FilterPattern))
	if err != nil {
		return nil, p.answer(err)
	}
	limit := limitOf(in.Limit, pageEvents)
	out := &logsapi.FilterLogEventsOutput{
		Events:             []logsapi.FilteredLogEvent{},
		SearchedLogStreams: []logsapi.SearchedLogStream{}, // always empty, as on AWS
	}
	scanned, bytes := 0, 0
	var last logstore.Position // of the events that this page has dealt with
	for r, err := range p.store.Scan(ctx, q) {
		if err != nil {
			return nil, p.answer(err)
		}
		matches := pattern.Match(r.Message)
		size := len(r.Message) + logstore.EventOverhead
		full := len(out.Events) == limit || matches && len(out.Events) > 0 && bytes+size > pageBytes
		if full || scanned == scanLimit {
			out.NextToken = p.issue(asked, last.ID())
			break
		}
		last = r.Position
		scanned++
		if matches {
			bytes += size
			out.Events = append(out.Events, logsapi.FilteredLogEvent{
				LogStreamName: &r.Stream, Timestamp: &r.Timestamp, Message: &r.Message,
				IngestionTime: &r.Ingestion, EventId: new(r.ID()),
			})
		}
	}
	return out, nil
}

// filterQuery returns what to scan, and the hash that its tokens carry.
func (p *Provider) filterQuery(in *logsapi.FilterLogEventsInput) (q logstore.GroupQuery, asked uint64, err error) {
	if q.Group, err = p.groupOf(in.LogGroupName, in.LogGroupIdentifier); err != nil {
		return q, 0, err
	}
	if in.LogStreamNamePrefix != nil && len(in.LogStreamNames) > 0 {
		return q, 0, invalid("The parameters logStreamNamePrefix and logStreamNames cannot be specified together.")
	}
	q.Streams, q.Prefix, q.Start = in.LogStreamNames, deref(in.LogStreamNamePrefix), deref(in.StartTime)
	if end := deref(in.EndTime); end > 0 && end < logstore.MaxTimestamp {
		q.End = end + 1 // the end itself is included
	}
	asked = question("FilterLogEvents", q.Group, fmt.Sprintf("%q", q.Streams), q.Prefix, q.Start, q.End, deref(in.FilterPattern))
	place, err := p.redeem(in.NextToken, asked)
	if err != nil || place == "" {
		return q, asked, err
	}
	after, err := logstore.ParseID(place)
	if err != nil {
		return q, asked, invalidToken()
	}
	q.After = &after
	return q, asked, nil
}
