package gateway_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"berth.dev/berth/internal/edge/gateway"
	"berth.dev/berth/internal/wire/api/ec2api"
	"berth.dev/berth/internal/wire/api/ecsapi"
	"berth.dev/berth/internal/wire/api/stsapi"
	"berth.dev/berth/internal/wire/caller"
	"berth.dev/berth/internal/wire/sigv4"
)

// clock is a gateway's clock that a test moves. Requests are signed for now, so
// it may move by five minutes.
type clock struct{ past atomic.Int64 }

func (c *clock) now() time.Time { return now.Add(time.Duration(c.past.Load())) }

func (c *clock) pass(d time.Duration) { c.past.Add(int64(d)) }

func TestRateLimit(t *testing.T) {
	c := &clock{}
	d := open(t, func(cfg *gateway.Config) { cfg.Now, cfg.RateLimit, cfg.RateBurst = c.now, 1, 2 })
	list, vpcs, who := jsonCall(ecsapi.API, "ListClusters", "{}"), formCall(ec2api.API, "DescribeVpcs", ""), formCall(stsapi.API, "GetCallerIdentity", "")
	for range 2 {
		wantFailure(t, d.send(t, list), "json", 501, "NotImplemented", "*")
	}
	wantFailure(t, d.send(t, list), "json", 400, "ThrottlingException", "Rate exceeded")
	wantFailure(t, d.send(t, who), "query", 400, "Throttling", "Rate exceeded")
	wantFailure(t, d.send(t, vpcs), "ec2", 503, "RequestLimitExceeded", "Request limit exceeded.")
	other := list
	other.key = userKey
	wantFailure(t, d.send(t, other), "json", 400, "AccessDeniedException", "*")
	c.pass(time.Second)
	wantFailure(t, d.send(t, list), "json", 501, "NotImplemented", "*")
	wantFailure(t, d.send(t, list), "json", 400, "ThrottlingException", "*")
}

// All sessions of a role share its limit: they cost nothing to make.
func TestRateLimitOfSessions(t *testing.T) {
	n := 0
	store := credentialFunc(func(string, string) (sigv4.Credential, caller.Identity, error) {
		n++
		return sigv4.Credential{SecretAccessKey: secret}, caller.Identity{
			AccountID: "123456789012",
			ARN:       fmt.Sprintf("arn:aws:sts::123456789012:assumed-role/app/s%d", n), Session: &caller.Session{RoleARN: "arn:aws:iam::123456789012:role/app"},
		}, nil
	})
	d := open(t, func(cfg *gateway.Config) { cfg.Credentials, cfg.RateLimit, cfg.RateBurst = store, 1, 1 })
	list := jsonCall(ecsapi.API, "ListClusters", "{}")
	wantFailure(t, d.send(t, list), "json", 400, "AccessDeniedException", "*")
	wantFailure(t, d.send(t, list), "json", 400, "ThrottlingException", "*")
}

type credentialFunc func(id, token string) (sigv4.Credential, caller.Identity, error)

func (f credentialFunc) Credentials(_ context.Context, id, token string) (sigv4.Credential, caller.Identity, error) {
	return f(id, token)
}

