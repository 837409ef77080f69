package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strings"

	"berth.dev/berth/internal/agent/firewall"
	"berth.dev/berth/internal/agent/lb"
	"berth.dev/berth/internal/agent/logdriver"
	"berth.dev/berth/internal/agent/network"
	"berth.dev/berth/internal/agent/runtime"
	"berth.dev/berth/internal/agent/session"
	"berth.dev/berth/internal/agent/task"
	"berth.dev/berth/internal/base/fault"
	"berth.dev/berth/internal/base/telemetry"
	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/wire/nodeapi"
)

// networks makes interfaces with the network manager, for tasks and for load
// balancers. No process meets one that is not filtered.
type networks struct {
	manager  *network.Manager
	firewall *firewall.Firewall
}

var (
	_ task.Network = networks{}
	_ lb.Network   = networks{}
)

func (n networks) NetNSPath(eniID string) string { return n.manager.NetNSPath(eniID) }

func (n networks) Attach(ctx context.Context, eni model.AssignedNetwork) (string, error) {
	parsed, err := parseENI(eni)
	if err != nil {
		return "", err
	}
	attachment, err := n.manager.Attach(ctx, parsed)
	if err != nil {
		return "", err
	}
	return attachment.NetNSPath, n.firewall.Ensure(ctx, eni.ID)
}

func parseENI(eni model.AssignedNetwork) (network.ENI, error) {
	vpc, err1 := netip.ParsePrefix(eni.VPCCIDR)
	subnet, err2 := netip.ParsePrefix(eni.SubnetCIDR)
	address, err3 := netip.ParseAddr(eni.Address)
	mac, err4 := net.ParseMAC(eni.MAC)
	if err := errors.Join(err1, err2, err3, err4); err != nil {
		return network.ENI{}, fmt.Errorf("reading network interface %s: %w", eni.ID, err)
	}
	owner := eni.OwnerID
	if eni.Owner == model.InterfaceOfTask {
		owner = eni.TaskARN[strings.LastIndexByte(eni.TaskARN, '/')+1:]
	}
	return network.ENI{
		ID: eni.ID, OwnerID: owner,
		VPC: network.VPC{ID: eni.VPCID, CIDR: vpc}, Subnet: subnet, Address: address, MAC: mac,
	}, nil
}

func (n networks) Detach(ctx context.Context, eniID string) error {
	return n.manager.Detach(ctx, eniID)
}

// List leaves out what belongs to load balancers: the task engine removes what
// no task of its has.
func (n networks) List(ctx context.Context) ([]string, error) {
	attachments, err := n.manager.List(ctx)
	if err != nil {
		return nil, err
	}
	var ids []string
	for _, a := range attachments {
		if a.ENI.OfTask() {
			ids = append(ids, a.ENI.ID)
		}
	}
	return ids, nil
}

// logs gives containers their log streams.
type logs struct {
	driver *logdriver.Driver
	// secrets are options that a task's execution role fetched.
	secrets func(taskID, container string) map[string]string
}

var _ task.Logs = logs{}

func (l logs) Prepare(ctx context.Context, a *model.Assignment, def *model.ContainerDefinition, runtimeID string) (runtime.Log, error) {
	given, secret := maps.Clone(def.LogConfiguration.Options), l.secrets(a.Task.ID, def.Name)
	maps.Copy(given, secret)
	options, err := logdriver.ParseOptions(given, "")
	if err != nil && len(secret) > 0 {
		// Not wrapped: it may quote a value.
		err = errors.New("the options of the log driver and its secretOptions do not make a valid configuration")
	}
	if err != nil {
		return runtime.Log{}, fmt.Errorf("ResourceInitializationError: failed to validate logger args: %w", err)
	}
	args, err := l.driver.Prepare(ctx, logdriver.Stream{ID: runtimeID, Container: def.Name, TaskID: a.Task.ID, Options: options})
	if err != nil {
		return runtime.Log{}, err
	}
	if err := l.driver.Follow(runtimeID); err != nil {
		return runtime.Log{}, err
	}
	return runtime.Log{Binary: args.Binary, Args: args.Args}, nil
}

func (l logs) Finish(ctx context.Context, runtimeID string) error {
	err := l.driver.Drain(ctx, runtimeID)
	if errors.Is(err, logdriver.ErrUnknown) {
		return nil // it never had a stream
	}
	return errors.Join(err, l.driver.Remove(runtimeID))
}

// adopt resumes the delivery of what earlier containers wrote. The spools of
// containers that are gone go too, when everything in them is delivered.
// A spool that is damaged is said and left alone: it keeps no node from running.
func (l logs) adopt(ctx context.Context, containers runtime.Runtime, log *slog.Logger) error {
	ids, err := l.driver.Adopt()
	if err != nil {
		log.ErrorContext(ctx, "some output of earlier containers cannot be delivered", telemetry.Error, err)
	}
	known, err := containers.List(ctx)
	if err != nil {
		return err
	}
	for _, id := range ids {
		if slices.ContainsFunc(known, func(c runtime.Status) bool { return c.ID == id }) {
			continue
		}
		if err := l.driver.Remove(id); err != nil {
			return err
		}
	}
	return nil
}

// sink delivers lines through the session.
type sink struct{ client *session.Client }

var _ logdriver.Sink = sink{}

// EnsureStream waits for a control plane that is away, as deliveries do: a
// task whose start has begun does not fail because the server starts again.
func (s sink) EnsureStream(ctx context.Context, of logdriver.Source, createGroup bool) error {
	_, err := session.Insist(ctx, func(ctx context.Context) (struct{}, error) {
		return struct{}{}, s.client.EnsureLogStream(ctx, streamOf(of), createGroup)
	})
	return final(err)
}

func streamOf(s logdriver.Source) session.LogStream {
	return session.LogStream{Group: s.Group, Name: s.Stream, TaskID: s.TaskID, Container: s.Container}
}

func (s sink) Deliver(ctx context.Context, of logdriver.Source, events []logdriver.Event) error {
	out := make([]*nodeapi.LogEvent, len(events))
	for i, e := range events {
		out[i] = &nodeapi.LogEvent{Seq: e.Seq, TimestampMs: e.Timestamp.UnixMilli(), Message: e.Message}
	}
	return final(s.client.DeliverLogs(ctx, streamOf(of), of.ID, out))
}

// final gives the control plane's no the class that the driver acts upon.
func final(err error) error {
	if session.IsRefused(err) {
		return fault.New(fault.NotFound, "%s", err.Error())
	}
	return err
}
