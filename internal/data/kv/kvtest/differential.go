package kvtest

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"berth.dev/berth/internal/data/kv"
)

// Differential plays random histories against two stores and compares every answer, and in the end the watches from every
// revision. The stores may hold other keys and be at other revisions: each history has a prefix of its own, and revisions
// are compared as distances from where it began. Nobody else may write to the stores meanwhile.
func Differential(t *testing.T, a, b kv.KV) {
	runs := 0
	rapid.Check(t, func(rt *rapid.T) {
		runs++
		prefix := fmt.Sprintf("d%06d/", runs)
		pa, pb := &player{TB: t, db: a, prefix: prefix}, &player{TB: t, db: b, prefix: prefix}
		pa.begin()
		pb.begin()
		check := func(what string, x, y string) {
			if x != y {
				rt.Fatalf("%s:\n  %s\n  %s", what, x, y)
			}
		}
		for range rapid.IntRange(5, 40).Draw(rt, "steps") {
			step := drawStep(rt)
			check(fmt.Sprintf("%+v", step), pa.play(step), pb.play(step))
		}
		check("final state", pa.state(0), pb.state(0))
		check("watch of everything", pa.watch(0), pb.watch(0))
		from := int64(rapid.IntRange(0, 20).Draw(rt, "watch from"))
		check("watch", pa.watch(from), pb.watch(from))
		pa.end()
		pb.end()
	})
}

// step is one random action. Revisions in it are distances: of a comparison, the position among the revisions the history
// has made; of a read, how far behind the newest.
type step struct {
	kind    string
	ifs     []kv.Compare
	then    []kv.Op
	orElse  []kv.Op
	lease   int
	back    int64
	query   kv.Query
	leaseOf []int // for each put of then: which lease, -1 for none
}

// words are few, so that keys are deleted and made again and comparisons often hold.
var words = []string{"a", "b", "a/1"}

func drawStep(t *rapid.T) step {
	s := step{kind: rapid.SampledFrom([]string{
		"txn", "txn", "txn", "txn", "txn", "txn", "txn", "range", "range", "grant", "revoke", "compact",
	}).Draw(t, "kind")}
	key := rapid.SampledFrom(words)
	switch s.kind {
	case "txn":
		s.ifs = rapid.SliceOfN(rapid.Custom(func(t *rapid.T) kv.Compare {
			return kv.Compare{
				Key: key.Draw(t, "key"), Prefix: rapid.Bool().Draw(t, "prefix"),
				Field: kv.Field(rapid.IntRange(0, 2).Draw(t, "field")), Is: kv.Relation(rapid.IntRange(0, 3).Draw(t, "is")),
				Num: int64(rapid.SampledFrom([]int{0, 0, 0, 1, 2, 3, 5, 8}).Draw(t, "num")),
			}
		}), 0, 2).Draw(t, "if")
		op := rapid.Custom(func(t *rapid.T) kv.Op {
			o := kv.Op{Kind: kv.OpKind(rapid.IntRange(0, 2).Draw(t, "op")), Key: key.Draw(t, "key")}
			if o.Kind == kv.OpPut {
				o.Value = []byte(rapid.SampledFrom([]string{"", "x", "yy"}).Draw(t, "value"))
			}
			return o
		})
		s.then = rapid.SliceOfN(op, 0, 4).Draw(t, "then")
		s.orElse = rapid.SliceOfN(op, 0, 2).Draw(t, "else")
		for range s.then {
			s.leaseOf = append(s.leaseOf, rapid.SampledFrom([]int{-1, -1, -1, -1, -1, -1, 0, 1, 2}).Draw(t, "lease"))
		}
	case "range":
		s.query = kv.Query{
			Key: rapid.SampledFrom([]string{"", "a", "a/", "b"}).Draw(t, "key"), Prefix: rapid.Bool().Draw(t, "prefix"),
			Limit: rapid.IntRange(0, 3).Draw(t, "limit"),
		}
		s.back = int64(rapid.IntRange(-1, 6).Draw(t, "back"))
	case "compact":
		s.back = int64(rapid.IntRange(-1, 6).Draw(t, "back"))
	case "revoke":
		s.lease = rapid.IntRange(0, 2).Draw(t, "lease")
	}
	return s
}

// player plays steps against one store and renders the answers without what differs by right: absolute revisions and lease
// ids.
type player struct {
	testing.TB
	db        kv.KV
	prefix    string
	base      int64 // revision before the history
	last      int64 // newest revision
	compacted int64
	leases    []kv.LeaseID
}

func (p *player) begin() {
	res, err := p.db.Range(p.Context(), kv.Query{Key: p.prefix})
	if err != nil {
		p.Fatal(err)
	}
	p.base, p.last = res.Rev, res.Rev
}

func (p *player) end() {
	for _, id := range p.leases {
		if err := p.db.Revoke(p.Context(), id); err != nil && !errors.Is(err, kv.ErrLeaseNotFound) {
			p.Fatal(err)
		}
	}
}

