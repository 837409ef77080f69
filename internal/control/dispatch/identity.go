package dispatch

import (
	"context"
	"errors"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"berth.dev/berth/internal/base/fault"
	"berth.dev/berth/internal/base/telemetry"
	"berth.dev/berth/internal/control/nodeca"
	"berth.dev/berth/internal/data/records"
	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/wire/nodeapi"
)

// nodeID is the instance id that the peer's certificate proves, and until
// when. A connection may be older than the end of its certificate.
func nodeID(ctx context.Context, now time.Time) (string, time.Time, error) {
	if p, ok := peer.FromContext(ctx); ok {
		if info, isTLS := p.AuthInfo.(credentials.TLSInfo); isTLS && len(info.State.VerifiedChains) > 0 {
			leaf := info.State.VerifiedChains[0][0]
			if now.After(leaf.NotAfter) {
				return "", time.Time{}, status.Error(codes.Unauthenticated, "the node's certificate has expired")
			}
			return leaf.Subject.CommonName, leaf.NotAfter, nil
		}
	}
	return "", time.Time{}, status.Error(codes.Unauthenticated, "the node shows no certificate: join first")
}

// notYours is the answer for every task that the node does not have, whether
// or not there is one: a node learns nothing of others' tasks.
func notYours(taskID string) error {
	return status.Errorf(codes.PermissionDenied, "the node has no task %q", taskID)
}

// ownTask is a task of the calling node that has not ended. A node that was
// deregistered may only end what it has.
func (d *Dispatcher) ownTask(ctx context.Context, taskID string) (*model.Task, error) {
	node, _, err := nodeID(ctx, time.Now())
	if err != nil {
		return nil, err
	}
	snap := d.cfg.Store.Snapshot()
	t, ok := records.Tasks.Get(snap, taskID)
	if !ok || t.InstanceID != node || t.Stopped() {
		return nil, notYours(taskID)
	}
	if i, ok := records.Instances.Get(snap, node); !ok || i.Status == model.InstanceInactive {
		return nil, status.Error(codes.PermissionDenied, "the container instance is not registered")
	}
	return t, nil
}

// Join gives a certificate for a join token's secret, or renews the one that
// the node shows.
func (d *Dispatcher) Join(ctx context.Context, in *nodeapi.JoinRequest) (*nodeapi.JoinResponse, error) {
	cert, err := d.join(ctx, in)
	switch {
	case errors.Is(err, fault.Denied):
		return nil, status.Error(codes.PermissionDenied, err.Error())
	case errors.Is(err, fault.Invalid):
		return nil, status.Error(codes.InvalidArgument, err.Error())
	case status.Code(err) == codes.Unauthenticated, status.Code(err) == codes.PermissionDenied:
		return nil, err
	case err != nil:
		d.cfg.Log.ErrorContext(ctx, "a node's certificate was not signed", telemetry.Error, err)
		return nil, status.Error(codes.Internal, "the certificate was not signed")
	}
	return &nodeapi.JoinResponse{Certificate: cert, CaCertificate: d.cfg.Authority.CertificateDER()}, nil
}

func (d *Dispatcher) join(ctx context.Context, in *nodeapi.JoinRequest) ([]byte, error) {
	now := time.Now()
	if in.GetTokenSecret() != "" {
		return d.cfg.Authority.Admit(ctx, d.cfg.Store, nodeca.Attempt{
			Secret: in.GetTokenSecret(), Request: in.GetCertificateRequest(), Remote: isRemote(ctx),
		}, now)
	}
	node, _, err := nodeID(ctx, now)
	if err != nil {
		return nil, err
	}
	if i, ok := records.Instances.Get(d.cfg.Store.Snapshot(), node); !ok || i.Status == model.InstanceInactive {
		return nil, status.Error(codes.PermissionDenied, "the container instance is not registered")
	}
	return d.cfg.Authority.Renew(node, in.GetCertificateRequest(), now)
}

// isRemote is true of a peer that came over the network. The instance's own
// socket is for this host's root, who can read the authority's key anyway.
func isRemote(ctx context.Context) bool {
	p, ok := peer.FromContext(ctx)
	return !ok || p.Addr == nil || p.Addr.Network() == "tcp"
}
