package datachannel_test

import (
	"context"
	"fmt"
	"testing"

	"berth.dev/berth/internal/wire/datachannel"
)

// How much of a connection's speed the protocol itself costs: with payloads as
// AWS's ends send them, and as Berth's do.
func BenchmarkChannel(b *testing.B) {
	for _, payload := range []int{1 << 10, 32 << 10} {
		b.Run(fmt.Sprintf("payload=%d", payload), func(b *testing.B) {
			ctx, cancel := context.WithCancel(b.Context())
			cfg := datachannel.Config{MaxPayload: payload, Window: 4 << 20}
			client, far, wait := pair(ctx, newLink(1), newLink(2), cfg, cfg)
			data := make([]byte, 1<<20)
			b.SetBytes(int64(len(data)))
			done := make(chan error, 1)
			go func() {
				_, err := collect(ctx, client, len(data)*b.N)
				done <- err
			}()
			for range b.N {
				if err := far.Send(ctx, datachannel.PayloadOutput, data); err != nil {
					b.Fatal(err)
				}
			}
			if err := <-done; err != nil {
				b.Fatal(err)
			}
			cancel()
			wait()
		})
	}
}
