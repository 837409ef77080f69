package datachannel_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"berth.dev/berth/internal/wire/datachannel"
)

// cable is a far end's Frames over one connection after another: each delivers
// in order, late, and takes what it still carries with it when it is cut.
type cable struct {
	mu       sync.Mutex
	random   *rand.Rand
	up, down chan []byte // of this connection, and what its ends wait for
	cut      chan struct{}
}

func (c *cable) connect() {
	c.up, c.down, c.cut = make(chan []byte, 100_000), make(chan []byte, 100_000), make(chan struct{})
}

func (c *cable) ends() (up, down chan []byte, cut chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.up, c.down, c.cut
}

func (c *cable) ReadFrame(ctx context.Context) ([]byte, error) {
	for {
		up, _, cut := c.ends()
		select {
		case f := <-up:
			return f, nil
		case <-cut:
			// The next connection's end, once it is there.
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

func (c *cable) WriteFrame(ctx context.Context, frame []byte) error {
	c.mu.Lock()
	delay := time.Duration(c.random.IntN(3)) * time.Millisecond
	c.mu.Unlock()
	<-time.After(delay)
	_, down, _ := c.ends()
	select {
	case down <- bytes.Clone(frame):
	case <-ctx.Done():
	}
	return nil
}

// plugin is AWS's client as far as it matters here: what it has had, it never
// acknowledges again.
type plugin struct {
	expected int64
	ahead    map[int64][]byte
	got      []byte
}

func (p *plugin) handle(frame []byte) (ack []byte) {
	m, err := datachannel.Parse(frame)
	if err != nil || m.Type != datachannel.TypeOutput || m.Sequence < p.expected {
		return nil
	}
	p.ahead[m.Sequence] = bytes.Clone(m.Payload)
	for {
		data, ok := p.ahead[p.expected]
		if !ok {
			break
		}
		p.got = append(p.got, data...)
		delete(p.ahead, p.expected)
		p.expected++
	}
	content, err := json.Marshal(datachannel.Acknowledgement{Type: m.Type, ID: m.ID.String(), Sequence: m.Sequence, IsSequential: true})
	if err != nil {
		panic(err) // of strings and a number
	}
	return (&datachannel.Message{Type: datachannel.TypeAck, Payload: content}).Append(nil)
}

// run is the plugin's life, over all connections.
func (p *plugin) run(ctx context.Context, c *cable) {
	for {
		up, down, cut := c.ends()
		select {
		case f := <-down:
			if ack := p.handle(f); ack != nil {
				<-time.After(time.Duration(len(f)%3) * time.Millisecond)
				up <- ack // lost if it was cut meanwhile
			}
		case <-cut:
		case <-ctx.Done():
			return
		}
	}
}

// Whenever the connection is cut, the plugin gets everything, once and in
// order, and the sender learns that it has.
func TestChannel_Reconnected(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		seed := rapid.Uint64().Draw(rt, "seed")
		cuts := rapid.SliceOfN(rapid.IntRange(0, 60), 0, 12).Draw(rt, "cuts")
		data := rapid.SliceOfN(rapid.Byte(), 1, 3000).Draw(rt, "data")
		cfg := datachannel.Config{
			End: datachannel.FarEnd, MaxPayload: rapid.IntRange(7, 500).Draw(rt, "payload"), Window: rapid.IntRange(1, 5000).Draw(rt, "window"),
		}
		synctest.Test(t, func(*testing.T) {
			if err := overCuts(seed, cuts, cfg, data); err != nil {
				rt.Error(err)
			}
		})
	})
}

func overCuts(seed uint64, cuts []int, cfg datachannel.Config, data []byte) error {
	c := &cable{random: rand.New(rand.NewPCG(seed, 1))}
	c.connect()
	cfg.Frames = c
	far := datachannel.New(cfg)
	ctx, cancel := context.WithTimeout(context.Background(), time.Hour)
	defer cancel()
	p := &plugin{ahead: map[int64][]byte{}}
	var group sync.WaitGroup
	group.Go(func() { far.Run(ctx) }) //nolint:errcheck // ended below
	group.Go(func() { p.run(ctx, c) })
	group.Go(func() {
		for _, wait := range cuts {
			<-time.After(time.Duration(wait) * time.Millisecond)
			c.mu.Lock()
			old := c.cut
			c.connect()
			far.Reconnected()
			close(old)
			c.mu.Unlock()
		}
	})
	err := far.Send(ctx, datachannel.PayloadOutput, data)
	if err == nil {
		err = far.Flush(ctx)
	}
	cancel()
	group.Wait()
	if err != nil || !bytes.Equal(p.got, data) {
		return fmt.Errorf("%v; %d of %d bytes, the same: %v", err, len(p.got), len(data), bytes.Equal(p.got, data))
	}
	return nil
}
