package kvtest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"berth.dev/berth/internal/data/kv"
)

// Run checks an implementation. open returns a fresh, empty store that also implements kv.Compactor; it is called once for
// each test.
func Run(t *testing.T, open func(testing.TB) kv.KV) {
	for _, c := range []struct {
		name string
		test func(*testing.T, kv.KV)
	}{
		{"PutGetDelete", testPutGetDelete},
		{"Range", testRange},
		{"RangeAtRevision", testRangeAtRevision},
		{"Compare", testCompare},
		{"TxnIsAtomic", testTxnIsAtomic},
		{"TxnRefused", testTxnRefused},
		{"TxnLimits", testTxnLimits},
		{"WatchFromOldRevision", testWatchFromOldRevision},
		{"WatchWholeRevisions", testWatchWholeRevisions},
		{"WatchFromFuture", testWatchFromFuture},
		{"WatchEnds", testWatchEnds},
		{"Compaction", testCompaction},
		{"LeaseRevoke", testLeaseRevoke},
		{"LeaseDetach", testLeaseDetach},
		{"LeaseExpires", testLeaseExpires},
		{"CancelledContext", testCancelledContext},
	} {
		t.Run(c.name, func(t *testing.T) { c.test(t, open(t)) })
	}
}

func do(t testing.TB, db kv.KV, ops ...kv.Op) kv.TxnResult {
	t.Helper()
	res, err := db.Txn(t.Context(), kv.Txn{Then: ops})
	if err != nil {
		t.Fatalf("txn: %v", err)
	}
	return res
}

func read(t testing.TB, db kv.KV, q kv.Query) kv.RangeResult {
	t.Helper()
	res, err := db.Range(t.Context(), q)
	if err != nil {
		t.Fatalf("range %+v: %v", q, err)
	}
	return res
}

func keys(pairs []kv.Pair) string {
	var out []string
	for _, p := range pairs {
		out = append(out, p.Key)
	}
	return strings.Join(out, " ")
}

func want[T comparable](t testing.TB, what string, got, want T) {
	t.Helper()
	if got != want {
		t.Errorf("%s: got %v, want %v", what, got, want)
	}
}

func wantErr(t testing.TB, what string, got, want error) {
	t.Helper()
	if !errors.Is(got, want) {
		t.Errorf("%s: got %v, want %v", what, got, want)
	}
}

func testPutGetDelete(t *testing.T, db kv.KV) {
	base := read(t, db, kv.Query{Key: "a"}).Rev
	r1 := do(t, db, kv.Put("a", []byte("1")))
	r2 := do(t, db, kv.Put("a", []byte("2")))
	want(t, "first revision", r1.Rev, base+1)
	want(t, "second revision", r2.Rev, base+2)
	p := read(t, db, kv.Query{Key: "a"}).Pairs[0]
	want(t, "pair", fmt.Sprintf("%s=%s c%d m%d v%d", p.Key, p.Value, p.CreateRev, p.ModRev, p.Version),
		fmt.Sprintf("a=2 c%d m%d v2", r1.Rev, r2.Rev))

	want(t, "delete", do(t, db, kv.Delete("a")).Rev, base+3)
	want(t, "delete of an absent key takes no revision", do(t, db, kv.Delete("a")).Rev, base+3)
	want(t, "empty transaction takes no revision", do(t, db).Rev, base+3)
	want(t, "after delete", len(read(t, db, kv.Query{Key: "a"}).Pairs), 0)

	r := do(t, db, kv.Put("a", nil))
	p = read(t, db, kv.Query{Key: "a"}).Pairs[0]
	want(t, "made anew", fmt.Sprintf("%d %d %d %d", p.CreateRev, p.ModRev, p.Version, len(p.Value)), fmt.Sprintf("%d %d 1 0", r.Rev, r.Rev))
}

