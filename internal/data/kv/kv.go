package kv

import (
	"context"
	"errors"
	"time"
)

// Limits of one transaction, on both implementations.
const (
	// MaxOps is the largest number of comparisons, and of operations in either branch.
	MaxOps = 128
	// MaxBytes is the largest size of a transaction as [Txn.Size] counts it. etcd refuses requests above 1.5 MiB; the
	// difference is room for its own framing.
	MaxBytes = 1536<<10 - 32<<10
)

// Errors that callers tell apart. Any other error means that the outcome of a write is unknown: it may have happened.
var (
	// ErrCompacted says that the revision asked for is no longer kept: list again.
	ErrCompacted = errors.New("revision is compacted")
	// ErrFutureRev says that the revision asked for does not exist yet.
	ErrFutureRev = errors.New("revision is in the future")
	// ErrTooLarge says that a transaction exceeds MaxOps or MaxBytes. Nothing was written.
	ErrTooLarge = errors.New("transaction is too large")
	// ErrDuplicateKey says that one branch of a transaction puts a key twice, or puts and deletes it. Nothing was written.
	ErrDuplicateKey = errors.New("key is written twice in one transaction")
	// ErrEmptyKey says that an operation names no key. Nothing was written.
	ErrEmptyKey = errors.New("key is empty")
	// ErrLeaseNotFound says that a lease expired, was revoked or never existed. Nothing was written.
	ErrLeaseNotFound = errors.New("lease not found")
	// ErrNoSpace says that the store has reached its quota and accepts deletes only.
	ErrNoSpace = errors.New("store is full")
)

// LeaseID names a lease; 0 is no lease.
type LeaseID int64

// KV is a revisioned key-value store. All methods may be called concurrently.
type KV interface {
	// Range reads one key or the keys below a prefix, in key order, as of one revision.
	Range(ctx context.Context, q Query) (RangeResult, error)

	// Txn evaluates t.If and carries out t.Then when all comparisons hold, else t.Else, atomically.
	Txn(ctx context.Context, t Txn) (TxnResult, error)

	// Watch calls deliver with every change below prefix from revision from (inclusive, at least 1) on, in order, until
	// ctx ends, deliver returns an error, or the history it needs is compacted; it returns that error. A call of deliver
	// carries one or more whole revisions. from may lie in the future: earlier changes are then left out.
	// deliver runs on the caller's goroutine, and no later call is made before it returns.
	Watch(ctx context.Context, prefix string, from int64, deliver func([]Commit) error) error

	// Grant makes a lease that expires when it is not kept alive for ttl, which is rounded up to whole seconds.
	Grant(ctx context.Context, ttl time.Duration) (LeaseID, error)
	// KeepAlive renews a lease once, for the ttl it was granted with.
	KeepAlive(ctx context.Context, id LeaseID) error
	// Revoke ends a lease now and deletes its keys.
	Revoke(ctx context.Context, id LeaseID) error
}

// Compactor is implemented by stores whose history can be cut by hand. Both of ours do; operation relies on automatic
// compaction instead, so it is not part of [KV].
type Compactor interface {
	// Compact forgets what was true before rev. Reading at rev and watching from rev+1 stay possible.
	Compact(ctx context.Context, rev int64) error
}

// Pair is a key with its value and history. Values are shared and must not be changed.
type Pair struct {
	Key       string
	Value     []byte
	CreateRev int64 // revision of the put that made the key; it starts anew after a delete
	ModRev    int64 // revision of the last put
	Version   int64 // puts since creation, from 1
	Lease     LeaseID
}

// Query says what Range reads.
type Query struct {
	Key    string // the key, or with Prefix the beginning of all keys wanted ("" means every key)
	Prefix bool
	After  string // with Prefix: only keys greater than this one; for reading page by page
	Limit  int    // most pairs to return; 0 means all
	Rev    int64  // revision to read at; 0 means the current one
}

// RangeResult is what Range read.
type RangeResult struct {
	Pairs []Pair
	Rev   int64 // the store's current revision when it answered (not Query.Rev)
	More  bool  // Limit left something out
}

// Field is the property of a key that a comparison looks at. All three are 0 for a key that does not exist.
type Field uint8

// The fields.
const (
	ModRev Field = iota
	CreateRev
	Version
)

// Relation is how a comparison relates the key's field to the number given.
type Relation uint8

// The relations.
const (
	Equal Relation = iota
	Less
	Greater
	NotEqual
)

