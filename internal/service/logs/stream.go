package logs

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"berth.dev/berth/internal/data/logstore"
	"berth.dev/berth/internal/wire/api/logsapi"
)

// CreateLogStream implements logsapi.Service.
func (p *Provider) CreateLogStream(ctx context.Context, in *logsapi.CreateLogStreamInput) (*logsapi.CreateLogStreamOutput, error) {
	if err := p.untouchable(*in.LogGroupName); err != nil {
		return nil, err
	}
	if err := p.store.CreateStream(ctx, *in.LogGroupName, *in.LogStreamName); err != nil {
		return nil, p.answer(err)
	}
	return &logsapi.CreateLogStreamOutput{}, nil
}

// DeleteLogStream implements logsapi.Service.
func (p *Provider) DeleteLogStream(ctx context.Context, in *logsapi.DeleteLogStreamInput) (*logsapi.DeleteLogStreamOutput, error) {
	if err := p.untouchable(*in.LogGroupName); err != nil {
		return nil, err
	}
	if err := p.store.DeleteStream(ctx, *in.LogGroupName, *in.LogStreamName); err != nil {
		return nil, p.answer(err)
	}
	return &logsapi.DeleteLogStreamOutput{}, nil
}

// DescribeLogStreams implements logsapi.Service.
func (p *Provider) DescribeLogStreams(ctx context.Context, in *logsapi.DescribeLogStreamsInput) (*logsapi.DescribeLogStreamsOutput, error) {
	group, err := p.groupOf(in.LogGroupName, in.LogGroupIdentifier)
	if err != nil {
		return nil, err
	}
	byTime := in.OrderBy == logsapi.OrderByLastEventTime
	if byTime && in.LogStreamNamePrefix != nil {
		return nil, invalid("Cannot order by LastEventTime with a logStreamNamePrefix.")
	}
	prefix, descending := deref(in.LogStreamNamePrefix), deref(in.Descending)
	asked := question("DescribeLogStreams", group, prefix, byTime, descending)
	place, err := p.redeem(in.NextToken, asked)
	if err != nil {
		return nil, err
	}
	list := p.streamsByName
	if byTime {
		list = p.streamsByTime
	}
	limit := limitOf(in.Limit, listLimit)
	streams, err := list(ctx, logstore.StreamList{Group: group, Prefix: prefix, Reverse: descending}, place, limit+1)
	if err != nil {
		return nil, p.answer(err)
	}
	out := &logsapi.DescribeLogStreamsOutput{LogStreams: []logsapi.LogStream{}}
	for i, s := range streams {
		if i == limit {
			last := streams[limit-1]
			place := last.Name
			if byTime {
				place = timePlace(last)
			}
			out.NextToken = p.issue(asked, place)
			break
		}
		out.LogStreams = append(out.LogStreams, p.describeStream(group, s))
	}
	return out, nil
}

// streamsByName lists up to n streams in the order of names, after the name
// that place is.
func (p *Provider) streamsByName(ctx context.Context, list logstore.StreamList, place string, n int) ([]logstore.Stream, error) {
	list.From = place
	var found []logstore.Stream
	for s, err := range p.store.Streams(ctx, list) {
		if err != nil {
			return nil, err
		}
		if found = append(found, s); len(found) == n {
			break
		}
	}
	return found, nil
}

// streamsByTime lists up to n streams in the order of their newest event, then
// of names. Streams without events count as the oldest.
func (p *Provider) streamsByTime(ctx context.Context, list logstore.StreamList, place string, n int) ([]logstore.Stream, error) {
	compare := func(a, b logstore.Stream) int {
		return cmp.Or(cmp.Compare(a.LastEvent, b.LastEvent), strings.Compare(a.Name, b.Name))
	}
	if list.Reverse {
		ascending := compare
		compare = func(a, b logstore.Stream) int { return ascending(b, a) }
	}
	var from logstore.Stream
	if place != "" {
		var err error
		if from, err = readTimePlace(place); err != nil {
			return nil, err
		}
	}
	var found []logstore.Stream
	for s, err := range p.store.Streams(ctx, logstore.StreamList{Group: list.Group}) {
		if err != nil {
			return nil, err
		}
		if place == "" || compare(s, from) > 0 {
			found = append(found, s)
		}
	}
	slices.SortFunc(found, compare)
	return found[:min(n, len(found))], nil
}

func timePlace(s logstore.Stream) string { return fmt.Sprintf("%d/%s", s.LastEvent, s.Name) }

func readTimePlace(place string) (logstore.Stream, error) {
	digits, name, _ := strings.Cut(place, "/")
	last, err := strconv.ParseInt(digits, 10, 64)
	if err != nil {
		return logstore.Stream{}, invalidToken()
	}
	return logstore.Stream{Name: name, LastEvent: last}, nil
}

func (p *Provider) describeStream(group string, s logstore.Stream) logsapi.LogStream {
	described := logsapi.LogStream{
		LogStreamName:       &s.Name,
		CreationTime:        &s.Created,
		UploadSequenceToken: sequenceToken(s.LastIngestion),
		Arn:                 new(p.scope.LogGroup(group) + ":log-stream:" + s.Name),
		StoredBytes:         new(int64(0)), // AWS stopped to fill it in
	}
	if s.HasEvents() {
		described.FirstEventTimestamp = &s.FirstEvent
		described.LastEventTimestamp = &s.LastEvent
		described.LastIngestionTime = &s.LastIngestion
	}
	return described
}

// sequenceToken returns a token for old clients, which want one and hand it
// back. It has no meaning, as on AWS since 2023.
func sequenceToken(ingestion int64) *string {
	return new(logstore.Position{Ingestion: ingestion}.ID())
}
