package etcdkv

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"berth.dev/berth/internal/data/kv"
)

var (
	_ kv.KV        = (*KV)(nil)
	_ kv.Compactor = (*KV)(nil)
)

// KV is a kv.KV on an etcd client. Use New.
type KV struct{ client *clientv3.Client }

// New wraps a client. The client stays the caller's to close.
func New(client *clientv3.Client) *KV { return &KV{client: client} }

// errClosed says that a watch ended though nobody ended it: the client was closed.
var errClosed = errors.New("etcd client is closed")

// classes pairs etcd's errors with the contract's.
var classes = []struct{ etcd, kv error }{
	{rpctypes.ErrCompacted, kv.ErrCompacted},
	{rpctypes.ErrFutureRev, kv.ErrFutureRev},
	{rpctypes.ErrTooManyOps, kv.ErrTooLarge},
	{rpctypes.ErrRequestTooLarge, kv.ErrTooLarge},
	{rpctypes.ErrDuplicateKey, kv.ErrDuplicateKey},
	{rpctypes.ErrEmptyKey, kv.ErrEmptyKey},
	{rpctypes.ErrLeaseNotFound, kv.ErrLeaseNotFound},
	{rpctypes.ErrNoSpace, kv.ErrNoSpace},
}

func translate(what string, err error) error {
	if err == nil {
		return nil
	}
	for _, c := range classes {
		if errors.Is(err, c.etcd) {
			return fmt.Errorf("etcd: %s: %w", what, c.kv)
		}
	}
	return fmt.Errorf("etcd: %s: %w", what, err)
}

// low is the lowest key there is: etcd has no empty key, and the range from here to itself means everything.
const low = "\x00"

// span returns the ends of the range of keys with a prefix.
func span(prefix string) (from, end string) {
	if prefix == "" {
		return low, low
	}
	return prefix, clientv3.GetPrefixRangeEnd(prefix)
}

// Range implements [kv.KV].
func (e *KV) Range(ctx context.Context, q kv.Query) (kv.RangeResult, error) {
	if q.Key == "" && !q.Prefix {
		return kv.RangeResult{}, kv.ErrEmptyKey
	}
	from, opts := q.Key, []clientv3.OpOption{clientv3.WithRev(q.Rev)}
	if q.Prefix {
		var end string
		from, end = span(q.Key)
		if q.After != "" {
			from = max(from, q.After+low)
		}
		opts = append(opts, clientv3.WithRange(end), clientv3.WithLimit(int64(q.Limit)))
		if end != low && from >= end {
			// After lies behind the prefix. etcd takes a range that ends before it begins for a mistake, so ask for
			// nothing else than the revision.
			opts = []clientv3.OpOption{clientv3.WithRev(q.Rev), clientv3.WithCountOnly()}
		}
	}
	res, err := e.client.Get(ctx, from, opts...)
	if err != nil {
		return kv.RangeResult{}, translate("range", err)
	}
	return kv.RangeResult{Pairs: pairs(res.Kvs), Rev: res.Header.Revision, More: res.More}, nil
}

// Txn implements [kv.KV].
func (e *KV) Txn(ctx context.Context, t kv.Txn) (kv.TxnResult, error) {
	if err := t.Check(); err != nil {
		return kv.TxnResult{}, err
	}
	ifs := make([]clientv3.Cmp, len(t.If))
	for i, c := range t.If {
		ifs[i] = compare(c)
	}
	res, err := e.client.Txn(ctx).If(ifs...).Then(ops(t.Then)...).Else(ops(t.Else)...).Commit()
	if err != nil {
		return kv.TxnResult{}, translate("transaction", err)
	}
	out := kv.TxnResult{Succeeded: res.Succeeded, Rev: res.Header.Revision}
	branch := t.Else
	if res.Succeeded {
		branch = t.Then
	}
	for i, o := range branch {
		if o.Kind != kv.OpGet {
			continue
		}
		p := kv.Pair{Key: o.Key}
		if kvs := res.Responses[i].GetResponseRange().GetKvs(); len(kvs) == 1 {
			p = pair(kvs[0])
		}
		out.Pairs = append(out.Pairs, p)
	}
	return out, nil
}

