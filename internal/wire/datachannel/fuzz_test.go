package datachannel_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"io"
	"testing"

	"github.com/google/uuid"

	"berth.dev/berth/internal/wire/datachannel"
)

// script is a peer that says what it says and hears nothing.
type script struct{ rest []byte }

// ReadFrame takes the next frame from the script: its length in two bytes, then
// itself.
func (s *script) ReadFrame(context.Context) ([]byte, error) {
	if len(s.rest) < 2 {
		return nil, io.EOF
	}
	n := min(int(binary.BigEndian.Uint16(s.rest)), len(s.rest)-2)
	frame := s.rest[2 : 2+n]
	s.rest = s.rest[2+n:]
	return frame, nil
}

func (s *script) WriteFrame(context.Context, []byte) error { return nil }

func scripted(messages ...datachannel.Message) []byte {
	var all []byte
	for _, m := range messages {
		frame := m.Append(nil)
		all = append(binary.BigEndian.AppendUint16(all, uint16(len(frame))), frame...)
	}
	return all
}

// Whatever a peer says, a channel ends with it, and what it has received is in
// order and within its bounds.
func FuzzChannel(f *testing.F) {
	data := func(sequence int64, text string) datachannel.Message {
		return datachannel.Message{Type: datachannel.TypeInput, Sequence: sequence, ID: uuid.New(), PayloadType: datachannel.PayloadOutput, Payload: []byte(text)}
	}
	ack := datachannel.Message{Type: datachannel.TypeAck, ID: uuid.New(), Payload: []byte(`{"AcknowledgedMessageType":"output_stream_data","AcknowledgedMessageSequenceNumber":0}`)}
	f.Add(true, scripted(data(0, "a"), data(1, "b")))
	f.Add(true, scripted(data(1, "b"), data(0, "a"), data(0, "a"), data(-1, "x"), data(1<<62, "y")))
	f.Add(true, scripted(ack, ack, datachannel.Message{Type: datachannel.TypePause}, data(0, "a"), datachannel.Message{Type: datachannel.TypeStart}))
	f.Add(false, scripted(datachannel.Message{Type: datachannel.TypeClosed, Payload: []byte(`{"Output":"bye"}`)}))
	f.Fuzz(func(t *testing.T, far bool, said []byte) {
		cfg := datachannel.Config{End: datachannel.ClientEnd, Frames: &script{said}, Inbox: 4096}
		if far {
			cfg.End = datachannel.FarEnd
		}
		c := datachannel.New(cfg)
		if err := c.Send(t.Context(), datachannel.PayloadOutput, []byte("hello")); err != nil {
			t.Fatal(err)
		}
		if err := c.Run(t.Context()); err == nil {
			t.Error("a channel ended without a reason")
		}
		received := 0
		for {
			p, err := c.Recv(t.Context())
			if err != nil {
				break
			}
			received += len(p.Data)
		}
		if received > max(4096, 1<<16) {
			t.Errorf("%d bytes were kept", received)
		}
	})
}

// pipe is the bytes of a stream that has ended.
type pipe struct{ io.Reader }

func (pipe) Write(p []byte) (int, error) { return len(p), nil }
func (pipe) Close() error                { return nil }

// What a connection says is read to its end, and never past it.
func FuzzConn(f *testing.F) {
	f.Add([]byte{0, 3, 'a', 'b', 'c', 0, 0})
	f.Add([]byte{0xff, 0xff, 0, 2, 'n', 'o'})
	f.Add([]byte{0, 3, 'a'})
	f.Fuzz(func(t *testing.T, said []byte) {
		c := datachannel.NewConn(pipe{bytes.NewReader(said)})
		got, err := io.ReadAll(c)
		if len(got) > len(said) {
			t.Errorf("%d bytes were read of %d", len(got), len(said))
		}
		if err == nil && len(said) < 2+len(got) {
			t.Error("an end was read that nobody wrote")
		}
	})
}
