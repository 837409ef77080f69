// Package datachannel is the protocol between AWS's session-manager-plugin and
// the far end of a session: agent messages over a WebSocket, in sequence,
// acknowledged and sent again (behaviour/exec-and-more.md §2). It has both
// ends: what the plugin speaks, for `berth exec` and its kin, and what the
// control plane answers.
package datachannel
