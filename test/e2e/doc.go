// Package e2e tests Berth as a user has it: the real binary with its embedded etcd, containerd, the kernel, and the
// official AWS SDK as the client. Nothing of it is imported; what it keeps true is what its users see.
//
// The tests share one Berth (shared), which TestMain starts and purges, and run their tasks in it side by side; those
// that kill processes have one of their own (start). Each has a data directory, a port and a private containerd of its
// own, so that the tests can run beside another Berth, and at the end nothing that carries its id may be left on the host
// (leftovers).
//
// The containers run test/images/probe, which does and shows what a test asks of it.
//
// BERTH_BIN names the binary to test; without it the tests build one as `make build` does.
package e2e
