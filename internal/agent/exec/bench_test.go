package exec_test

import (
	"fmt"
	"io"
	"testing"

	"berth.dev/berth/internal/agent/runtime"
	"berth.dev/berth/internal/model"
)

// BenchmarkRoundTrip is a program that ends at once: through a stream, and with
// the runtime alone.
func BenchmarkRoundTrip(b *testing.B) {
	h := launch(b, nil, "sleep")
	command := []string{"/probe", "exit", "0"}
	b.Run("stream", func(b *testing.B) {
		for b.Loop() {
			asked := h.request(model.StreamExec)
			asked.Command = command
			c := open(b, h.Server, asked).started()
			c.rest()
			c.close()
		}
	})
	b.Run("runtime", func(b *testing.B) {
		for b.Loop() {
			if _, err := h.Exec(b.Context(), h.id, runtime.ExecSpec{Args: command}); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkThroughput is what a program says: through a stream, and with the
// runtime alone.
func BenchmarkThroughput(b *testing.B) {
	const size = 64 << 20
	h := launch(b, nil, "sleep")
	command := []string{"/probe", "flood", fmt.Sprint(size)}
	b.Run("stream", func(b *testing.B) {
		b.SetBytes(size)
		for b.Loop() {
			asked := h.request(model.StreamExec)
			asked.Command = command
			c := open(b, h.Server, asked).started()
			for c.next().GetExit() == nil {
			}
			c.close()
		}
	})
	b.Run("runtime", func(b *testing.B) {
		b.SetBytes(size)
		for b.Loop() {
			p, err := h.Attach(b.Context(), h.id, runtime.AttachSpec{ExecSpec: runtime.ExecSpec{Args: command}})
			if err != nil {
				b.Fatal(err)
			}
			n, err := io.Copy(io.Discard, p.Stdout())
			if err != nil || n != size {
				b.Fatal(n, err)
			}
			if err := p.Close(); err != nil {
				b.Fatal(err)
			}
		}
	})
}