// Who guesses is slowed down, and shuts nobody else out.
func TestGuessing(t *testing.T) {
	c := &clock{}
	a := &auditor{}
	d := open(t, func(cfg *gateway.Config) { cfg.Now, cfg.Auditor = c.now, a })
	good := jsonCall(ecsapi.API, "ListClusters", "{}")
	guess := func(n int) request {
		q := good
		q.key = fmt.Sprintf("AKIAGUESS%d", n)
		return q
	}
	from := func(q request, address string) reply {
		r := q.build(t)
		r.RemoteAddr = address
		return d.do(t, r)
	}
	wantFailure(t, d.send(t, good), "json", 501, "NotImplemented", "*")
	tries := 0
	for ; ; tries++ {
		if got := d.send(t, guess(tries)); strings.Contains(got.body, "ThrottlingException") {
			break
		}
		if tries > 1000 {
			t.Fatal("guessing is never slowed down")
		}
	}
	if recorded := len(a.all()); recorded != tries+1 {
		t.Errorf("%d records of %d requests that were answered", recorded, tries+1)
	}
	wantFailure(t, d.send(t, good), "json", 501, "NotImplemented", "*")
	never := good
	never.key = userKey
	wantFailure(t, d.send(t, never), "json", 400, "ThrottlingException", "*")
	wantFailure(t, from(never, "192.0.2.77:1"), "json", 400, "AccessDeniedException", "*")
	c.pass(2 * time.Second)
	wantFailure(t, d.send(t, guess(0)), "json", 400, "UnrecognizedClientException", "*")
	wantFailure(t, d.send(t, guess(0)), "json", 400, "ThrottlingException", "*")
	// A key that has worked counts by itself, its own wrong signatures too.
	for range tries {
		r := good.build(t)
		r.Header.Set("X-Amz-Target", ecsapi.API.TargetPrefix+".DescribeClusters")
		d.do(t, r)
	}
	wantFailure(t, d.send(t, good), "json", 400, "ThrottlingException", "*")
}

// Bodies in flight have a budget, and it is given back.
func TestBodyBudget(t *testing.T) {
	d := open(t, func(cfg *gateway.Config) { cfg.MaxBodies = 100 << 10 })
	small := jsonCall(ecsapi.API, "ListClusters", "{}")
	big := jsonCall(ecsapi.API, "ListClusters", `{"nextToken":"`+strings.Repeat("x", 90<<10)+`"}`)
	for range 3 {
		wantFailure(t, d.send(t, big), "json", 503, "ServiceUnavailableException", "Too many requests are being received. Please try again later.")
		wantFailure(t, d.send(t, small), "json", 501, "NotImplemented", "*")
	}
	// A client that is slow holds what it has sent, not what it announced.
	r, w := io.Pipe()
	slow := big.build(t)
	slow.Body = r
	done := make(chan struct{})
	go func() {
		defer close(done)
		d.ServeHTTP(discarding{http.Header{}}, slow)
	}()
	if _, err := w.Write(big.body[:1000]); err != nil {
		t.Fatal(err)
	}
	if got := d.ids; got == 0 {
		t.Fatal("the slow request has not begun")
	}
	medium := jsonCall(ecsapi.API, "ListClusters", `{"nextToken":"`+strings.Repeat("x", 40<<10)+`"}`)
	wantFailure(t, d.send(t, medium), "json", 501, "NotImplemented", "*")
	_ = w.CloseWithError(io.ErrUnexpectedEOF)
	<-done
}

// discarding is a ResponseWriter for answers that nobody reads.
type discarding struct{ header http.Header }

func (d discarding) Header() http.Header       { return d.header }
func (discarding) WriteHeader(int)             {}
func (discarding) Write(b []byte) (int, error) { return len(b), nil }

// The server's own limits: a head that does not end is cut off, one that is too
// long is refused.
func TestServerLimits(t *testing.T) {
	d := open(t, nil)
	server := gateway.Server("127.0.0.1:0", d, newDiscardLog())
	if server.ReadHeaderTimeout <= 0 || server.ReadTimeout <= 0 || server.WriteTimeout <= gateway.RequestTimeout || server.IdleTimeout <= 0 {
		t.Errorf("a time is not bounded: %+v", server)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- server.Serve(listener) }()
	defer func() {
		_ = server.Close()
		<-done
	}()
	conn, err := net.Dial("tcp", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	go func() {
		// The server may hang up before it has all of it.
		_, _ = io.WriteString(conn, "POST / HTTP/1.1\r\nHost: h\r\nX-Long: "+strings.Repeat("x", 128<<10)+"\r\n\r\n")
	}()
	answer := make([]byte, len("HTTP/1.1 431"))
	if _, err := io.ReadFull(conn, answer); err != nil || string(answer) != "HTTP/1.1 431" {
		t.Fatalf("%q, %v", answer, err)
	}
}