// Compare is a condition of a transaction: "Field of Key is Relation to Num". With Prefix it must hold for every key that
// exists below Key; if there is none, it must hold for 0.
type Compare struct {
	Key    string
	Prefix bool
	Field  Field
	Is     Relation
	Num    int64
}

// Unchanged is the comparison behind every optimistic write: the key was last put at rev, or is absent when rev is 0.
func Unchanged(key string, rev int64) Compare { return Compare{Key: key, Num: rev} }

// OpKind is what an operation does.
type OpKind uint8

// The kinds.
const (
	OpPut OpKind = iota
	OpDelete
	OpGet
)

// Op is one operation of a transaction; make it with Put, Delete or Get.
type Op struct {
	Kind  OpKind
	Key   string
	Value []byte
	Lease LeaseID
}

// Put writes a value and detaches the key from any lease.
func Put(key string, value []byte) Op { return Op{Kind: OpPut, Key: key, Value: value} }

// PutLease writes a value that lives no longer than the lease.
func PutLease(key string, value []byte, id LeaseID) Op {
	return Op{Kind: OpPut, Key: key, Value: value, Lease: id}
}

// Delete removes a key; when it is absent nothing happens and no revision is taken for it.
func Delete(key string) Op { return Op{Kind: OpDelete, Key: key} }

// Get reads a key as the operations before it in the same branch left it.
func Get(key string) Op { return Op{Kind: OpGet, Key: key} }

// Txn is a transaction.
type Txn struct {
	If   []Compare
	Then []Op
	Else []Op
}

// TxnResult is the outcome of a transaction.
type TxnResult struct {
	Succeeded bool
	// Rev is the revision that the transaction made, or the current one when it changed nothing.
	Rev int64
	// Pairs answers the Get operations of the branch taken, in their order; a pair of an absent key has ModRev 0.
	Pairs []Pair
}

// Event is one change of one key.
type Event struct {
	Deleted bool
	// Pair is the key as put. Of a deleted key only Key and ModRev, the revision of the delete, are set.
	Pair Pair
}

// Commit is everything that one revision changed below the watched prefix, in the order it was done.
type Commit struct {
	Rev    int64
	Events []Event
}

// Size is what the transaction counts towards MaxBytes: an upper bound of what it takes on the wire and in the log.
func (t Txn) Size() int {
	const frame = 40 // tags, lengths, numbers and response framing of one part, generously
	n := 0
	for _, c := range t.If {
		n += 2*len(c.Key) + frame // a prefix comparison carries the end of its range, too
	}
	for _, ops := range [][]Op{t.Then, t.Else} {
		for _, o := range ops {
			n += len(o.Key) + len(o.Value) + frame
		}
	}
	return n
}

// Check reports what is wrong with a transaction before it is sent anywhere. Implementations call it first, so that both
// refuse the same transactions for the same reason.
func (t Txn) Check() error {
	if len(t.If) > MaxOps || len(t.Then) > MaxOps || len(t.Else) > MaxOps || t.Size() > MaxBytes {
		return ErrTooLarge
	}
	for _, c := range t.If {
		if c.Key == "" && !c.Prefix {
			return ErrEmptyKey
		}
	}
	for _, ops := range [][]Op{t.Then, t.Else} {
		if err := checkBranch(ops); err != nil {
			return err
		}
	}
	return nil
}

func checkBranch(ops []Op) error {
	var put, deleted map[string]bool
	for _, o := range ops {
		if o.Key == "" {
			return ErrEmptyKey
		}
		switch o.Kind {
		case OpPut:
			if put[o.Key] || deleted[o.Key] {
				return ErrDuplicateKey
			}
			if put == nil {
				put = make(map[string]bool, len(ops))
			}
			put[o.Key] = true
		case OpDelete:
			if put[o.Key] {
				return ErrDuplicateKey
			}
			if deleted == nil {
				deleted = make(map[string]bool, len(ops))
			}
			deleted[o.Key] = true
		case OpGet:
		}
	}
	return nil
}

// Holds tells whether the comparison is true of a pair; the zero pair stands for a key that does not exist.
func (c Compare) Holds(p Pair) bool {
	n := p.ModRev
	switch c.Field {
	case CreateRev:
		n = p.CreateRev
	case Version:
		n = p.Version
	case ModRev:
	}
	switch c.Is {
	case Less:
		return n < c.Num
	case Greater:
		return n > c.Num
	case NotEqual:
		return n != c.Num
	default:
		return n == c.Num
	}
}
