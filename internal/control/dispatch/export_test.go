package dispatch

// Streams is how many streams are counted, over all nodes.
func (d *Dispatcher) Streams() int {
	d.streams.mu.Lock()
	defer d.streams.mu.Unlock()
	total := len(d.streams.waiting)
	for _, n := range d.streams.count {
		total += n
	}
	return total
}
