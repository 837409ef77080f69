package cloudtrail

import (
	"context"
	"fmt"
	"iter"
	"time"

	"berth.dev/berth/internal/data/logstore"
	"berth.dev/berth/internal/wire/api/cloudtrailapi"
)

// DefaultGroup is the log group that has the records.
const DefaultGroup = "/berth/audit"

// Logs is where the records are; *logstore.Store is one.
type Logs interface {
	Streams(ctx context.Context, list logstore.StreamList) iter.Seq2[logstore.Stream, error]
	Read(ctx context.Context, q logstore.StreamQuery) ([]logstore.Record, error)
}

// Config is what a provider needs.
type Config struct {
	Logs Logs
	// Group is the log group of the records; DefaultGroup when empty.
	Group string
	// AccountID is whose the records are.
	AccountID string
	// Now is the clock; time.Now when nil.
	Now func() time.Time
}

// Provider implements cloudtrailapi.Service. It holds no state.
type Provider struct {
	cloudtrailapi.Unimplemented

	cfg Config
}

var _ cloudtrailapi.Service = (*Provider)(nil)

// New returns a provider.
func New(cfg Config) *Provider {
	if cfg.Group == "" {
		cfg.Group = DefaultGroup
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	return &Provider{cfg: cfg}
}

// DescribeTrails implements cloudtrailapi.Service: there is none.
func (p *Provider) DescribeTrails(context.Context, *cloudtrailapi.DescribeTrailsInput) (*cloudtrailapi.DescribeTrailsOutput, error) {
	return &cloudtrailapi.DescribeTrailsOutput{TrailList: []cloudtrailapi.Trail{}}, nil
}

// ListTrails implements cloudtrailapi.Service: there is none.
func (p *Provider) ListTrails(context.Context, *cloudtrailapi.ListTrailsInput) (*cloudtrailapi.ListTrailsOutput, error) {
	return &cloudtrailapi.ListTrailsOutput{Trails: []cloudtrailapi.TrailInfo{}}, nil
}

// GetTrailStatus implements cloudtrailapi.Service: no trail has one.
func (p *Provider) GetTrailStatus(_ context.Context, in *cloudtrailapi.GetTrailStatusInput) (*cloudtrailapi.GetTrailStatusOutput, error) {
	return nil, &cloudtrailapi.TrailNotFoundException{Message: new(fmt.Sprintf("Unknown trail: %s for the user: %s", *in.Name, p.cfg.AccountID))}
}
