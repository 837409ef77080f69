package network

import (
	"net"
	"net/netip"
	"testing"
	"time"
)

// A program listens on port 80 of all addresses although an endpoint answers at port 80 of one, and a new agent's
// endpoint takes the place of the last one's.
func TestListenEndpoint_LeavesThePort(t *testing.T) {
	needRoot(t)
	path := newNamespace(t, "task")
	space := open(t, path)
	must(t, space.up(index(t, space, "lo")))
	at := netip.MustParseAddrPort("127.9.9.9:80")
	for _, agent := range []string{"first", "second"} {
		endpoint, err := ListenEndpointTCP(t.Context(), path, at)
		must(t, err)
		answerWith(endpoint, agent)
		if got := hear(t, path, "127.9.9.9:80"); got != agent {
			t.Errorf("the endpoint says %q, want %q", got, agent)
		}
		program, err := ListenTCP(t.Context(), path, "0.0.0.0:80")
		must(t, err)
		answerWith(program, "program")
		if got := hear(t, path, "127.0.0.1:80"); got != "program" {
			t.Errorf("the program says %q", got)
		}
		if got := hear(t, path, "127.9.9.9:80"); got != agent {
			t.Errorf("beside the program, the endpoint says %q, want %q", got, agent)
		}
		must(t, endpoint.Close(), program.Close())
	}
}

// The same with UDP: what answers comes from the port that was asked.
func TestListenEndpoint_UDP(t *testing.T) {
	needRoot(t)
	path := newNamespace(t, "task")
	space := open(t, path)
	must(t, space.up(index(t, space, "lo")))
	endpoint, err := ListenEndpointUDP(t.Context(), path, netip.MustParseAddrPort("127.9.9.9:53"))
	must(t, err)
	defer endpoint.Close()
	program, err := ListenUDP(t.Context(), path, "0.0.0.0:53")
	must(t, err)
	defer program.Close()
	go func() {
		buffer := make([]byte, 64)
		for {
			n, from, err := endpoint.ReadFrom(buffer)
			if err != nil {
				return
			}
			endpoint.WriteTo(append([]byte("endpoint "), buffer[:n]...), from)
		}
	}()
	var conn net.Conn
	must(t, In(path, func() (err error) {
		conn, err = net.Dial("udp4", "127.9.9.9:53") // a connected socket takes answers from there only
		return err
	}))
	defer conn.Close()
	must(t, conn.SetDeadline(time.Now().Add(10*time.Second)))
	_, err = conn.Write([]byte("hello"))
	must(t, err)
	buffer := make([]byte, 64)
	n, err := conn.Read(buffer)
	must(t, err)
	if got := string(buffer[:n]); got != "endpoint hello" {
		t.Errorf("the answer is %q", got)
	}
}

// answerWith says a word to everybody who connects, until the listener closes.
func answerWith(l net.Listener, word string) {
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			conn.Write([]byte(word))
			conn.Close()
		}
	}()
}

func hear(t *testing.T, path, address string) string {
	t.Helper()
	var conn net.Conn
	must(t, In(path, func() (err error) {
		conn, err = net.DialTimeout("tcp4", address, 10*time.Second)
		return err
	}))
	defer conn.Close()
	must(t, conn.SetDeadline(time.Now().Add(10*time.Second)))
	buffer := make([]byte, 64)
	n, _ := conn.Read(buffer)
	return string(buffer[:n])
}
