package nodeapi

// Stream is the control plane's end of a stream into a task, once the node has
// answered that it has started. One goroutine may call Send and another Recv.
type Stream interface {
	// Send passes a frame to the node. It blocks while the node takes no more.
	Send(*StreamFrame) error
	// Recv returns the node's next frame: io.EOF after the exit, another error
	// when the node is gone.
	Recv() (*StreamFrame, error)
	// Close ends the stream; the node kills what it has started. It may be
	// called at any time, and more than once.
	Close()
}
