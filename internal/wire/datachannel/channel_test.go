package datachannel_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"berth.dev/berth/internal/wire/datachannel"
)

// link carries frames from one end to the other and treats them badly.
type link struct {
	mu     sync.Mutex
	random *rand.Rand
	lose   float64 // probabilities
	double float64
	spoil  float64
	late   float64
	frames chan []byte
}

func newLink(seed uint64) *link {
	return &link{random: rand.New(rand.NewPCG(seed, seed)), frames: make(chan []byte, 100_000)}
}

func (l *link) ReadFrame(ctx context.Context) ([]byte, error) {
	select {
	case f := <-l.frames:
		return f, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (l *link) WriteFrame(_ context.Context, frame []byte) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	copies := 1
	if l.random.Float64() < l.double {
		copies = 2
	}
	for range copies {
		if l.random.Float64() < l.lose {
			continue
		}
		f := bytes.Clone(frame)
		if l.random.Float64() < l.spoil && len(f) > 120 {
			f[120+l.random.IntN(len(f)-120)] ^= 1
		}
		if l.random.Float64() < l.late {
			time.AfterFunc(time.Duration(l.random.IntN(3000))*time.Millisecond, func() { l.frames <- f })
			continue
		}
		l.frames <- f
	}
	return nil
}

// duplex is one end's Frames.
type duplex struct{ in, out *link }

func (d duplex) ReadFrame(ctx context.Context) ([]byte, error) { return d.in.ReadFrame(ctx) }
func (d duplex) WriteFrame(ctx context.Context, frame []byte) error {
	return d.out.WriteFrame(ctx, frame)
}

// pair runs two ends that are connected by up and down.
func pair(ctx context.Context, up, down *link, client, far datachannel.Config) (a, b *datachannel.Channel, wait func()) {
	client.End, client.Frames = datachannel.ClientEnd, duplex{down, up}
	far.End, far.Frames = datachannel.FarEnd, duplex{up, down}
	a, b = datachannel.New(client), datachannel.New(far)
	var group sync.WaitGroup
	group.Go(func() { a.Run(ctx) }) //nolint:errcheck // the test looks at what arrives
	group.Go(func() { b.Run(ctx) }) //nolint:errcheck // as above
	return a, b, group.Wait
}

// collect receives until n bytes have come.
func collect(ctx context.Context, c *datachannel.Channel, n int) ([]byte, error) {
	var got []byte
	for len(got) < n {
		p, err := c.Recv(ctx)
		if err != nil {
			return got, err
		}
		got = append(got, p.Data...)
	}
	return got, nil
}

// Whatever is lost, doubled, spoilt or late, in both directions at once: each
// end receives what the other sent, once and in order.
func TestChannel_DeliversOnceInOrder(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		seed := rapid.Uint64().Draw(rt, "seed")
		up, down := newLink(seed), newLink(seed+1)
		for _, l := range []*link{up, down} {
			l.lose = rapid.Float64Range(0, 0.5).Draw(rt, "lose")
			l.double = rapid.Float64Range(0, 0.5).Draw(rt, "double")
			l.spoil = rapid.Float64Range(0, 0.2).Draw(rt, "spoil")
			l.late = rapid.Float64Range(0, 0.3).Draw(rt, "late")
		}
		there := rapid.SliceOfN(rapid.Byte(), 1, 4000).Draw(rt, "there")
		back := rapid.SliceOfN(rapid.Byte(), 1, 4000).Draw(rt, "back")
		cfg := datachannel.Config{
			MaxPayload: rapid.IntRange(7, 1500).Draw(rt, "payload"),
			Window:     rapid.IntRange(1, 5000).Draw(rt, "window"),
			Inbox:      rapid.IntRange(1, 5000).Draw(rt, "inbox"),
		}
		synctest.Test(t, func(*testing.T) { exchange(rt, up, down, cfg, there, back) })
	})
}

// exchange sends there and back over bad links and looks at what arrives.
func exchange(t *rapid.T, up, down *link, cfg datachannel.Config, there, back []byte) {
	up.frames, down.frames = make(chan []byte, 100_000), make(chan []byte, 100_000) // of this bubble
	ctx, cancel := context.WithTimeout(context.Background(), 24*time.Hour)
	defer cancel()
	running, stop := context.WithCancel(ctx)
	a, b, wait := pair(running, up, down, cfg, cfg)
	var group sync.WaitGroup
	send := func(c *datachannel.Channel, data []byte) {
		err := c.Send(ctx, datachannel.PayloadOutput, data)
		if err == nil {
			err = c.Flush(ctx)
		}
		if err != nil {
			t.Errorf("send: %v", err)
		}
	}
	recv := func(c *datachannel.Channel, want []byte) {
		got, err := collect(ctx, c, len(want))
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("received %d bytes, %v; want %d", len(got), err, len(want))
		}
	}
	group.Go(func() { send(a, there) })
	group.Go(func() { send(b, back) })
	group.Go(func() { recv(a, back) })
	group.Go(func() { recv(b, there) })
	group.Wait()
	stop()
	wait()
	<-time.After(time.Hour) // what is late arrives before the bubble ends
}

