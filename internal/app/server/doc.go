// Package server composes the control plane: the embedded etcd member, the
// store, the log store, the API providers behind the gateway, the node
// protocol and the control loops. It holds no logic of its own.
//
// Run returns when its context ends or when any part fails; a part that fails
// ends the process, and whoever supervises it starts it again.
package server
