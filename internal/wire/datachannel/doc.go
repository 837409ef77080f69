// Package datachannel is the protocol between AWS's session-manager-plugin and
// the far end of a session: messages over a WebSocket, in sequence,
// acknowledged and sent again. It has both ends: what the plugin speaks, for
// `berth exec` and its kin (Connect), and what the control plane answers
// (Channel, with edge/channel).
//
// A Channel keeps these things true, whatever its frames lose, double or
// reorder:
//
//   - Every payload that one end sends is received by the other once, in the
//     order of sending.
//   - Memory is bounded on both ends. A sender waits while too much of it is
//     not acknowledged; a receiver whose owner does not read acknowledges no
//     more, and asks to pause.
//   - Acknowledgements always flow: an end that waits for its peer to read still
//     reads, so two ends that both have much to say do not block each other.
//
// What goes beyond AWS's protocol is only said between two ends that are
// Berth's: a client whose version starts with "berth/" is sent standard error
// apart from output (payload 11), an exit code (payload 12) and the end of
// output (a flag), may say that its input has ended (a flag), and multiplexes
// connections with halves that close one by one (Mux).
//
// Sources: behaviour/exec-and-more.md §2, and the plugin's own code
// (github.com/aws/session-manager-plugin), whose constants and quirks are named
// where they matter.
package datachannel
