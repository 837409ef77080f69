package containerd

import (
	"testing"

	"berth.dev/berth/internal/agent/runtime"
	"berth.dev/berth/internal/agent/runtime/runtimetest"
)

func TestContract(t *testing.T) {
	h := requireHost(t)
	runtimetest.Run(t, runtimetest.Host{
		Connect:      func(t *testing.T) runtime.Runtime { return h.connect(t) },
		Image:        probeImage,
		MissingImage: "127.0.0.1:1/missing:latest",
	})
}