func testRange(t *testing.T, db kv.KV) {
	for _, k := range []string{"b/2", "a", "b/1", "b", "b/10", "c", "b/\xff", "b0"} {
		do(t, db, kv.Put(k, []byte(k)))
	}
	for _, c := range []struct {
		q    kv.Query
		want string
		more bool
	}{
		{kv.Query{Key: "b"}, "b", false},
		{kv.Query{Key: "z"}, "", false},
		{kv.Query{Key: "b/", Prefix: true}, "b/1 b/10 b/2 b/\xff", false},
		{kv.Query{Key: "b", Prefix: true}, "b b/1 b/10 b/2 b/\xff b0", false},
		{kv.Query{Key: "", Prefix: true, Limit: 2}, "a b", true},
		{kv.Query{Key: "", Prefix: true, After: "b/\xff"}, "b0 c", false},
		{kv.Query{Key: "b/", Prefix: true, Limit: 2}, "b/1 b/10", true},
		{kv.Query{Key: "b/", Prefix: true, Limit: 2, After: "b/10"}, "b/2 b/\xff", false},
		{kv.Query{Key: "b/", Prefix: true, After: "a"}, "b/1 b/10 b/2 b/\xff", false},
		{kv.Query{Key: "b/", Prefix: true, After: "b/11"}, "b/2 b/\xff", false},
		{kv.Query{Key: "b/", Prefix: true, After: "c"}, "", false},
		{kv.Query{Key: "b/", Prefix: true, Limit: 4}, "b/1 b/10 b/2 b/\xff", false},
	} {
		res := read(t, db, c.q)
		want(t, fmt.Sprintf("keys of %+v", c.q), keys(res.Pairs), c.want)
		want(t, fmt.Sprintf("more of %+v", c.q), res.More, c.more)
	}
	_, err := db.Range(t.Context(), kv.Query{})
	wantErr(t, "range without a key", err, kv.ErrEmptyKey)
}

func testRangeAtRevision(t *testing.T, db kv.KV) {
	r1 := do(t, db, kv.Put("a", []byte("1")), kv.Put("b", []byte("1"))).Rev
	r2 := do(t, db, kv.Delete("a"), kv.Put("b", []byte("2"))).Rev
	want(t, "then", keys(read(t, db, kv.Query{Prefix: true, Rev: r1}).Pairs), "a b")
	want(t, "then b", string(read(t, db, kv.Query{Key: "b", Rev: r1}).Pairs[0].Value), "1")
	res := read(t, db, kv.Query{Prefix: true, Rev: r2})
	want(t, "now", keys(res.Pairs), "b")
	want(t, "revision of the answer", read(t, db, kv.Query{Prefix: true, Rev: r1}).Rev, r2)
	_, err := db.Range(t.Context(), kv.Query{Key: "a", Rev: r2 + 1})
	wantErr(t, "future", err, kv.ErrFutureRev)
}

func testCompare(t *testing.T, db kv.KV) {
	r1 := do(t, db, kv.Put("p/a", nil)).Rev
	r2 := do(t, db, kv.Put("p/a", nil), kv.Put("p/b", nil), kv.Put("d/gone", nil)).Rev
	do(t, db, kv.Delete("d/gone"))
	for _, c := range []struct {
		c    kv.Compare
		want bool
	}{
		{kv.Unchanged("p/a", r2), true},
		{kv.Unchanged("p/a", r1), false},
		{kv.Unchanged("absent", 0), true},
		{kv.Unchanged("p/a", 0), false},
		{kv.Compare{Key: "p/a", Field: kv.CreateRev, Num: r1}, true},
		{kv.Compare{Key: "p/a", Field: kv.CreateRev, Is: kv.NotEqual, Num: r1}, false},
		{kv.Compare{Key: "p/a", Field: kv.Version, Num: 2}, true},
		{kv.Compare{Key: "p/a", Field: kv.Version, Is: kv.Greater, Num: 2}, false},
		{kv.Compare{Key: "p/a", Field: kv.Version, Is: kv.Greater, Num: 1}, true},
		{kv.Compare{Key: "p/a", Is: kv.Less, Num: r2}, false},
		{kv.Compare{Key: "p/", Prefix: true, Is: kv.Less, Num: r2 + 1}, true},
		{kv.Compare{Key: "p/", Prefix: true, Is: kv.Less, Num: r2}, false},
		{kv.Compare{Key: "p/", Prefix: true, Field: kv.CreateRev, Num: r1}, false},
		{kv.Compare{Key: "", Prefix: true, Is: kv.Less, Num: r2 + 1}, true},
		{kv.Unchanged("d/gone", 0), true},
		{kv.Compare{Key: "d/", Prefix: true, Is: kv.Less, Num: 1}, true},
		{kv.Compare{Key: "q/", Prefix: true, Is: kv.Less, Num: 1}, true},
		{kv.Compare{Key: "q/", Prefix: true, Is: kv.Greater, Num: 0}, false},
	} {
		res, err := db.Txn(t.Context(), kv.Txn{If: []kv.Compare{c.c}})
		if err != nil {
			t.Fatalf("%+v: %v", c.c, err)
		}
		want(t, fmt.Sprintf("%+v", c.c), res.Succeeded, c.want)
	}
}

