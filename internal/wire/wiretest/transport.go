package wiretest

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"sync/atomic"
)

// Transport keeps AWS's client from tearing down its own connection: it closes
// the request's body when the head of the answer is there (smithy-go
// transport/http, ClientHandler.Handle), and if net/http is just then looking
// for the end of that body, its WriteTo fails with EOF, and the answer is cut
// off. Users' clients try again and do not notice; those of tests do not try
// again. The server has no part in it.
type Transport struct {
	http.RoundTripper
	// Said gets the body of each answer, because AWS's client drops the message
	// of an error whose model has none. It may be nil.
	Said *atomic.Pointer[string]
}

// Client returns a client for tests over base.
func Client(base http.RoundTripper) *http.Client {
	return &http.Client{Transport: Transport{RoundTripper: base}}
}

// RoundTrip implements http.RoundTripper.
func (t Transport) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Body != nil {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return nil, err
		}
		r = r.Clone(r.Context())
		r.Body = io.NopCloser(bytes.NewReader(body))
	}
	answer, err := t.RoundTripper.RoundTrip(r)
	if err != nil || t.Said == nil {
		return answer, err
	}
	body, err := io.ReadAll(answer.Body)
	if err = errors.Join(err, answer.Body.Close()); err != nil {
		return nil, err
	}
	t.Said.Store(new(string(body)))
	answer.Body = io.NopCloser(bytes.NewReader(body))
	return answer, nil
}
