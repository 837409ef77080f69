package session_test

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"berth.dev/berth/internal/agent/documents"
	"berth.dev/berth/internal/wire/nodeapi"
)

// Apply notes documents among what the engine is told.
func (k *tasks) Apply(changes []documents.Document, complete bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	var line strings.Builder
	fmt.Fprintf(&line, "documents complete=%t", complete)
	for _, d := range changes {
		fmt.Fprintf(&line, " %s/%s=%s", d.Kind, d.Key, d.Body)
	}
	k.told = append(k.told, line.String())
}

func TestRun_HandsOnDocuments(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, k := newServer(t), newTasks()
		run(t, s, k)
		s.said()
		s.say(&nodeapi.ServerMessage{Message: &nodeapi.ServerMessage_Documents{Documents: &nodeapi.Documents{
			Complete: true, Documents: []*nodeapi.Document{{Kind: "a", Key: "x", Body: []byte("1")}},
		}}})
		s.say(&nodeapi.ServerMessage{Message: &nodeapi.ServerMessage_Documents{Documents: &nodeapi.Documents{
			Documents: []*nodeapi.Document{{Kind: "a", Key: "x"}},
		}}})
		expect(t, k.heard(), "documents complete=true a/x=1", "documents complete=false a/x=")
	})
}

// Of each thing the newest observation counts, and every session hears it.
func TestObserve_IsHeardByEverySession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, k := newServer(t), newTasks()
		c := run(t, s, k)
		s.said()
		c.Observe("lb", "x", []byte("1"))
		expect(t, s.said(), "observation lb x 1")
		s.die()
		c.Observe("lb", "x", []byte("2"))
		c.Observe("lb", "y", []byte("1"))
		c.Observe("lb", "z", []byte("1"))
		c.Observe("lb", "z", nil)
		s.begin()
		time.Sleep(10 * time.Second)
		expect(t, s.said(), "hello host", "observation lb x 2", "observation lb y 1")
	})
}