func testTxnIsAtomic(t *testing.T, db kv.KV) {
	r1 := do(t, db, kv.Put("a", []byte("1")), kv.Put("b", []byte("1"))).Rev
	txn := kv.Txn{
		If:   []kv.Compare{kv.Unchanged("a", r1), kv.Unchanged("b", r1)},
		Then: []kv.Op{kv.Get("a"), kv.Put("a", []byte("2")), kv.Get("a"), kv.Delete("b"), kv.Get("b")},
		Else: []kv.Op{kv.Get("b"), kv.Get("a"), kv.Put("else", nil)},
	}
	res, err := db.Txn(t.Context(), txn)
	if err != nil {
		t.Fatal(err)
	}
	want(t, "succeeded", res.Succeeded, true)
	want(t, "one revision", res.Rev, r1+1)
	want(t, "gets", fmt.Sprintf("%s %s %s/%d", res.Pairs[0].Value, res.Pairs[1].Value, res.Pairs[2].Key, res.Pairs[2].ModRev), "1 2 b/0")

	res, err = db.Txn(t.Context(), txn)
	if err != nil {
		t.Fatal(err)
	}
	want(t, "succeeded again", res.Succeeded, false)
	want(t, "revision of else", res.Rev, r1+2)
	want(t, "gets of else", fmt.Sprintf("%d %d", res.Pairs[0].ModRev, res.Pairs[1].ModRev), fmt.Sprintf("0 %d", r1+1))
	want(t, "keys", keys(read(t, db, kv.Query{Prefix: true}).Pairs), "a else")
}

func testTxnRefused(t *testing.T, db kv.KV) {
	before := read(t, db, kv.Query{Key: "a"}).Rev
	for _, c := range []struct {
		what string
		txn  kv.Txn
		want error
	}{
		{"two puts", kv.Txn{Then: []kv.Op{kv.Put("a", nil), kv.Put("a", nil)}}, kv.ErrDuplicateKey},
		{"put and delete", kv.Txn{Then: []kv.Op{kv.Put("a", nil), kv.Delete("a")}}, kv.ErrDuplicateKey},
		{"delete and put", kv.Txn{Then: []kv.Op{kv.Delete("a"), kv.Put("a", nil)}}, kv.ErrDuplicateKey},
		{"two puts in else", kv.Txn{Else: []kv.Op{kv.Put("a", nil), kv.Put("a", nil)}}, kv.ErrDuplicateKey},
		{"no key", kv.Txn{Then: []kv.Op{kv.Put("", nil)}}, kv.ErrEmptyKey},
		{"compare without key", kv.Txn{If: []kv.Compare{{}}}, kv.ErrEmptyKey},
		{"no such lease", kv.Txn{Then: []kv.Op{kv.Put("b", nil), kv.PutLease("a", nil, 4711)}}, kv.ErrLeaseNotFound},
	} {
		_, err := db.Txn(t.Context(), c.txn)
		wantErr(t, c.what, err, c.want)
	}
	res := do(t, db, kv.Delete("a"), kv.Delete("a"))
	want(t, "nothing was written", res.Rev, before)
	// The two branches are not both taken, so they may name the same key.
	if _, err := db.Txn(t.Context(), kv.Txn{Then: []kv.Op{kv.Put("a", nil)}, Else: []kv.Op{kv.Delete("a")}}); err != nil {
		t.Error(err)
	}
}

func testTxnLimits(t *testing.T, db kv.KV) {
	full := kv.Txn{}
	for i := range kv.MaxOps {
		key := fmt.Sprintf("k%03d", i)
		full.If = append(full.If, kv.Unchanged(key, 0))
		full.Then = append(full.Then, kv.Put(key, []byte("v")))
		full.Else = append(full.Else, kv.Get(key))
	}
	res, err := db.Txn(t.Context(), full)
	if err != nil || !res.Succeeded {
		t.Errorf("a full transaction: %v, %v", res, err)
	}
	for i, txn := range []kv.Txn{
		{If: append(slices.Clone(full.If), kv.Unchanged("z", 0))},
		{Then: append(slices.Clone(full.Then), kv.Put("z", nil))},
		{Else: append(slices.Clone(full.Else), kv.Get("z"))},
	} {
		_, err := db.Txn(t.Context(), txn)
		wantErr(t, fmt.Sprint("one part too many, ", i), err, kv.ErrTooLarge)
	}
	big := kv.Txn{Then: []kv.Op{kv.Put("big", nil)}}
	big.Then[0].Value = make([]byte, kv.MaxBytes-big.Size())
	if _, err := db.Txn(t.Context(), big); err != nil {
		t.Errorf("the largest transaction: %v", err)
	}
	big.Then[0].Value = append(big.Then[0].Value, 0)
	_, err = db.Txn(t.Context(), big)
	wantErr(t, "one byte too many", err, kv.ErrTooLarge)
}

