package datachannel_test

import (
	"bytes"
	"encoding/hex"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"pgregory.net/rapid"

	"berth.dev/berth/internal/wire/datachannel"
)

func TestMessage_RoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := datachannel.Message{
			Type:        rapid.StringMatching(`[a-z_]{1,32}`).Draw(t, "type"),
			Created:     time.UnixMilli(rapid.Int64Range(0, 4e12).Draw(t, "created")),
			Sequence:    rapid.Int64().Draw(t, "sequence"),
			Flags:       rapid.Uint64().Draw(t, "flags"),
			ID:          uuid.UUID(rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "id")),
			PayloadType: datachannel.PayloadType(rapid.Uint32().Draw(t, "payload type")),
			Payload:     rapid.SliceOf(rapid.Byte()).Draw(t, "payload"),
		}
		frame := m.Append(nil)
		got, err := datachannel.Parse(frame)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got.Append(nil), frame) || got.Type != m.Type || got.ID != m.ID || !got.Created.Equal(m.Created) || !bytes.Equal(got.Payload, m.Payload) {
			t.Fatalf("parsed %+v, want %+v", got, m)
		}
		if n := len(m.Payload); n > 0 {
			frame[120+rapid.IntRange(0, n-1).Draw(t, "at")]++
			if _, err := datachannel.Parse(frame); !errors.Is(err, datachannel.ErrDigest) {
				t.Fatalf("changed on its way: %v", err)
			}
		}
	})
}

// The layout byte by byte, as the plugin reads it.
func TestMessage_Layout(t *testing.T) {
	m := datachannel.Message{
		Type: datachannel.TypeInput, Created: time.UnixMilli(0x0102030405), Sequence: 7, Flags: 1,
		ID: uuid.MustParse("00112233-4455-6677-8899-aabbccddeeff"), PayloadType: datachannel.PayloadSize, Payload: []byte("{}"),
	}
	want := strings.Join([]string{
		"00000074",
		hex.EncodeToString([]byte("input_stream_data               ")),
		"00000001", "0000000102030405", "0000000000000007", "0000000000000001",
		"8899aabbccddeeff0011223344556677",
		"44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a",
		"00000003", "00000002", "7b7d",
	}, "")
	if got := hex.EncodeToString(m.Append(nil)); got != want {
		t.Errorf("encoded\n%s, want\n%s", got, want)
	}
}

func FuzzParse(f *testing.F) {
	m := datachannel.Message{Type: datachannel.TypeOutput, ID: uuid.New(), PayloadType: datachannel.PayloadOutput, Payload: []byte("hello")}
	f.Add(m.Append(nil))
	f.Add(make([]byte, 120))
	f.Add([]byte(nil))
	f.Fuzz(func(t *testing.T, frame []byte) {
		m, err := datachannel.Parse(frame)
		if err != nil {
			return
		}
		// What is read means the same when it is written again; only padding
		// may differ.
		again, err := datachannel.Parse(m.Append(nil))
		if err != nil || again.Type != m.Type || again.Sequence != m.Sequence || again.ID != m.ID || !bytes.Equal(again.Payload, m.Payload) {
			t.Errorf("%+v, %v after %+v", again, err, m)
		}
	})
}
