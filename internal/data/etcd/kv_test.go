package etcd_test

import (
	"testing"

	"berth.dev/berth/internal/data/etcd"
	"berth.dev/berth/internal/data/kv"
	"berth.dev/berth/internal/data/kv/kvtest"
	"berth.dev/berth/internal/data/kv/memkv"
)

func open(t testing.TB) kv.KV {
	m, _ := start(t, etcd.Config{Dir: t.TempDir(), UnsafeNoFsync: true})
	return m.KV()
}

func TestContract(t *testing.T) { kvtest.Run(t, open) }

func TestDifferential(t *testing.T) { kvtest.Differential(t, memkv.New(0), open(t)) }
