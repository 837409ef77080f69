package datachannel

// receiver is what a Channel has read. The Channel's lock guards it.
type receiver struct {
	limit    int
	expected int64 // sequence number of the next message
	inbox    []Payload
	bytes    int               // cost of inbox and ahead
	ahead    map[int64]Payload // came before their turn
	paused   bool              // the peer was asked to pause
	closed   *ClosedError
}

func cost(p Payload) int { return len(p.Data) + messageCost }

// accept takes a data message in, in its turn or ahead of it. It returns false
// when it must come again: there is no room. One that came before is accepted
// and passed over, so that it is acknowledged again.
func (r *receiver) accept(m *Message) bool {
	if m.Sequence < r.expected {
		return true
	}
	p := Payload{m.PayloadType, m.Payload}
	if m.Sequence > r.expected {
		if _, double := r.ahead[m.Sequence]; double {
			return true
		}
		// Half of the room is for those whose turn it is.
		if m.Sequence-r.expected > maxAhead || r.bytes+cost(p) > r.limit/2 {
			return false
		}
		r.ahead[m.Sequence] = p
		r.bytes += cost(p)
		return true
	}
	if len(r.inbox) > 0 && r.bytes+cost(p) > r.limit {
		return false
	}
	r.bytes += cost(p)
	for ok := true; ok; p, ok = r.ahead[r.expected] {
		delete(r.ahead, r.expected)
		r.inbox = append(r.inbox, p)
		r.expected++
	}
	return true
}

// take returns the next payload, if there is one.
func (r *receiver) take() (Payload, bool) {
	if len(r.inbox) == 0 {
		return Payload{}, false
	}
	p := r.inbox[0]
	r.inbox[0] = Payload{}
	r.inbox = r.inbox[1:]
	r.bytes -= cost(p)
	return p, true
}

// pause says whether it is time to ask the peer to pause.
func (r *receiver) pause() bool {
	if r.paused || r.bytes < r.limit/4*3 {
		return false
	}
	r.paused = true
	return true
}

// resume says whether it is time to ask the peer to go on.
func (r *receiver) resume() bool {
	if !r.paused || r.bytes > r.limit/4 {
		return false
	}
	r.paused = false
	return true
}
