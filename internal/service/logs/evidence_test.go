package logs_test

import (
	"context"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"berth.dev/berth/internal/data/logstore"
	"berth.dev/berth/internal/service/logs"
	"berth.dev/berth/internal/wire/api/logsapi"
	"berth.dev/berth/internal/wire/caller"
)

// Nobody changes a group that is evidence, whatever his policies say, but
// everybody who may reads it; root alone says how long it is kept.
func TestEvidence(t *testing.T) {
	store, err := logstore.Open(t.TempDir(), logstore.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() }) //nolint:errcheck // the test is over
	group, stream := aws.String("/berth/audit"), aws.String("2026-11-22")
	if err := store.EnsureStream(t.Context(), *group, *stream, true); err != nil {
		t.Fatal(err)
	}
	p := logs.New(logs.Config{Store: store, AccountID: account, Region: region, Evidence: []string{*group}})
	as := func(name string) context.Context {
		return caller.With(t.Context(), caller.Identity{ARN: "arn:aws:iam::" + account + ":" + name})
	}
	now := time.Now().UnixMilli()
	for _, who := range []string{"user/admin", "root"} {
		ctx := as(who)
		_, put := p.PutLogEvents(ctx, &logsapi.PutLogEventsInput{LogGroupName: group, LogStreamName: stream, LogEvents: []logsapi.InputLogEvent{{Timestamp: &now, Message: aws.String("forged")}}})
		_, create := p.CreateLogStream(ctx, &logsapi.CreateLogStreamInput{LogGroupName: group, LogStreamName: aws.String("2026-11-23")})
		_, remove := p.DeleteLogStream(ctx, &logsapi.DeleteLogStreamInput{LogGroupName: group, LogStreamName: stream})
		_, removeAll := p.DeleteLogGroup(ctx, &logsapi.DeleteLogGroupInput{LogGroupName: group})
		_, protect := p.PutLogGroupDeletionProtection(ctx, &logsapi.PutLogGroupDeletionProtectionInput{LogGroupIdentifier: group, DeletionProtectionEnabled: aws.Bool(false)})
		for name, err := range map[string]error{"PutLogEvents": put, "CreateLogStream": create, "DeleteLogStream": remove, "DeleteLogGroup": removeAll, "PutLogGroupDeletionProtection": protect} {
			if err == nil {
				t.Errorf("%s is allowed to %s", name, who)
			}
		}
		_, keep := p.PutRetentionPolicy(ctx, &logsapi.PutRetentionPolicyInput{LogGroupName: group, RetentionInDays: aws.Int32(1)})
		_, forget := p.DeleteRetentionPolicy(ctx, &logsapi.DeleteRetentionPolicyInput{LogGroupName: group})
		if allowed := keep == nil && forget == nil; allowed != (who == "root") {
			t.Errorf("how long it is kept: %s hears %v, %v", who, keep, forget)
		}
		if _, err := p.GetLogEvents(ctx, &logsapi.GetLogEventsInput{LogGroupName: group, LogStreamName: stream}); err != nil {
			t.Errorf("%s may not read: %v", who, err)
		}
	}
}
