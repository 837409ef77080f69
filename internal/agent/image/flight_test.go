package image

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"berth.dev/berth/internal/agent/runtime"
)

func TestFlightsShareWork(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var f flights
		var runs atomic.Int32
		gate := make(chan struct{})
		results := make(chan runtime.Image, 10)
		for range 10 {
			go func() {
				img, err := f.do(t.Context(), "a", &asker{}, func(context.Context, *flight) (runtime.Image, error) {
					runs.Add(1)
					<-gate
					return runtime.Image{Name: "done"}, nil
				})
				if err != nil {
					t.Error(err)
				}
				results <- img
			}()
		}
		synctest.Wait()
		close(gate)
		for range 10 {
			if img := <-results; img.Name != "done" {
				t.Errorf("result %+v", img)
			}
		}
		if runs.Load() != 1 {
			t.Errorf("the work was done %d times", runs.Load())
		}
	})
}

func TestFlightsGiveUpWithTheLastCaller(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var f flights
		given := make(chan struct{})
		work := func(ctx context.Context, _ *flight) (runtime.Image, error) {
			<-ctx.Done()
			close(given)
			return runtime.Image{}, ctx.Err()
		}
		first, cancelFirst := context.WithCancel(t.Context())
		second, cancelSecond := context.WithCancel(t.Context())
		done := make(chan error, 2)
		for _, ctx := range []context.Context{first, second} {
			go func() {
				_, err := f.do(ctx, "a", &asker{}, work)
				done <- err
			}()
		}
		synctest.Wait()
		cancelFirst()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("first: %v", err)
		}
		synctest.Wait()
		select {
		case <-given:
			t.Error("the work was given up although somebody waits for it")
		default:
		}
		cancelSecond()
		<-done
		<-given
		// The next caller does not get the result of what was given up.
		img, err := f.do(t.Context(), "a", &asker{}, func(context.Context, *flight) (runtime.Image, error) { return runtime.Image{Name: "new"}, nil })
		if err != nil || img.Name != "new" {
			t.Errorf("afterwards: %+v, %v", img, err)
		}
	})
}
