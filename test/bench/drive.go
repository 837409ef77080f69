package main

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
)

// driven is what clients that call one after another have measured.
type driven struct {
	took  []time.Duration // of each call
	whole time.Duration
}

func (d driven) rate() float64 { return float64(len(d.took)) / d.whole.Seconds() }

func (d driven) cells() []string {
	return []string{fmt.Sprintf("%.0f", d.rate()), ms(quantile(d.took, 0.5)), ms(quantile(d.took, 0.99))}
}

// drive makes so many calls with so many clients. Calls are numbered.
func drive(ctx context.Context, clients, calls int, call func(ctx context.Context, i int) error) (driven, error) {
	var mu sync.Mutex
	var out driven
	var next atomic.Int64
	g, gctx := errgroup.WithContext(ctx)
	begun := time.Now()
	for range clients {
		g.Go(func() error {
			var took []time.Duration
			for {
				i := int(next.Add(1)) - 1
				if i >= calls {
					break
				}
				at := time.Now()
				if err := call(gctx, i); err != nil {
					return err
				}
				took = append(took, time.Since(at))
			}
			mu.Lock()
			defer mu.Unlock()
			out.took = append(out.took, took...)
			return nil
		})
	}
	err := g.Wait()
	out.whole = time.Since(begun)
	return out, err
}
