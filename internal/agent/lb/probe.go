package lb

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"berth.dev/berth/internal/agent/network"
	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/rules/routing"
)

// check does one health check of a target from the namespace at path.
func check(ctx context.Context, path string, g *model.TargetGroup, t *target) routing.Result {
	h := g.HealthCheck
	ctx, cancel := context.WithTimeout(ctx, time.Duration(max(h.TimeoutSeconds, 1))*time.Second)
	defer cancel()
	port := int(t.Port)
	if n, err := strconv.Atoi(h.Port); err == nil {
		port = n
	}
	address, err := netip.ParseAddr(t.Address)
	if err != nil || port <= 0 || port > 65535 {
		return routing.Failed()
	}
	endpoint := netip.AddrPortFrom(address, uint16(port))
	if h.Protocol != "HTTP" && h.Protocol != "HTTPS" {
		conn, err := dial(ctx, path, endpoint)
		if err != nil {
			return failure(ctx, err)
		}
		conn.Close()
		return routing.Passed()
	}
	return checkHTTP(ctx, path, g, endpoint)
}

// checkHTTP asks a target as AWS's checker does.
func checkHTTP(ctx context.Context, path string, g *model.TargetGroup, endpoint netip.AddrPort) routing.Result {
	h := g.HealthCheck
	h2 := g.ProtocolVersion == "HTTP2" || g.ProtocolVersion == "GRPC"
	transport := &http.Transport{
		DialContext:       func(ctx context.Context, _, _ string) (net.Conn, error) { return dial(ctx, path, endpoint) },
		TLSClientConfig:   &tls.Config{InsecureSkipVerify: true}, // AWS does not verify targets' certificates either
		DisableKeepAlives: true, Protocols: new(http.Protocols),
		ForceAttemptHTTP2: h2,
	}
	transport.Protocols.SetHTTP1(!h2)
	transport.Protocols.SetHTTP2(h2)
	transport.Protocols.SetUnencryptedHTTP2(h2)
	defer transport.CloseIdleConnections()
	method, body := http.MethodGet, io.Reader(nil)
	if g.ProtocolVersion == "GRPC" {
		method, body = http.MethodPost, strings.NewReader("\x00\x00\x00\x00\x00") // a message without fields
	}
	uri := h.Path
	if !strings.HasPrefix(uri, "/") {
		uri = "/" + uri
	}
	req, err := http.NewRequestWithContext(ctx, method, strings.ToLower(h.Protocol)+"://"+endpoint.String()+uri, body)
	if err != nil {
		return routing.Failed()
	}
	req.Header.Set("User-Agent", "ELB-HealthChecker/2.0")
	if g.ProtocolVersion == "GRPC" {
		req.Header.Set("Content-Type", "application/grpc")
		req.Header.Set("TE", "trailers")
	}
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return failure(ctx, err)
	}
	defer resp.Body.Close()
	if g.ProtocolVersion != "GRPC" {
		if !routing.Matches(orDefault(h.HTTPCodes, "200"), resp.StatusCode) {
			return routing.Mismatch(resp.StatusCode)
		}
		return routing.Passed()
	}
	if _, err := io.Copy(io.Discard, io.LimitReader(resp.Body, 1<<20)); err != nil {
		return failure(ctx, err)
	}
	status := resp.Trailer.Get("Grpc-Status")
	if status == "" {
		status = resp.Header.Get("Grpc-Status")
	}
	code, err := strconv.Atoi(status)
	if err != nil {
		return routing.Failed()
	}
	if !routing.Matches(orDefault(h.GRPCCodes, "12"), code) {
		return routing.Mismatch(code)
	}
	return routing.Passed()
}

func orDefault(value, byDefault string) string {
	if value == "" {
		return byDefault
	}
	return value
}

func failure(ctx context.Context, err error) routing.Result {
	if ctx.Err() != nil || os.IsTimeout(err) {
		return routing.TimedOut()
	}
	return routing.Failed()
}

// dial connects to a target from the namespace at path. The socket is made in the namespace; the wait for the
// connection is the runtime's, so that a target that does not answer keeps no thread.
func dial(ctx context.Context, path string, endpoint netip.AddrPort) (net.Conn, error) {
	var fd int
	err := network.In(path, func() (err error) {
		fd, err = unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return fmt.Errorf("make socket: %w", err)
		}
		err = unix.Connect(fd, &unix.SockaddrInet4{Port: int(endpoint.Port()), Addr: endpoint.Addr().As4()})
		if err != nil && !errors.Is(err, unix.EINPROGRESS) {
			return errors.Join(err, unix.Close(fd))
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	file := os.NewFile(uintptr(fd), endpoint.String())
	defer file.Close() // net.FileConn has its own
	if err := connected(ctx, file); err != nil {
		return nil, err
	}
	return net.FileConn(file)
}

// connected waits until a connection that has begun is there, or has failed.
func connected(ctx context.Context, file *os.File) error {
	defer context.AfterFunc(ctx, func() { file.SetDeadline(time.Unix(1, 0)) })() //nolint:errcheck // a connection that is closed needs no deadline
	raw, err := file.SyscallConn()
	if err != nil {
		return err
	}
	var result error
	err = raw.Write(func(fd uintptr) bool {
		errno, err := unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_ERROR)
		switch {
		case err != nil:
			result = err
		case errno != 0:
			result = syscall.Errno(errno)
		default:
			_, err := unix.Getpeername(int(fd))
			if errors.Is(err, unix.ENOTCONN) {
				return false // not yet: wait until it can be written to
			}
			result = err
		}
		return true
	})
	return errors.Join(err, result)
}

// probed is what a prober found out about a target.
type probed struct {
	group, key string
	registered time.Time
	health     routing.Health
}

// Between two checks of a new target that its interval asks for, the agent looks more often, so that a deployment goes on
// as soon as a task can serve. The success of such a check is welcome, its failure counts for nothing.
const (
	firstWait = 100 * time.Millisecond
	longWait  = time.Second
)

// probe checks a target until ctx ends or, with first, until it is known whether it is healthy. The first check is at once.
func probe(ctx context.Context, path string, g *model.TargetGroup, key string, t target, first bool, report chan<- probed) {
	interval := time.Duration(max(g.HealthCheck.IntervalSeconds, 1)) * time.Second
	timer := time.NewTimer(0)
	defer timer.Stop()
	health, wait, due := t.Health, firstWait, time.Now()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		began := time.Now()
		result := check(ctx, path, g, &t)
		counts := !began.Before(due)
		if counts {
			due = began.Add(interval)
		}
		if counts || result.Passed && health.State == model.TargetInitial {
			health = health.Next(result, g.HealthCheck)
			select {
			case <-ctx.Done():
				return
			case report <- probed{group: g.ID, key: key, registered: t.RegisteredAt, health: health}:
			}
		}
		if health.State != model.TargetInitial {
			if first {
				return
			}
			timer.Reset(time.Until(due))
			continue
		}
		timer.Reset(min(wait, time.Until(due)))
		wait = min(wait*3/2, longWait)
	}
}
