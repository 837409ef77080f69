package dispatch

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"berth.dev/berth/internal/base/fault"
	"berth.dev/berth/internal/base/telemetry"
	"berth.dev/berth/internal/data/records"
	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/rules/taskspec"
	"berth.dev/berth/internal/wire/nodeapi"
)

// desired is what the node is told. A task that is to stop runs on for as long
// as a load balancer or a name may still lead to it.
func desired(t *model.Task) string {
	if t.DesiredStatus == model.TaskStopped && !t.Ends() {
		return model.TaskRunning
	}
	return t.DesiredStatus
}

// assignment gathers everything that the node needs, with the overrides
// already applied to the definition.
func (d *Dispatcher) assignment(snap *store.Snapshot, t *model.Task) (*model.Assignment, error) {
	def, ok := records.TaskDefinitions.Get(snap, model.TaskDefinitionKey(t.Family, t.Revision))
	if !ok {
		return nil, fmt.Errorf("task definition %s is gone", t.TaskDefinitionARN)
	}
	effective, err := taskspec.Apply(*def, t.Overrides)
	if err != nil {
		return nil, fmt.Errorf("applying overrides: %w", err)
	}
	a := &model.Assignment{
		Task: *t, TaskDefinition: effective,
		Region: d.cfg.Scope.Region, AccountID: d.cfg.Scope.AccountID,
		ClusterARN: d.cfg.Scope.Cluster(t.ClusterName),
	}
	a.Task.DesiredStatus = desired(t)
	if t.ENIID == "" {
		return a, nil
	}
	eni, ok := records.NetworkInterfaces.Get(snap, t.ENIID)
	if !ok {
		return nil, fmt.Errorf("network interface %s is gone", t.ENIID)
	}
	subnet, ok := records.Subnets.Get(snap, eni.SubnetID)
	if !ok {
		return nil, fmt.Errorf("subnet %s is gone", eni.SubnetID)
	}
	vpc, ok := records.VPCs.Get(snap, eni.VPCID)
	if !ok {
		return nil, fmt.Errorf("VPC %s is gone", eni.VPCID)
	}
	a.NetworkInterface = &model.AssignedNetwork{NetworkInterface: *eni, VPCCIDR: vpc.CIDR, SubnetCIDR: subnet.CIDR}
	return a, nil
}

func attributes(values map[string]string) []model.Attribute {
	var out []model.Attribute
	for name, value := range values {
		out = append(out, model.Attribute{Name: name, Value: value})
	}
	slices.SortFunc(out, func(a, b model.Attribute) int { return strings.Compare(a.Name, b.Name) })
	return out
}

// Join gives a certificate for the join token's secret.
func (d *Dispatcher) Join(ctx context.Context, in *nodeapi.JoinRequest) (*nodeapi.JoinResponse, error) {
	cert, err := d.cfg.Authority.SignNode(in.GetTokenSecret(), in.GetCertificateRequest(), time.Now())
	switch {
	case errors.Is(err, fault.Denied):
		return nil, status.Error(codes.PermissionDenied, err.Error())
	case errors.Is(err, fault.Invalid):
		return nil, status.Error(codes.InvalidArgument, err.Error())
	case err != nil:
		d.cfg.Log.ErrorContext(ctx, "a node's certificate was not signed", telemetry.Error, err)
		return nil, status.Error(codes.Internal, "the certificate was not signed")
	}
	return &nodeapi.JoinResponse{Certificate: cert, CaCertificate: d.cfg.Authority.CertificateDER()}, nil
}

// EnsureLogStream makes a container's log stream.
func (d *Dispatcher) EnsureLogStream(ctx context.Context, in *nodeapi.EnsureLogStreamRequest) (*nodeapi.EnsureLogStreamResponse, error) {
	if _, err := nodeID(ctx); err != nil {
		return nil, err
	}
	text, err := refusal(d.cfg.Logs.EnsureStream(ctx, in.GetGroup(), in.GetStream(), in.GetCreateGroup()))
	return &nodeapi.EnsureLogStreamResponse{Refusal: text}, err
}

// DeliverLogs stores a container's output.
func (d *Dispatcher) DeliverLogs(ctx context.Context, in *nodeapi.DeliverLogsRequest) (*nodeapi.DeliverLogsResponse, error) {
	node, err := nodeID(ctx)
	if err != nil {
		return nil, err
	}
	events := make([]LogEvent, len(in.GetEvents()))
	for i, e := range in.GetEvents() {
		events[i] = LogEvent{Seq: e.GetSeq(), TimestampMS: e.GetTimestampMs(), Message: e.GetMessage()}
	}
	// A node names its sources as it likes, but only within its own name.
	text, err := refusal(d.cfg.Logs.Deliver(ctx, in.GetGroup(), in.GetStream(), node+"/"+in.GetSource(), events))
	return &nodeapi.DeliverLogsResponse{Refusal: text}, err
}

// refusal tells what the node must act on from what it may try again.
func refusal(err error) (string, error) {
	var r *Refusal
	if errors.As(err, &r) {
		return r.Text, nil
	}
	if err != nil {
		return "", status.Error(codes.Unavailable, err.Error())
	}
	return "", nil
}