// Two ends that both send much and read nothing for a while keep a bounded
// amount, and lose nothing.
func TestChannel_IsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		up, down := newLink(1), newLink(2)
		cfg := datachannel.Config{Window: 64 << 10, Inbox: 32 << 10}
		ctx, cancel := context.WithCancel(t.Context())
		a, b, wait := pair(ctx, up, down, cfg, cfg)
		data := make([]byte, 1<<20)
		rand.NewChaCha8([32]byte{1}).Read(data) //nolint:errcheck // never fails
		var group sync.WaitGroup
		var sent [2]bool
		for i, c := range []*datachannel.Channel{a, b} {
			group.Go(func() {
				if err := c.Send(ctx, datachannel.PayloadOutput, data); err != nil {
					t.Error(err)
				}
				sent[i] = true
			})
		}
		<-time.After(time.Hour)
		if sent[0] || sent[1] {
			t.Error("a sender did not wait for a receiver that does not read")
		}
		if n := len(up.frames) + len(down.frames); n > 100 {
			t.Errorf("%d frames wait", n)
		}
		for _, c := range []*datachannel.Channel{a, b} {
			group.Go(func() {
				if got, err := collect(ctx, c, len(data)); err != nil || !bytes.Equal(got, data) {
					t.Errorf("received %d bytes, %v", len(got), err)
				}
			})
		}
		group.Wait()
		cancel()
		wait()
	})
}

// A peer that acknowledges what it was never sent does no harm.
func TestChannel_AcknowledgementsOfNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		up, down := newLink(1), newLink(2)
		ctx, cancel := context.WithCancel(t.Context())
		far := datachannel.New(datachannel.Config{End: datachannel.FarEnd, Frames: duplex{up, down}})
		var group sync.WaitGroup
		group.Go(func() { far.Run(ctx) }) //nolint:errcheck // ended below
		for _, n := range []string{"0", "1", "-1", "9223372036854775807"} {
			m := datachannel.Message{Type: datachannel.TypeAck, Payload: []byte(`{"AcknowledgedMessageType":"output_stream_data","AcknowledgedMessageSequenceNumber":` + n + `}`)}
			up.frames <- m.Append(nil)
		}
		synctest.Wait()
		if err := far.Send(ctx, datachannel.PayloadOutput, []byte("hello")); err != nil {
			t.Fatal(err)
		}
		// Not acknowledged by those: it is sent again and again.
		<-time.After(time.Minute)
		if n := len(down.frames); n < 50 || n > 70 {
			t.Errorf("the message was written %d times in a minute", n)
		}
		cancel()
		group.Wait()
	})
}

func TestChannel_Ends(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		up, down := newLink(1), newLink(2)
		ctx, cancel := context.WithCancel(t.Context())
		a, b, wait := pair(ctx, up, down, datachannel.Config{}, datachannel.Config{})
		if err := b.Send(ctx, datachannel.PayloadOutput, []byte("last words")); err != nil {
			t.Fatal(err)
		}
		if err := b.Flush(ctx); err != nil {
			t.Fatal(err)
		}
		if err := b.SendClosed(ctx, datachannel.Closed{SessionID: "s", Output: "the task has stopped"}); err != nil {
			t.Fatal(err)
		}
		if p, err := a.Recv(ctx); err != nil || string(p.Data) != "last words" {
			t.Errorf("received %q, %v", p.Data, err)
		}
		_, err := a.Recv(ctx)
		if closed, ok := errors.AsType[*datachannel.ClosedError](err); !ok || closed.Text != "the task has stopped" {
			t.Errorf("at the end: %v", err)
		}
		cancel()
		wait()
		if err := b.Send(t.Context(), datachannel.PayloadOutput, []byte("x")); !errors.Is(err, context.Canceled) {
			t.Errorf("sending after the end: %v", err)
		}
		if _, err := b.Recv(t.Context()); !errors.Is(err, context.Canceled) {
			t.Errorf("receiving after the end: %v", err)
		}
	})
}

// garbage is a peer that does not speak the protocol.
type garbage struct{ frame []byte }

func (g *garbage) ReadFrame(context.Context) ([]byte, error) {
	if g.frame == nil {
		return nil, io.EOF
	}
	return g.frame, nil
}

func (g *garbage) WriteFrame(context.Context, []byte) error { return nil }

func TestChannel_EndsWithGarbage(t *testing.T) {
	for name, g := range map[string]*garbage{"short": {[]byte("x")}, "nothing": {nil}, "zeroes": {make([]byte, 200)}} {
		c := datachannel.New(datachannel.Config{Frames: g})
		if err := c.Run(t.Context()); err == nil || errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
