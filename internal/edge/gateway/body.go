package gateway

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"sync/atomic"
	"time"

	"berth.dev/berth/internal/wire/sigv4"
	"berth.dev/berth/internal/wire/smithy"
)

// DefaultMaxBodies is how many bytes of bodies are held at a time when the
// configuration says nothing.
const DefaultMaxBodies = 128 << 20

// firstRead is what a body's buffer begins with, in bytes; it doubles when it
// is full. So a client that is slow holds what it has sent, not what it
// announced.
const firstRead = 4 << 10

// budget is what bodies may take of memory, in bytes.
type budget struct{ left atomic.Int64 }

func (b *budget) take(n int64) bool {
	if b.left.Add(-n) >= 0 {
		return true
	}
	b.left.Add(n)
	return false
}

func (b *budget) give(n int64) { b.left.Add(n) }

// errNoRoom is the error of a body for which there is no memory now.
var errNoRoom = errors.New("too many bodies at once")

// readBody reads the whole body, up to the limit of the service that the head
// of the request names. A body that announces to be longer is not read at all.
func (c *call) readBody() ([]byte, error) {
	limit := int64(DefaultMaxBody)
	if svc := c.route.service; svc != nil {
		limit = svc.maxBody
	}
	return c.readUpTo(limit)
}

func (c *call) readUpTo(limit int64) ([]byte, error) {
	if c.r.ContentLength > limit {
		c.leaveBody()
		return nil, c.tooLarge(limit)
	}
	// MaxBytesReader closes the connection through the original writer.
	body, err := c.readAll(http.MaxBytesReader(c.w.ResponseWriter, c.r.Body, limit))
	if err == nil {
		return body, nil
	}
	c.leaveBody()
	if _, long := errors.AsType[*http.MaxBytesError](err); long {
		return nil, c.tooLarge(limit)
	}
	if errors.Is(err, errNoRoom) {
		return nil, c.own(http.StatusServiceUnavailable, "ServiceUnavailable", "Too many requests are being received. Please try again later.")
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return nil, c.own(http.StatusBadRequest, "RequestTimeout", "The request body did not arrive in time.")
	}
	// Short, badly chunked, or the client went away.
	code := "SerializationException"
	if svc := c.route.service; svc != nil {
		code = svc.api.Codes.Malformed
	}
	return nil, smithy.NewError(http.StatusBadRequest, code, "The request body is incomplete.")
}

// readAll is io.ReadAll whose buffer is taken from the budget as it grows; what
// was taken is given back when the request ends.
func (c *call) readAll(r io.Reader) ([]byte, error) {
	size := int64(firstRead)
	if n := c.r.ContentLength; n >= 0 && n < size {
		size = n + 1 // with room to see the end
	}
	body := make([]byte, 0, size)
	for grow := size; ; grow = int64(cap(body)) {
		if len(body) == cap(body) {
			body = append(make([]byte, 0, 2*cap(body)), body...)
		}
		if !c.g.bodies.take(grow) {
			return nil, errNoRoom
		}
		c.held += grow
		for len(body) < cap(body) {
			n, err := r.Read(body[len(body):cap(body)])
			body = body[:len(body)+n]
			if errors.Is(err, io.EOF) {
				return body, nil
			}
			if err != nil {
				return nil, err
			}
		}
	}
}

// leaveBody gives up the rest of the body: net/http would otherwise wait for it
// before it sends the answer, and once more before it closes the connection.
func (c *call) leaveBody() {
	if c.r.ContentLength == 0 {
		return
	}
	c.w.Header().Set("Connection", "close")
	// Not every writer has a connection (tests); then there is nothing to wait for.
	_ = http.NewResponseController(c.w).SetReadDeadline(time.Unix(1, 0))
}

func (c *call) tooLarge(limit int64) error {
	return c.own(http.StatusRequestEntityTooLarge, "RequestEntityTooLarge",
		fmt.Sprintf("The request body is longer than the %d bytes that this service reads.", limit))
}

// own makes an error that no model knows, named in the way of the protocol:
// JSON services end their codes in Exception.
func (c *call) own(status int, code, message string) error {
	if c.route.family == sigv4.JSON {
		code += "Exception"
	}
	return smithy.NewError(status, code, message)
}