func testCompaction(t *testing.T, db kv.KV) {
	compact := db.(kv.Compactor).Compact
	r1 := do(t, db, kv.Put("a", []byte("1"))).Rev
	r2 := do(t, db, kv.Put("a", []byte("2")), kv.Put("b", []byte("2"))).Rev
	r3 := do(t, db, kv.Delete("b")).Rev
	wantErr(t, "compact the future", compact(t.Context(), r3+1), kv.ErrFutureRev)
	if err := compact(t.Context(), r2); err != nil {
		t.Fatal(err)
	}
	wantErr(t, "compact twice", compact(t.Context(), r2), kv.ErrCompacted)
	_, err := db.Range(t.Context(), kv.Query{Key: "a", Rev: r1})
	wantErr(t, "range below", err, kv.ErrCompacted)
	want(t, "range at", keys(read(t, db, kv.Query{Prefix: true, Rev: r2}).Pairs), "a b")
	wantErr(t, "watch below", db.Watch(t.Context(), "", r1, func([]kv.Commit) error { return nil }), kv.ErrCompacted)
	want(t, "watch above", history(t, db, "", r2+1, r3), fmt.Sprintf("%d:-b", r3))
	want(t, "watch at", history(t, db, "", r2, r3), fmt.Sprintf("%d:+a=2,+b=2 %d:-b", r2, r3))
}

func testLeaseRevoke(t *testing.T, db kv.KV) {
	id, err := db.Grant(t.Context(), time.Hour)
	if err != nil || id == 0 {
		t.Fatal(id, err)
	}
	r1 := do(t, db, kv.PutLease("b", nil, id), kv.PutLease("a", nil, id), kv.Put("c", nil)).Rev
	want(t, "lease of the pair", read(t, db, kv.Query{Key: "a"}).Pairs[0].Lease, id)
	if err := db.KeepAlive(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	if err := db.Revoke(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	want(t, "events", history(t, db, "", r1+1, r1+1), fmt.Sprintf("%d:-a,-b", r1+1))
	wantErr(t, "keep alive", db.KeepAlive(t.Context(), id), kv.ErrLeaseNotFound)
	wantErr(t, "revoke", db.Revoke(t.Context(), id), kv.ErrLeaseNotFound)
	_, err = db.Txn(t.Context(), kv.Txn{Then: []kv.Op{kv.PutLease("a", nil, id)}})
	wantErr(t, "put", err, kv.ErrLeaseNotFound)

	empty, err := db.Grant(t.Context(), time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Revoke(t.Context(), empty); err != nil {
		t.Fatal(err)
	}
	want(t, "the end of an unused lease takes no revision", do(t, db).Rev, r1+1)
}

func testLeaseDetach(t *testing.T, db kv.KV) {
	one, err := db.Grant(t.Context(), time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	two, err := db.Grant(t.Context(), time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	do(t, db, kv.PutLease("plain", nil, one), kv.PutLease("moved", nil, one), kv.PutLease("deleted", nil, one), kv.PutLease("kept", nil, one))
	do(t, db, kv.Put("plain", nil), kv.PutLease("moved", nil, two), kv.Delete("deleted"))
	do(t, db, kv.Put("deleted", nil))
	if err := db.Revoke(t.Context(), one); err != nil {
		t.Fatal(err)
	}
	want(t, "keys", keys(read(t, db, kv.Query{Prefix: true}).Pairs), "deleted moved plain")
	if err := db.Revoke(t.Context(), two); err != nil {
		t.Fatal(err)
	}
	want(t, "keys", keys(read(t, db, kv.Query{Prefix: true}).Pairs), "deleted plain")
}

func testLeaseExpires(t *testing.T, db kv.KV) {
	id, err := db.Grant(t.Context(), time.Second)
	if err != nil {
		t.Fatal(err)
	}
	r := do(t, db, kv.PutLease("a", nil, id), kv.PutLease("b", nil, id)).Rev
	want(t, "events", history(t, db, "", r+1, r+1), fmt.Sprintf("%d:-a,-b", r+1))
	wantErr(t, "keep alive", db.KeepAlive(t.Context(), id), kv.ErrLeaseNotFound)
}

func testCancelledContext(t *testing.T, db kv.KV) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := db.Range(ctx, kv.Query{Key: "a"})
	wantErr(t, "range", err, context.Canceled)
	_, err = db.Txn(ctx, kv.Txn{Then: []kv.Op{kv.Put("a", nil)}})
	wantErr(t, "txn", err, context.Canceled)
	wantErr(t, "watch", db.Watch(ctx, "", 1, func([]kv.Commit) error { return nil }), context.Canceled)
}
