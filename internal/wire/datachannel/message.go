package datachannel

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
)

// Types of messages.
const (
	TypeInput  = "input_stream_data"  // from the client
	TypeOutput = "output_stream_data" // to the client
	TypeAck    = "acknowledge"
	TypeClosed = "channel_closed"    // to the client: nothing more comes
	TypeStart  = "start_publication" // send again
	TypePause  = "pause_publication" // send nothing for now
)

// PayloadType says what the payload of an input or output message is.
type PayloadType uint32

// Types of payloads.
const (
	PayloadOutput            PayloadType = 1 // bytes: of standard output to the client, of standard input from it
	PayloadError             PayloadType = 2
	PayloadSize              PayloadType = 3 // JSON of Size
	PayloadParameter         PayloadType = 4
	PayloadHandshakeRequest  PayloadType = 5 // JSON of HandshakeRequest
	PayloadHandshakeResponse PayloadType = 6 // JSON of HandshakeResponse
	PayloadHandshakeComplete PayloadType = 7 // JSON of HandshakeComplete
	PayloadChallenge         PayloadType = 8 // JSON of Challenge
	PayloadChallengeResponse PayloadType = 9 // JSON of Challenge
	PayloadFlag              PayloadType = 10
	PayloadStderr            PayloadType = 11
	PayloadExitCode          PayloadType = 12 // decimal
)

// Flag is the payload of a PayloadFlag, four bytes.
type Flag uint32

// Flags. Those of Berth are only sent between two ends that are Berth's.
const (
	FlagDisconnectToPort   Flag = 1 // from the client: its connection to the forwarded port has ended
	FlagTerminateSession   Flag = 2 // from the client
	FlagConnectToPortError Flag = 3 // to the client: the forwarded port does not answer

	FlagInputEnd  Flag = 0x6265_0001 // from the client: no more input
	FlagOutputEnd Flag = 0x6265_0002 // to the client: no more output
)

// Bits of a message's flags.
const (
	flagSYN = 1 // the first of its direction
	flagFIN = 2
)

const (
	headerBytes = 116 // the offset of the payload's length, as the header itself says
	typeBytes   = 32
	// schemaVersion is the only one there is.
	schemaVersion = 1
)

// Message is what one frame carries. Numbers are big-endian; the layout is in
// behaviour/exec-and-more.md §2.
type Message struct {
	Type        string // at most 32 bytes
	Created     time.Time
	Sequence    int64
	Flags       uint64
	ID          uuid.UUID
	PayloadType PayloadType
	Payload     []byte
}

// ErrDigest is the error of a message that was changed on its way.
var ErrDigest = errors.New("the payload of a message does not have its digest")

// Append appends the message's encoding.
func (m *Message) Append(b []byte) []byte {
	b = binary.BigEndian.AppendUint32(b, headerBytes)
	b = append(b, m.Type...)
	for range typeBytes - len(m.Type) {
		b = append(b, ' ')
	}
	b = binary.BigEndian.AppendUint32(b, schemaVersion)
	b = binary.BigEndian.AppendUint64(b, uint64(m.Created.UnixMilli()))
	b = binary.BigEndian.AppendUint64(b, uint64(m.Sequence))
	b = binary.BigEndian.AppendUint64(b, m.Flags)
	b = append(b, m.ID[8:]...) // its less significant half comes first
	b = append(b, m.ID[:8]...)
	digest := sha256.Sum256(m.Payload)
	b = append(b, digest[:]...)
	b = binary.BigEndian.AppendUint32(b, uint32(m.PayloadType))
	b = binary.BigEndian.AppendUint32(b, uint32(len(m.Payload)))
	return append(b, m.Payload...)
}

// Parse reads a frame. The message's payload is part of frame, not a copy. The
// error is ErrDigest for a frame that is whole but was changed.
func Parse(frame []byte) (Message, error) {
	if len(frame) < headerBytes+4 {
		return Message{}, fmt.Errorf("a frame of %d bytes is no message", len(frame))
	}
	// Longer headers would be of a version with more fields; none is known.
	if n := binary.BigEndian.Uint32(frame); n != headerBytes {
		return Message{}, fmt.Errorf("a message's header has %d bytes, not %d", n, headerBytes)
	}
	if v := binary.BigEndian.Uint32(frame[36:]); v != schemaVersion {
		return Message{}, fmt.Errorf("a message has schema version %d, not %d", v, schemaVersion)
	}
	m := Message{
		// The plugin pads with spaces and, like AWS's agent, takes NUL as well.
		Type:        string(bytes.Trim(frame[4:4+typeBytes], " \x00")),
		Created:     time.UnixMilli(int64(binary.BigEndian.Uint64(frame[40:]))),
		Sequence:    int64(binary.BigEndian.Uint64(frame[48:])),
		Flags:       binary.BigEndian.Uint64(frame[56:]),
		PayloadType: PayloadType(binary.BigEndian.Uint32(frame[112:])),
		Payload:     frame[headerBytes+4:],
	}
	copy(m.ID[8:], frame[64:72])
	copy(m.ID[:8], frame[72:80])
	if m.Type == "" {
		return Message{}, errors.New("a message has no type")
	}
	if n := binary.BigEndian.Uint32(frame[headerBytes:]); int(n) != len(m.Payload) {
		return Message{}, fmt.Errorf("a message's payload has %d bytes, not %d", len(m.Payload), n)
	}
	if digest := sha256.Sum256(m.Payload); len(m.Payload) > 0 && !bytes.Equal(digest[:], frame[80:112]) {
		return Message{}, ErrDigest
	}
	return m, nil
}
