package registry

import (
	"io"
	"net/http"
	"sync"
	"time"
)

const (
	// patience is how long a client may be without sending or taking anything.
	patience = time.Minute
	// stride is how much a client must take within its patience.
	stride = 4 << 20
)

// pace gives a connection time for as long as something moves on it. The
// server's own limits are for whole requests, which is right for calls and too
// short for layers.
type pace struct {
	http.ResponseWriter
	control *http.ResponseController
	body    io.Reader
	began   bool // an answer
}

func newPace(w http.ResponseWriter, r *http.Request) *pace {
	p := &pace{ResponseWriter: w, control: http.NewResponseController(w), body: r.Body}
	p.writing()
	return p
}

// Not every connection has deadlines: those of nodes end with their session.
func (p *pace) reading() { _ = p.control.SetReadDeadline(time.Now().Add(patience)) }
func (p *pace) writing() { _ = p.control.SetWriteDeadline(time.Now().Add(patience)) }

// read takes away the limit again: the server goes on reading, to notice when
// the client goes away, and a limit would look like that.
func (p *pace) read() { _ = p.control.SetReadDeadline(time.Time{}) }

func (p *pace) end() { _ = p.control.SetWriteDeadline(time.Time{}) }

// Read reads the request's body.
func (p *pace) Read(b []byte) (int, error) {
	p.reading()
	n, err := p.body.Read(b)
	if err != nil {
		p.read()
	}
	return n, err
}

// WriteHeader implements http.ResponseWriter.
func (p *pace) WriteHeader(status int) {
	p.began = true
	p.writing()
	p.ResponseWriter.WriteHeader(status)
}

// Write implements http.ResponseWriter.
func (p *pace) Write(b []byte) (int, error) {
	p.began = true
	p.writing()
	return p.ResponseWriter.Write(b)
}

// ReadFrom lets the kernel carry files to the socket, a stride at a time.
func (p *pace) ReadFrom(r io.Reader) (total int64, err error) {
	p.began = true
	left := int64(-1)
	limited, ok := r.(*io.LimitedReader)
	if ok {
		// The kernel is asked only when the file is right below the limit.
		r, left = limited.R, limited.N
	}
	for left != 0 {
		step := int64(stride)
		if ok {
			step = min(step, left)
		}
		p.writing()
		n, err := io.Copy(p.ResponseWriter, &io.LimitedReader{R: r, N: step})
		total += n
		if ok {
			left -= n
			limited.N = left
		}
		if err != nil || n < step {
			return total, err
		}
	}
	return total, nil
}

// maxUploads is how many requests may bring content to one repository at a time:
// twenty clients of docker, which sends five layers at once.
const maxUploads = 100

// slots count requests by repository.
type slots struct {
	mu sync.Mutex
	of map[string]int
}

func (s *slots) take(name string) (release func(), ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.of[name] >= maxUploads {
		return nil, false
	}
	s.of[name]++
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.of[name]--; s.of[name] == 0 {
			delete(s.of, name)
		}
	}, true
}
