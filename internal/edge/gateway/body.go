package gateway

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"

	"berth.dev/berth/internal/wire/sigv4"
	"berth.dev/berth/internal/wire/smithy"
)

// readBody reads the whole body, up to the limit of the service that the head
// of the request names. A body that announces to be longer is not read at all.
func (c *call) readBody() ([]byte, error) {
	limit := int64(DefaultMaxBody)
	if svc := c.route.service; svc != nil {
		limit = svc.maxBody
	}
	if c.r.ContentLength > limit {
		c.leaveBody()
		return nil, c.tooLarge(limit)
	}
	// MaxBytesReader closes the connection through the original writer.
	body, err := io.ReadAll(http.MaxBytesReader(c.w.ResponseWriter, c.r.Body, limit))
	if err == nil {
		return body, nil
	}
	c.leaveBody()
	if _, long := errors.AsType[*http.MaxBytesError](err); long {
		return nil, c.tooLarge(limit)
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
