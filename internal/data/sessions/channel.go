package sessions

import (
	"encoding/base64"
	"encoding/binary"
	"fmt"

	"berth.dev/berth/internal/base/fault"
)

// IssueChannel makes the token with which a client opens the data channel of a
// remote session. Serial tells the tokens of a session apart; until when it is
// good, and that it is good only once, is in the session's record.
func (s *Sessions) IssueChannel(sessionID string, serial int) (string, error) {
	sealed, err := s.ring.Seal(binary.AppendUvarint(nil, uint64(serial)), channelPurpose(sessionID))
	if err != nil {
		return "", fmt.Errorf("issuing a data channel's token: %w", err)
	}
	return base64.StdEncoding.EncodeToString(sealed), nil
}

// OpenChannel reads a token that came for a session. The error of one that is
// not ours, or not that session's, is fault.NotFound.
func (s *Sessions) OpenChannel(sessionID, token string) (serial int, err error) {
	unknown := fault.New(fault.NotFound, "the token of data channel %s", sessionID)
	sealed, err := base64.StdEncoding.Strict().DecodeString(token)
	if err != nil {
		return 0, unknown
	}
	plain, err := s.ring.Open(sealed, channelPurpose(sessionID))
	if err != nil {
		return 0, unknown
	}
	n, used := binary.Uvarint(plain)
	if used != len(plain) {
		return 0, unknown // a newer Berth made it
	}
	return int(n), nil
}

// channelPurpose binds a sealed token to its session.
func channelPurpose(sessionID string) string { return "data channel " + sessionID }
