package datachannel

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"strings"
	"time"
)

// OpenDataChannel is what a client says first, in a text frame.
type OpenDataChannel struct {
	MessageSchemaVersion string
	RequestID            string `json:"RequestId"`
	TokenValue           string
	ClientID             string `json:"ClientId"`
	ClientVersion        string
}

// String keeps the token out of logs.
func (o OpenDataChannel) String() string { return "data channel for client " + o.ClientID }

// Acknowledgement is the payload of a TypeAck message.
type Acknowledgement struct {
	Type         string `json:"AcknowledgedMessageType"`
	ID           string `json:"AcknowledgedMessageId"`
	Sequence     int64  `json:"AcknowledgedMessageSequenceNumber"`
	IsSequential bool   `json:"IsSequentialMessage"`
}

// Closed is the payload of a TypeClosed message.
type Closed struct {
	MessageType   string
	MessageID     string `json:"MessageId"`
	DestinationID string `json:"DestinationId"` // the client's id
	SessionID     string `json:"SessionId"`
	SchemaVersion int
	CreatedDate   string
	Output        string // shown to the user
}

// Size is a terminal's.
type Size struct {
	Columns uint32 `json:"cols"`
	Rows    uint32 `json:"rows"`
}

// Types of sessions. The plugin treats all but Port alike.
const (
	SessionShell       = "Standard_Stream"
	SessionInteractive = "InteractiveCommands"
	SessionPort        = "Port"
)

// Actions that a handshake asks for.
const (
	ActionSessionType   = "SessionType"
	ActionKMSEncryption = "KMSEncryption"
)

// HandshakeRequest is the far end's first message.
type HandshakeRequest struct {
	AgentVersion           string
	RequestedClientActions []RequestedAction
}

// RequestedAction is something that the client shall do before it starts.
type RequestedAction struct {
	ActionType       string
	ActionParameters json.RawMessage
}

// SessionTypeParameters are those of ActionSessionType.
type SessionTypeParameters struct {
	SessionType string
	Properties  json.RawMessage // null, or JSON of PortProperties
}

// PortProperties are those of SessionPort. Type LocalPortForwarding is
// connections to a port of the client's host; without it the plugin joins its
// own input and output to one connection.
type PortProperties struct {
	PortNumber      string `json:"portNumber"`
	LocalPortNumber string `json:"localPortNumber,omitempty"`
	Type            string `json:"type,omitempty"`
}

// LocalPortForwarding is a type of PortProperties.
const LocalPortForwarding = "LocalPortForwarding"

// Outcomes of an action.
const (
	ActionSuccess     = 1
	ActionFailed      = 2
	ActionUnsupported = 3
)

// HandshakeResponse is the client's answer.
type HandshakeResponse struct {
	ClientVersion          string
	ProcessedClientActions []ProcessedAction
	Errors                 []string
}

// ProcessedAction says what became of a RequestedAction.
type ProcessedAction struct {
	ActionType   string
	ActionStatus int
	ActionResult json.RawMessage
	Error        string
}

// HandshakeComplete tells the client to start.
type HandshakeComplete struct {
	HandshakeTimeToComplete time.Duration // nanoseconds
	CustomerMessage         string        // shown to the user
}

// clientPrefix begins the version of Berth's own clients.
const clientPrefix = "berth/"

// IsBerth says whether a client of this version understands what goes beyond
// AWS's protocol.
func IsBerth(clientVersion string) bool { return strings.HasPrefix(clientVersion, clientPrefix) }

// EncodeFlag returns the payload of a flag.
func EncodeFlag(f Flag) []byte { return binary.BigEndian.AppendUint32(nil, uint32(f)) }

// DecodeFlag reads the payload of a flag.
func DecodeFlag(payload []byte) (Flag, error) {
	if len(payload) != 4 {
		return 0, fmt.Errorf("a flag has %d bytes, not 4", len(payload))
	}
	return Flag(binary.BigEndian.Uint32(payload)), nil
}
