package logs

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"berth.dev/berth/internal/base/arn"
	"berth.dev/berth/internal/base/fault"
	"berth.dev/berth/internal/base/telemetry"
	"berth.dev/berth/internal/data/logstore"
	"berth.dev/berth/internal/wire/api/logsapi"
	"berth.dev/berth/internal/wire/caller"
)

// Config is what a provider needs.
type Config struct {
	Store     *logstore.Store
	AccountID string // twelve digits
	Region    string
	Partition string           // "aws" when empty
	Now       func() time.Time // time.Now when nil
	Logger    *slog.Logger     // nothing is logged when nil
	// Evidence names groups that Berth writes as evidence, such as the audit:
	// users read them, and change nothing in them. How long they are kept is
	// for the root user to say.
	Evidence []string
}

// Provider implements logsapi.Service.
type Provider struct {
	logsapi.Unimplemented
	store *logstore.Store
	scope arn.Scope
	now   func() time.Time
	log   *slog.Logger

	evidence []string
}

var _ logsapi.Service = (*Provider)(nil)

// New returns a provider of CloudWatch Logs.
func New(c Config) *Provider {
	p := &Provider{
		store: c.Store,
		scope: arn.Scope{Partition: c.Partition, Region: c.Region, AccountID: c.AccountID},
		now:   c.Now,
		log:   c.Logger,

		evidence: c.Evidence,
	}
	if p.now == nil {
		p.now = time.Now
	}
	if p.log == nil {
		p.log = slog.New(slog.DiscardHandler)
	}
	return p
}

// nowMillis is the time now as the Logs API writes times.
func (p *Provider) nowMillis() int64 { return p.now().UnixMilli() }

// invalid returns an InvalidParameterException.
func invalid(text string) error {
	return &logsapi.InvalidParameterException{Message: &text}
}

func notFound(text string) error {
	return &logsapi.ResourceNotFoundException{Message: &text}
}

func alreadyExists(text string) error {
	return &logsapi.ResourceAlreadyExistsException{Message: &text}
}

// AWS's sentences for what is there or not.
const (
	noGroup      = "The specified log group does not exist."
	noStream     = "The specified log stream does not exist."
	groupExists  = "The specified log group already exists"
	streamExists = "The specified log stream already exists"
)

// answer turns an error of the store into the one that the API documents.
// Errors of the API itself pass, unknown ones stay for the gateway.
func (p *Provider) answer(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, logstore.ErrGroupNotFound):
		return notFound(noGroup)
	case errors.Is(err, logstore.ErrStreamNotFound):
		return notFound(noStream)
	case errors.Is(err, logstore.ErrGroupExists):
		return alreadyExists(groupExists)
	case errors.Is(err, logstore.ErrStreamExists):
		return alreadyExists(streamExists)
	case errors.Is(err, logstore.ErrProtected):
		text := "The specified log group has deletion protection enabled and cannot be deleted."
		return &logsapi.ValidationException{Message: &text}
	case errors.Is(err, fault.Invalid):
		return invalid(err.Error())
	case errors.Is(err, fault.Unavailable):
		p.log.Error("log store is not available", telemetry.Error, err)
		text := "The service cannot complete the request."
		if errors.Is(err, logstore.ErrDiskFull) {
			text = "The service cannot complete the request: the disk of the server is full."
		}
		return &logsapi.ServiceUnavailableException{Message: &text}
	}
	return err
}

// groupOf returns the name of the group that a request is about, which is
// given as a name or as an identifier: a name or an ARN.
func (p *Provider) groupOf(name, identifier *string) (string, error) {
	switch {
	case name != nil && identifier != nil:
		return "", invalid("LogGroup name and LogGroup ARN are mutually exclusive parameters.")
	case name != nil:
		return *name, nil
	case identifier != nil:
		return p.groupFromIdentifier(*identifier)
	}
	return "", invalid("One of the parameters logGroupName and logGroupIdentifier is required.")
}

// groupFromIdentifier returns the name of a group given by name or ARN. A group
// of another account or Region does not exist here.
func (p *Provider) groupFromIdentifier(identifier string) (string, error) {
	if !arn.Is(identifier) {
		return identifier, nil
	}
	parsed, err := arn.Parse(identifier)
	name, isGroup := strings.CutPrefix(parsed.Resource, "log-group:")
	name = strings.TrimSuffix(name, ":*")
	if err != nil || parsed.Service != "logs" || !isGroup || name == "" || strings.ContainsAny(name, ":*") {
		return "", invalid("The specified log group ARN is invalid: " + identifier)
	}
	if p.scope.LogGroup(name) != parsedGroup(parsed, name) {
		return "", notFound(noGroup)
	}
	return name, nil
}

// parsedGroup writes an ARN again without its trailing ":*".
func parsedGroup(a arn.ARN, name string) string {
	a.Resource = "log-group:" + name
	return a.String()
}

// untouchable refuses a change of a group that is evidence: whoever may write
// logs could else write, or remove, what he has done.
func (p *Provider) untouchable(group string) error {
	if !slices.Contains(p.evidence, group) {
		return nil
	}
	return invalid(fmt.Sprintf("The log group %s is written by Berth alone: its events can be read, and not changed.", group))
}

// rootsAlone refuses what only the root user may say of evidence.
func (p *Provider) rootsAlone(ctx context.Context, group string) error {
	if who, ok := caller.From(ctx); ok && who.ARN == p.scope.Root() {
		return nil
	}
	return p.untouchable(group)
}