func compare(c kv.Compare) clientv3.Cmp {
	key, end := c.Key, ""
	if c.Prefix {
		key, end = span(c.Key)
	}
	var target clientv3.Cmp
	switch c.Field {
	case kv.CreateRev:
		target = clientv3.CreateRevision(key)
	case kv.Version:
		target = clientv3.Version(key)
	default:
		target = clientv3.ModRevision(key)
	}
	relation := "="
	switch c.Is {
	case kv.Less:
		relation = "<"
	case kv.Greater:
		relation = ">"
	case kv.NotEqual:
		relation = "!="
	case kv.Equal:
	}
	cmp := clientv3.Compare(target, relation, c.Num)
	if c.Prefix {
		cmp = cmp.WithRange(end)
	}
	return cmp
}

func ops(in []kv.Op) []clientv3.Op {
	out := make([]clientv3.Op, len(in))
	for i, o := range in {
		switch o.Kind {
		case kv.OpDelete:
			out[i] = clientv3.OpDelete(o.Key)
		case kv.OpGet:
			out[i] = clientv3.OpGet(o.Key)
		default:
			out[i] = clientv3.OpPut(o.Key, string(o.Value), clientv3.WithLease(clientv3.LeaseID(o.Lease)))
		}
	}
	return out
}

func pairs(in []*mvccpb.KeyValue) []kv.Pair {
	if len(in) == 0 {
		return nil
	}
	out := make([]kv.Pair, len(in))
	for i, p := range in {
		out[i] = pair(p)
	}
	return out
}

func pair(p *mvccpb.KeyValue) kv.Pair {
	return kv.Pair{
		Key: string(p.Key), Value: p.Value,
		CreateRev: p.CreateRevision, ModRev: p.ModRevision, Version: p.Version, Lease: kv.LeaseID(p.Lease),
	}
}

// Watch implements [kv.KV].
func (e *KV) Watch(ctx context.Context, prefix string, from int64, deliver func([]kv.Commit) error) error {
	inner, cancel := context.WithCancel(ctx)
	defer cancel()
	key, end := span(prefix)
	// A member that lost its cluster must end the watch rather than fall silent; then another one is asked.
	events := e.client.Watch(clientv3.WithRequireLeader(inner), key, clientv3.WithRange(end), clientv3.WithRev(from))
	for res := range events {
		if err := ctx.Err(); err != nil {
			return err
		}
		if res.CompactRevision != 0 {
			return translate("watch", rpctypes.ErrCompacted)
		}
		if err := res.Err(); err != nil {
			return translate("watch", err)
		}
		if batch := commits(res.Events); len(batch) > 0 {
			if err := deliver(batch); err != nil {
				return err
			}
		}
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	return fmt.Errorf("etcd: watch: %w", errClosed)
}

// commits groups events by revision. etcd never splits a revision over two responses unless fragments are asked for, and
// the client would join those.
func commits(events []*clientv3.Event) []kv.Commit {
	var out []kv.Commit
	for _, e := range events {
		if rev := e.Kv.ModRevision; len(out) == 0 || out[len(out)-1].Rev != rev {
			out = append(out, kv.Commit{Rev: rev})
		}
		ev := kv.Event{Pair: kv.Pair{Key: string(e.Kv.Key), ModRev: e.Kv.ModRevision}, Deleted: true}
		if e.Type == clientv3.EventTypePut {
			ev = kv.Event{Pair: pair(e.Kv)}
		}
		last := &out[len(out)-1]
		last.Events = append(last.Events, ev)
	}
	return out
}

// Compact implements [kv.Compactor].
func (e *KV) Compact(ctx context.Context, rev int64) error {
	_, err := e.client.Compact(ctx, rev)
	return translate("compact", err)
}

// Grant implements [kv.KV].
func (e *KV) Grant(ctx context.Context, ttl time.Duration) (kv.LeaseID, error) {
	res, err := e.client.Grant(ctx, int64(max((ttl+time.Second-1)/time.Second, 1)))
	if err != nil {
		return 0, translate("grant lease", err)
	}
	return kv.LeaseID(res.ID), nil
}

// KeepAlive implements [kv.KV].
func (e *KV) KeepAlive(ctx context.Context, id kv.LeaseID) error {
	_, err := e.client.KeepAliveOnce(ctx, clientv3.LeaseID(id))
	return translate("keep lease alive", err)
}

// Revoke implements [kv.KV].
func (e *KV) Revoke(ctx context.Context, id kv.LeaseID) error {
	_, err := e.client.Revoke(ctx, clientv3.LeaseID(id))
	return translate("revoke lease", err)
}
