package logs_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs/types"

	"berth.dev/berth/internal/data/logstore"
	"berth.dev/berth/internal/edge/gateway"
	"berth.dev/berth/internal/service/logs"
	"berth.dev/berth/internal/wire/api/logsapi"
	"berth.dev/berth/internal/wire/caller"
	"berth.dev/berth/internal/wire/sigv4"
	"berth.dev/berth/internal/wire/wiretest"
)

// root knows one access key, that of the root user.
type root struct{}

func (root) Credentials(context.Context, string, string) (sigv4.Credential, caller.Identity, error) {
	return sigv4.Credential{SecretAccessKey: "secret"},
		caller.Identity{AccountID: account, ARN: "arn:aws:iam::" + account + ":root", UserID: account}, nil
}

// newClient returns AWS's client of a provider behind the real gateway.
func newClient(t *testing.T) *cloudwatchlogs.Client {
	t.Helper()
	store, err := logstore.Open(t.TempDir(), logstore.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	g, err := gateway.New(gateway.Config{
		Services: []gateway.Service{{
			API:      logsapi.API,
			Provider: logs.New(logs.Config{Store: store, AccountID: account, Region: region}),
		}},
		Credentials: root{}, Region: region, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(g)
	t.Cleanup(server.Close)
	return cloudwatchlogs.NewFromConfig(aws.Config{
		Region: region, BaseEndpoint: &server.URL, RetryMaxAttempts: 1,
		HTTPClient:  wiretest.Client(server.Client().Transport),
		Credentials: credentials.NewStaticCredentialsProvider("AKIAROOT", "secret", ""),
	})
}

// The official client, its paginators and its error types work with us.
func TestOfficialClient(t *testing.T) {
	t.Parallel()
	client, ctx := newClient(t), t.Context()
	group, stream := aws.String("/ecs/app"), aws.String("ecs/app/0123")

	_, err := client.CreateLogStream(ctx, &cloudwatchlogs.CreateLogStreamInput{LogGroupName: group, LogStreamName: stream})
	if missing, ok := errors.AsType[*types.ResourceNotFoundException](err); !ok || missing.ErrorMessage() != "The specified log group does not exist." {
		t.Fatalf("got %v", err)
	}
	if _, err := client.CreateLogGroup(ctx, &cloudwatchlogs.CreateLogGroupInput{LogGroupName: group, Tags: map[string]string{"a": "b"}}); err != nil {
		t.Fatal(err)
	}
	if _, err := client.CreateLogStream(ctx, &cloudwatchlogs.CreateLogStreamInput{LogGroupName: group, LogStreamName: stream}); err != nil {
		t.Fatal(err)
	}

	// The largest batch by count.
	now := time.Now().UnixMilli()
	batch := make([]types.InputLogEvent, 10_000)
	for i := range batch {
		batch[i] = types.InputLogEvent{Timestamp: aws.Int64(now + int64(i)), Message: aws.String(fmt.Sprintf("line %05d é", i))}
	}
	put := &cloudwatchlogs.PutLogEventsInput{LogGroupName: group, LogStreamName: stream, LogEvents: batch}
	if out, err := client.PutLogEvents(ctx, put); err != nil || out.RejectedLogEventsInfo != nil {
		t.Fatalf("%+v, %v", out, err)
	}
	// And the largest by bytes, of characters that JSON escapes.
	put.LogEvents = []types.InputLogEvent{{Timestamp: aws.Int64(now), Message: aws.String(strings.Repeat("\x01", 1<<20-26))}}
	if _, err := client.PutLogEvents(ctx, put); err != nil {
		t.Fatal(err)
	}

	n := 0
	get := cloudwatchlogs.NewGetLogEventsPaginator(client, &cloudwatchlogs.GetLogEventsInput{
		LogGroupName: group, LogStreamName: stream, StartFromHead: aws.Bool(true), StartTime: aws.Int64(now + 1), Limit: aws.Int32(3000),
	}, func(o *cloudwatchlogs.GetLogEventsPaginatorOptions) { o.StopOnDuplicateToken = true })
	for get.HasMorePages() {
		page, err := get.NextPage(ctx)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range page.Events {
			n++
			if want := fmt.Sprintf("line %05d é", n); *e.Message != want || *e.Timestamp != now+int64(n) || *e.IngestionTime < now {
				t.Fatalf("event %d: %q at %d", n, *e.Message, *e.Timestamp)
			}
		}
	}
	if n != len(batch)-1 {
		t.Fatalf("GetLogEvents found %d", n)
	}

	n = 0
	filter := cloudwatchlogs.NewFilterLogEventsPaginator(client, &cloudwatchlogs.FilterLogEventsInput{
		LogGroupIdentifier: aws.String("arn:aws:logs:us-east-1:123456789012:log-group:/ecs/app"),
		FilterPattern:      aws.String(`%line.\d{4}7%`), Limit: aws.Int32(300),
	})
	for filter.HasMorePages() {
		page, err := filter.NextPage(ctx)
		if err != nil {
			t.Fatal(err)
		}
		n += len(page.Events)
	}
	if n != len(batch)/10 {
		t.Fatalf("FilterLogEvents found %d", n)
	}

	groups, err := client.DescribeLogGroups(ctx, &cloudwatchlogs.DescribeLogGroupsInput{LogGroupNamePrefix: aws.String("/ecs")})
	if err != nil || len(groups.LogGroups) != 1 || *groups.LogGroups[0].Arn != "arn:aws:logs:us-east-1:123456789012:log-group:/ecs/app:*" {
		t.Fatalf("%+v, %v", groups, err)
	}
	tags, err := client.ListTagsForResource(ctx, &cloudwatchlogs.ListTagsForResourceInput{ResourceArn: groups.LogGroups[0].LogGroupArn})
	if err != nil || tags.Tags["a"] != "b" {
		t.Fatalf("%+v, %v", tags, err)
	}
	_, err = client.PutRetentionPolicy(ctx, &cloudwatchlogs.PutRetentionPolicyInput{LogGroupName: group, RetentionInDays: aws.Int32(2)})
	if _, ok := errors.AsType[*types.InvalidParameterException](err); !ok {
		t.Fatalf("got %v", err)
	}
	if _, err := client.DeleteLogGroup(ctx, &cloudwatchlogs.DeleteLogGroupInput{LogGroupName: group}); err != nil {
		t.Fatal(err)
	}
	_, err = client.DescribeLogStreams(ctx, &cloudwatchlogs.DescribeLogStreamsInput{LogGroupName: group})
	if _, ok := errors.AsType[*types.ResourceNotFoundException](err); !ok {
		t.Fatalf("got %v", err)
	}
}
