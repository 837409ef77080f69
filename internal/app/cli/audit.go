package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudtrail"
	"github.com/aws/aws-sdk-go-v2/service/cloudtrail/types"
	"github.com/spf13/cobra"
)

// auditFlags are the options of `berth audit`.
type auditFlags struct {
	since, event, user string
	denied, reads      bool
	most               int
}

func newAudit(e *environment) *cobra.Command {
	var f auditFlags
	cmd := &cobra.Command{
		Use: "audit", Short: "Print who called what, and what was denied", Args: arguments(cobra.NoArgs),
		Long: `Print the newest calls of the AWS API, oldest first: who made them and how they ended.
Calls that only read are left out unless they were denied, or --reads is given. It is
CloudTrail's LookupEvents; the whole records, without secrets, are in the log group
/berth/audit.`,
		Example: `  berth audit --denied
  berth audit --event GetSecretValue --reads --since 1h
  berth audit --user my-app-task-role -o json`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			after, err := parseSince(f.since, time.Now())
			if err != nil {
				return err
			}
			if f.most < 1 {
				return misuse("--tail %d is less than 1", f.most)
			}
			c, err := e.connect(cmd)
			if err != nil {
				return err
			}
			calls, err := c.calls(cmd.Context(), &f, after)
			if err != nil {
				return err
			}
			return e.printCalls(calls)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&f.since, "since", "24h", "only what is newer: 10m, 2h, or a time such as 2026-11-22T10:00:00Z")
	flags.StringVar(&f.event, "event", "", "only this operation, such as GetSecretValue")
	flags.StringVar(&f.user, "user", "", "only who has this in their ARN, such as a role's or a task's")
	flags.BoolVar(&f.denied, "denied", false, "only what was denied")
	flags.BoolVar(&f.reads, "reads", false, "what only reads, too")
	flags.IntVar(&f.most, "tail", 50, "at most this many")
	outputFlag(e, cmd)
	return cmd
}

// call is one record of the audit.
type call struct {
	EventTime    time.Time `json:"eventTime"`
	EventSource  string    `json:"eventSource"`
	EventName    string    `json:"eventName"`
	ReadOnly     bool      `json:"readOnly"`
	ErrorCode    string    `json:"errorCode"`
	ErrorMessage string    `json:"errorMessage"`
	UserIdentity struct {
		ARN       string `json:"arn"`
		InvokedBy string `json:"invokedBy"`
	} `json:"userIdentity"`

	raw json.RawMessage
}

func (r *call) denied() bool {
	return strings.Contains(r.ErrorCode, "AccessDenied") || strings.Contains(r.ErrorCode, "Unauthorized")
}

func (f *auditFlags) wants(r *call) bool {
	return (!f.denied || r.denied()) && (f.reads || f.event != "" || !r.ReadOnly || r.denied()) && strings.Contains(r.UserIdentity.ARN, f.user)
}

// calls are the newest that are wanted, oldest first.
func (c *clients) calls(ctx context.Context, f *auditFlags, after time.Time) ([]call, error) {
	in := &cloudtrail.LookupEventsInput{StartTime: &after}
	if f.event != "" {
		in.LookupAttributes = []types.LookupAttribute{{AttributeKey: types.LookupAttributeKeyEventName, AttributeValue: &f.event}}
	} else if !f.reads && !f.denied {
		in.LookupAttributes = []types.LookupAttribute{{AttributeKey: types.LookupAttributeKeyReadOnly, AttributeValue: aws.String("false")}}
	}
	var found []call
	for pages := cloudtrail.NewLookupEventsPaginator(c.trail, in); pages.HasMorePages() && len(found) < f.most; {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, fmt.Errorf("reading the audit: %w", explained(err))
		}
		for _, event := range page.Events {
			r := call{raw: json.RawMessage(aws.ToString(event.CloudTrailEvent))}
			if err := json.Unmarshal(r.raw, &r); err != nil {
				return nil, fmt.Errorf("reading the record %s: %w", aws.ToString(event.EventId), err)
			}
			if f.wants(&r) && len(found) < f.most {
				found = append(found, r)
			}
		}
	}
	slices.Reverse(found)
	return found, nil
}

func (e *environment) printCalls(calls []call) error {
	if e.output == formJSON {
		records := []json.RawMessage{}
		for _, r := range calls {
			records = append(records, r.raw)
		}
		return e.writeJSON(records)
	}
	p := newPrinter(e.out)
	for i := range calls {
		if _, err := fmt.Fprintln(e.out, calls[i].line(p)); err != nil {
			return err
		}
	}
	return nil
}

// line is what a person reads: when, who, what, and why not.
func (r *call) line(p *printer) string {
	service, _, _ := strings.Cut(r.EventSource, ".")
	who := r.UserIdentity.ARN
	if _, resource, found := strings.Cut(who, "::"); found { // the account is the same in all of them
		_, who, _ = strings.Cut(resource, ":")
	}
	line := fmt.Sprintf("%s  %s:%s  %s", p.paint("2", r.EventTime.Local().Format(time.DateTime)), service, r.EventName, who)
	if r.UserIdentity.InvokedBy != "" {
		line += " by " + r.UserIdentity.InvokedBy
	}
	if r.ErrorCode != "" {
		line += "  " + p.paint("31", "✗ "+r.ErrorCode) + ": " + r.ErrorMessage
	}
	return line
}
