package store_test

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"sync"
	"testing"

	"berth.dev/berth/internal/data/etcd"
	"berth.dev/berth/internal/data/kv"
	"berth.dev/berth/internal/data/kv/memkv"
	"berth.dev/berth/internal/data/store"
)

// member runs an embedded etcd until stop is called.
func member(t testing.TB, cfg etcd.Config) (db kv.KV, stop func()) {
	t.Helper()
	m := etcd.New(cfg)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- m.Run(ctx) }()
	select {
	case <-m.Ready():
	case err := <-done:
		t.Fatalf("etcd: %v", err)
	}
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("etcd: %v", err)
		}
	})
	t.Cleanup(stop)
	return m.KV(), stop
}

func TestEtcd_RestartYieldsTheSameTables(t *testing.T) {
	cfg := etcd.Config{Dir: t.TempDir(), UnsafeNoFsync: true}
	db, stop := member(t, cfg)
	s, err := store.Open(db, "/t/", store.Options{}, accounts, notes)
	if err != nil {
		t.Fatal(err)
	}
	stopStore := run(t, s)
	// More than a page of the load, and deletes among them.
	var items []int
	for i := range 2500 {
		items = append(items, i)
	}
	name := func(i int) string { return fmt.Sprintf("%05d", i) }
	if _, err := store.Batch(t.Context(), s, items, func(tx *store.Tx, i int) error {
		accounts.Put(tx, &account{Name: name(i), Owner: name(i % 7), Balance: i})
		if i%5 == 4 {
			accounts.Delete(tx, name(i-2))
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	before, rev := render(s.Snapshot()), s.Snapshot().Rev()
	stopStore()
	stop()

	db, _ = member(t, cfg)
	again := open(t, db, store.Options{})
	if after := render(again.Snapshot()); after != before || again.Snapshot().Rev() != rev {
		t.Errorf("after a restart %d bytes of records at revision %d, before %d at %d",
			len(after), again.Snapshot().Rev(), len(before), rev)
	}
	if got := len(names(accounts.By(again.Snapshot(), byOwner, name(3)))); got == 0 {
		t.Error("the index is empty")
	}
	// The revisions that were loaded are the ones to compare with.
	update(t, again, func(tx *store.Tx) {
		if err := accounts.Edit(tx, name(0), func(a *account) error { a.Balance = -1; return nil }); err != nil {
			t.Error(err)
		}
	})
}

func TestEtcd_NoLostUpdate(t *testing.T) {
	db, _ := member(t, etcd.Config{Dir: t.TempDir(), UnsafeNoFsync: true})
	s := mirrors(t, db)
	rev := update(t, s[0], put(&account{Name: "a"}))
	if err := s[1].WaitRev(t.Context(), rev); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Go(func() {
			for range 20 {
				if _, err := s[w%2].Update(t.Context(), func(tx *store.Tx) error {
					return accounts.Edit(tx, "a", func(a *account) error { a.Balance++; return nil })
				}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	var sum int
	update(t, s[0], func(tx *store.Tx) {
		a, _ := accounts.Get(tx, "a")
		sum = a.Balance
		accounts.Put(tx, a) // commits only if this is what is stored
	})
	if sum != 160 {
		t.Errorf("160 increments were acknowledged, %d are there", sum)
	}
}

// crashDir tells a copy of the test binary to be the process that is killed.
const crashDir = "BERTH_STORE_TEST_CRASH_DIR"

// TestCrash_AcknowledgedWritesSurvive kills a process that writes with SIGKILL, again and again on one data directory, and
// looks for everything that it had acknowledged on its standard output.
func TestCrash_AcknowledgedWritesSurvive(t *testing.T) {
	if dir := os.Getenv(crashDir); dir != "" {
		writeUntilKilled(t, dir)
		return
	}
	const rounds = 4
	dir := t.TempDir()
	acknowledged := map[string]bool{}
	for round := range rounds {
		killAfter(t, dir, 20+rand.IntN(200), round, acknowledged)
		db, stop := member(t, etcd.Config{Dir: dir})
		s, err := store.Open(db, "/t/", store.Options{}, accounts, notes)
		if err != nil {
			t.Fatal(err)
		}
		stopStore := run(t, s)
		for id := range acknowledged {
			n, ok := notes.Get(s.Snapshot(), id)
			if !ok || n.Text != "text of "+id || !accounts.Has(s.Snapshot(), id) {
				t.Errorf("round %d: %s was acknowledged and is lost", round, id)
			}
		}
		// What was not acknowledged may be there, but never by half.
		for n := range notes.All(s.Snapshot()) {
			if !accounts.Has(s.Snapshot(), n.ID) {
				t.Errorf("round %d: half a transaction: %s", round, n.ID)
			}
		}
		stopStore()
		stop()
	}
}

// killAfter starts the writer, reads n acknowledgements and kills it while it goes on writing.
func killAfter(t *testing.T, dir string, n, round int, acknowledged map[string]bool) {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^TestCrash_AcknowledgedWritesSurvive$", "-test.v=false")
	cmd.Env = append(os.Environ(), crashDir+"="+dir, "BERTH_STORE_TEST_CRASH_ROUND="+strconv.Itoa(round))
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	for range n {
		if !lines.Scan() {
			break
		}
		acknowledged[lines.Text()] = true
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	// What it had printed before it died is acknowledged, too. Lines are written whole.
	for lines.Scan() {
		acknowledged[lines.Text()] = true
	}
	if err := cmd.Wait(); err == nil {
		t.Fatal("the writer ended before it was killed")
	}
	if len(acknowledged) < n {
		t.Fatalf("the writer acknowledged %d writes only", len(acknowledged))
	}
}

// writeUntilKilled writes from several goroutines and prints each id once its commit was acknowledged.
func writeUntilKilled(t *testing.T, dir string) {
	db, _ := member(t, etcd.Config{Dir: dir})
	s := open(t, db, store.Options{})
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			for i := 0; ; i++ {
				id := fmt.Sprintf("%s-%d-%d", os.Getenv("BERTH_STORE_TEST_CRASH_ROUND"), w, i)
				_, err := s.Update(t.Context(), func(tx *store.Tx) error {
					notes.Put(tx, &note{ID: id, Text: "text of " + id})
					accounts.Put(tx, &account{Name: id})
					return nil
				})
				if err != nil {
					t.Error(err)
					return
				}
				if _, err := os.Stdout.WriteString(id + "\n"); err != nil {
					return // nobody listens any more
				}
			}
		})
	}
	wg.Wait()
}

func BenchmarkUpdate(b *testing.B) {
	b.Run("memkv", func(b *testing.B) { benchmarkUpdate(b, memkv.New(0)) })
	b.Run("etcd", func(b *testing.B) {
		db, _ := member(b, etcd.Config{Dir: b.TempDir()})
		benchmarkUpdate(b, db)
	})
}

// benchmarkUpdate measures commits of one record each: by one writer, and by 128 at once, each on its own record.
func benchmarkUpdate(b *testing.B, db kv.KV) {
	s := open(b, db, store.Options{})
	edit := func(b *testing.B, key string, i int) {
		if _, err := s.Update(context.Background(), func(tx *store.Tx) error {
			accounts.Put(tx, &account{Name: key, Owner: "ann", Balance: i, Tags: []string{"x"}})
			return nil
		}); err != nil {
			b.Error(err)
		}
	}
	b.Run("writers=1", func(b *testing.B) {
		for i := range b.N {
			edit(b, "a", i)
		}
		b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "commits/s")
	})
	b.Run("writers=128", func(b *testing.B) {
		b.SetParallelism(64)
		var writer struct {
			sync.Mutex
			n int
		}
		b.RunParallel(func(pb *testing.PB) {
			writer.Lock()
			writer.n++
			key := fmt.Sprintf("w%03d", writer.n)
			writer.Unlock()
			for i := 0; pb.Next(); i++ {
				edit(b, key, i)
			}
		})
		b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "commits/s")
	})
}

func BenchmarkSnapshot(b *testing.B) {
	s := open(b, memkv.New(0), store.Options{})
	var items []int
	for i := range 10_000 {
		items = append(items, i)
	}
	if _, err := store.Batch(context.Background(), s, items, func(tx *store.Tx, i int) error {
		accounts.Put(tx, &account{Name: fmt.Sprintf("%05d", i), Owner: fmt.Sprint(i % 100)})
		return nil
	}); err != nil {
		b.Fatal(err)
	}
	b.Run("Get", func(b *testing.B) {
		for b.Loop() {
			accounts.Get(s.Snapshot(), "05000")
		}
	})
	b.Run("By100Of10000", func(b *testing.B) {
		for b.Loop() {
			n := 0
			for range accounts.By(s.Snapshot(), byOwner, "42") {
				n++
			}
			if n != 100 {
				b.Fatal(n)
			}
		}
	})
}
