// Package smplugin pins AWS's session-manager-plugin, the client of sessions
// that comes with the aws CLI, so that tests can build and run it unmodified:
//
//	cd tools/smplugin && go build -o session-manager-plugin github.com/aws/session-manager-plugin/src/sessionmanagerplugin-main
//
// It is a module of its own, because nothing of it belongs into Berth. The
// plugin's repository has no go.mod; it needs twinj/uuid of 2015, with whose
// newer versions it does not compile.
package smplugin
