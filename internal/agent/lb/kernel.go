package lb

import (
	"context"

	"berth.dev/berth/internal/model"
)

func (b *balancer) kernel(ctx context.Context, doc *model.NodeLoadBalancer) error { return nil }
func (b *balancer) removeRules(ctx context.Context) error                         { return nil }