// lease returns a lease by number; what was never granted is an id that does not exist.
func (p *player) lease(i int) kv.LeaseID {
	switch {
	case i < 0:
		return 0
	case i < len(p.leases):
		return p.leases[i]
	}
	return 1 << 60
}

func (p *player) play(s step) string {
	ctx := p.Context()
	switch s.kind {
	case "txn":
		t := kv.Txn{If: slices.Clone(s.ifs), Then: p.ops(s.then), Else: p.ops(s.orElse)}
		for i := range t.If {
			t.If[i].Key = p.prefix + t.If[i].Key
			if t.If[i].Field != kv.Version && t.If[i].Num != 0 {
				t.If[i].Num += p.base
			}
		}
		for i := range t.Then {
			if t.Then[i].Kind == kv.OpPut {
				t.Then[i].Lease = p.lease(s.leaseOf[i])
			}
		}
		res, err := p.db.Txn(ctx, t)
		if err != nil {
			return class(err)
		}
		p.last = res.Rev
		return fmt.Sprintf("%v r%d %s", res.Succeeded, res.Rev-p.base, p.pairs(res.Pairs))
	case "range":
		q := s.query
		q.Key = p.prefix + q.Key
		if s.back != 0 {
			q.Rev = p.last - s.back
		}
		if q.Rev < p.base { // what other histories left is none of ours
			q.Rev = 0
		}
		return p.read(q)
	case "grant":
		id, err := p.db.Grant(ctx, time.Hour)
		if err != nil {
			return class(err)
		}
		p.leases = append(p.leases, id)
	case "revoke":
		if err := p.db.Revoke(ctx, p.lease(s.lease)); err != nil {
			return class(err)
		}
		res, err := p.db.Txn(ctx, kv.Txn{})
		if err != nil {
			return class(err)
		}
		p.last = res.Rev
		return fmt.Sprintf("r%d", res.Rev-p.base)
	case "compact":
		rev := p.last - s.back
		if rev < p.base {
			return ""
		}
		err := p.db.(kv.Compactor).Compact(ctx, rev)
		if err == nil {
			p.compacted = rev
		}
		return class(err)
	}
	return ""
}

func (p *player) ops(in []kv.Op) []kv.Op {
	out := slices.Clone(in)
	for i := range out {
		out[i].Key = p.prefix + out[i].Key
	}
	return out
}

func (p *player) read(q kv.Query) string {
	res, err := p.db.Range(p.Context(), q)
	if err != nil {
		return class(err)
	}
	return fmt.Sprintf("r%d more=%v %s", res.Rev-p.base, res.More, p.pairs(res.Pairs))
}

func (p *player) state(rev int64) string {
	return p.read(kv.Query{Key: p.prefix, Prefix: true, Rev: rev})
}

// watch renders the events from the given distance on, or from the newest compaction on if that is later.
func (p *player) watch(from int64) string {
	from = max(p.base+1+from, p.compacted+1)
	// A last put tells where the history ends.
	res, err := p.db.Txn(p.Context(), kv.Txn{Then: []kv.Op{kv.Put(p.prefix+"end", nil)}})
	if err != nil {
		return class(err)
	}
	p.last = res.Rev
	if from > p.last {
		return "later than all"
	}
	var out []string
	err = p.db.Watch(p.Context(), p.prefix, from, func(batch []kv.Commit) error {
		for _, c := range batch {
			var line strings.Builder
			fmt.Fprintf(&line, "r%d", c.Rev-p.base)
			for _, e := range c.Events {
				fmt.Fprintf(&line, " %v %s", e.Deleted, p.pair(e.Pair))
			}
			out = append(out, line.String())
			if c.Rev >= p.last {
				return errEnough
			}
		}
		return nil
	})
	return class(err) + " " + strings.Join(out, "; ")
}

func (p *player) pairs(in []kv.Pair) string {
	var out []string
	for _, x := range in {
		out = append(out, p.pair(x))
	}
	return strings.Join(out, ", ")
}

func (p *player) pair(x kv.Pair) string {
	rel := func(rev int64) int64 {
		if rev == 0 {
			return 0
		}
		return rev - p.base
	}
	return fmt.Sprintf("%s=%q c%d m%d v%d l%d", strings.TrimPrefix(x.Key, p.prefix), x.Value,
		rel(x.CreateRev), rel(x.ModRev), x.Version, slices.Index(p.leases, x.Lease))
}

// class renders an error without the words of the implementation.
func class(err error) string {
	if err == nil {
		return "ok"
	}
	for _, c := range []error{
		kv.ErrCompacted, kv.ErrFutureRev, kv.ErrTooLarge, kv.ErrDuplicateKey, kv.ErrEmptyKey, kv.ErrLeaseNotFound, kv.ErrNoSpace, errEnough,
	} {
		if errors.Is(err, c) {
			return c.Error()
		}
	}
	return "other error: " + err.Error()
}
