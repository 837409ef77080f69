package dispatch

import "testing"

// Of two sessions that began at the same time the one that registered last
// stays, in whatever order they come.
func TestOpen_KeepsTheNewest(t *testing.T) {
	for _, order := range [][]uint64{{1, 2}, {2, 1}} {
		d := New(Config{})
		ended := map[uint64]bool{}
		for _, number := range order {
			d.open(&session{instanceID: "i", number: number, end: func() { ended[number] = true }})
		}
		if d.sessions["i"].number != 2 || ended[2] || !ended[1] {
			t.Errorf("order %v: session %d stays, ended %v", order, d.sessions["i"].number, ended)
		}
	}
}
