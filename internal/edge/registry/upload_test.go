package registry_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"berth.dev/berth/internal/model"
)

func (w *world) begin(repository string) string {
	w.t.Helper()
	return w.do("POST", "/v2/"+repository+"/blobs/uploads/", "").want(w.t, http.StatusAccepted).Header.Get("Location")
}

func TestUpload_parts(t *testing.T) {
	w := newWorld(t, "app")
	at := w.begin("app")
	a := w.do("PATCH", at, "01234", "Content-Range", "0-4").want(t, http.StatusAccepted)
	if got := a.Header.Get("Range"); got != "0-4" {
		t.Errorf("Range %s", got)
	}
	a = w.do("PATCH", at, "89", "Content-Range", "8-9").want(t, http.StatusRequestedRangeNotSatisfiable, "RANGE_INVALID")
	if a.Header.Get("Range") != "0-4" || a.Header.Get("Location") != at {
		t.Errorf("a part that does not fit: %v", a.Header)
	}
	w.do("PATCH", at, "567", "Content-Range", "5-6").want(t, http.StatusBadRequest, "SIZE_INVALID")
	w.do("PATCH", at, "x", "Content-Range", "x").want(t, http.StatusRequestedRangeNotSatisfiable)
	w.do("PATCH", at, "567", "Content-Range", "bytes 5-7/10").want(t, http.StatusAccepted)
	if got := w.do("GET", at, "").want(t, http.StatusNoContent).Header.Get("Range"); got != "0-7" {
		t.Errorf("status %s", got)
	}
	w.do("PUT", at, "89").want(t, http.StatusBadRequest, "DIGEST_INVALID")
	a = w.do("PUT", at+"?digest="+sum("0123456789"), "89").want(t, http.StatusCreated)
	w.do("GET", a.Header.Get("Location"), "").want(t, http.StatusOK, "0123456789")
	w.do("GET", at, "").want(t, http.StatusNotFound, "BLOB_UPLOAD_UNKNOWN")

	at = w.begin("app")
	w.do("PATCH", at, "half").want(t, http.StatusAccepted)
	w.do("PUT", at+"?digest="+sum("whole"), "").want(t, http.StatusBadRequest, "DIGEST_INVALID")
	w.do("GET", at, "").want(t, http.StatusNotFound)
	w.do("HEAD", "/v2/app/blobs/"+sum("whole"), "").want(t, http.StatusNotFound)

	at = w.begin("app")
	w.do("DELETE", at, "").want(t, http.StatusNoContent)
	w.do("PATCH", at, "x").want(t, http.StatusNotFound)
	w.do("PATCH", strings.Replace(w.begin("app"), "/app/", "/none/", 1), "x").want(t, http.StatusNotFound, "NAME_UNKNOWN")
}

// cut sends the head of a request and a part of its body, and breaks the
// connection.
func (w *world) cut(method, path, part string, length int) {
	w.t.Helper()
	var dialer net.Dialer
	conn, err := dialer.DialContext(context.Background(), "tcp", w.host)
	if err != nil {
		w.t.Fatal(err)
	}
	defer conn.Close() //nolint:errcheck // that it ends is the point
	r, err := http.NewRequestWithContext(context.Background(), method, w.server.URL+path, http.NoBody)
	if err != nil {
		w.t.Fatal(err)
	}
	r.SetBasicAuth("AWS", "secret")
	fmt.Fprintf(conn, "%s %s HTTP/1.1\r\nHost: %s\r\nAuthorization: %s\r\nContent-Length: %d\r\n\r\n%s", method, path, w.host, r.Header.Get("Authorization"), length, part)
}

// A connection that breaks in the middle of a layer costs what was not sent.
func TestUpload_cut(t *testing.T) {
	w := newWorld(t, "app")
	content := strings.Repeat("0123456789", 10_000)
	at := w.begin("app")
	sent := 0
	for _, part := range []int{1000, 1, 50_000} {
		w.cut("PATCH", at, content[sent:sent+part], len(content)-sent)
		sent += part
		// The request waits until the broken one has let go of the upload.
		got := w.do("GET", at, "").want(t, http.StatusNoContent).Header.Get("Range")
		var first, last int
		if _, err := fmt.Sscanf(got, "%d-%d", &first, &last); err != nil || first != 0 || last >= len(content) {
			t.Fatalf("Range %s", got)
		}
		sent = last + 1
		if last == 0 {
			sent = 0 // nothing has arrived, or one byte: the protocol cannot tell
			w.do("DELETE", at, "").want(t, http.StatusNoContent)
			at = w.begin("app")
		}
	}
	a := w.do("PATCH", at, content[sent:], "Content-Range", fmt.Sprintf("%d-%d", sent, len(content)-1)).want(t, http.StatusAccepted)
	w.do("PUT", a.Header.Get("Location")+"?digest="+sum(content), "").want(t, http.StatusCreated)
	if got := w.do("GET", "/v2/app/blobs/"+sum(content), "").want(t, http.StatusOK); got.body != content {
		t.Error("other content came back")
	}
}

func TestUpload_fullDisk(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("mounting a file system needs root")
	}
	dir := t.TempDir()
	if err := unix.Mount("registry-test", dir, "tmpfs", 0, "size=512k"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	w := newWorldIn(t, dir, nil, "app")
	m := w.push("app", "v1", "small")
	large := strings.Repeat("0123456789abcdef", 1<<16)
	at := w.begin("app")
	w.do("PATCH", at, large).want(t, http.StatusInsufficientStorage, "UNAVAILABLE", "The registry's disk is full")
	w.do("GET", at, "").want(t, http.StatusNotFound)
	w.do("POST", "/v2/app/blobs/uploads/?digest="+sum(large), large).want(t, http.StatusInsufficientStorage)
	w.do("GET", "/v2/app/manifests/v1", "").want(t, http.StatusOK, m)
	fits := large[:300<<10]
	w.do("POST", "/v2/app/blobs/uploads/?digest="+sum(fits), fits).want(t, http.StatusCreated)
}

const childVariable = "REGISTRY_TEST_DIR"

// TestKillChild is no test of its own: TestKill runs it as a server to kill.
func TestKillChild(t *testing.T) {
	dir := os.Getenv(childVariable)
	if dir == "" {
		t.Skip("the child of TestKill")
	}
	w := newWorldIn(t, dir, nil, "app")
	fmt.Println("serving", w.server.URL)
	_, _ = io.Copy(io.Discard, os.Stdin) // it is killed, or its parent ends
}

// child starts a server that can be killed.
func child(t *testing.T, dir string) (url string, kill func()) {
	t.Helper()
	c := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestKillChild$", "-test.count=1")
	c.Env = append(os.Environ(), childVariable+"="+dir)
	stdin, err := c.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	for lines := bufio.NewScanner(stdout); lines.Scan(); {
		if u, ok := strings.CutPrefix(lines.Text(), "serving "); ok {
			url = u
			break
		}
	}
	if url == "" {
		t.Fatal("the child does not serve")
	}
	return url, func() {
		_ = c.Process.Kill()
		_ = c.Wait()
		_ = stdin.Close()
	}
}

// A server that is killed in the middle of a push: what it acknowledged is there,
// and the client goes on where the next server says.
func TestKill(t *testing.T) {
	dir := t.TempDir()
	content := strings.Repeat("0123456789", 100_000)
	url, kill := child(t, dir)
	request := func(method, path string, body io.Reader, header ...string) *http.Response {
		r, err := http.NewRequestWithContext(t.Context(), method, url+path, body)
		if err != nil {
			t.Fatal(err)
		}
		r.SetBasicAuth("AWS", "secret")
		for i := 0; i < len(header); i += 2 {
			r.Header.Set(header[i], header[i+1])
		}
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			return nil
		}
		_ = resp.Body.Close()
		return resp
	}
	if a := request("POST", "/v2/app/blobs/uploads/?digest="+sum("done"), strings.NewReader("done")); a == nil || a.StatusCode != http.StatusCreated {
		t.Fatalf("%+v", a)
	}
	at := request("POST", "/v2/app/blobs/uploads/", nil).Header.Get("Location")
	if a := request("PATCH", at, strings.NewReader(content[:100_000])); a == nil || a.StatusCode != http.StatusAccepted {
		t.Fatalf("%+v", a)
	}
	reader, writer := io.Pipe()
	go func() {
		_, _ = io.Copy(writer, strings.NewReader(content[100_000:600_000]))
		kill() // while the request waits for more
		_ = writer.CloseWithError(io.ErrUnexpectedEOF)
	}()
	if a := request("PATCH", at, reader); a != nil {
		t.Fatalf("a server that was killed answers %s", a.Status)
	}
	http.DefaultClient.CloseIdleConnections()
	url, kill = child(t, dir)
	defer kill()
	if a := request("HEAD", "/v2/app/blobs/"+sum("done"), nil); a.StatusCode != http.StatusOK {
		t.Errorf("what was acknowledged: %s", a.Status)
	}
	var last int
	if _, err := fmt.Sscanf(request("GET", at, nil).Header.Get("Range"), "0-%d", &last); err != nil || last < 100_000-1 {
		t.Fatalf("it goes on after %d, %v", last, err)
	}
	if a := request("PATCH", at, bytes.NewReader([]byte(content[last+1:])), "Content-Range", fmt.Sprintf("%d-%d", last+1, len(content)-1)); a.StatusCode != http.StatusAccepted {
		t.Fatal(a.Status)
	}
	if a := request("PUT", at+"?digest="+sum(content), nil); a.StatusCode != http.StatusCreated {
		t.Fatal(a.Status)
	}
	http.DefaultClient.CloseIdleConnections()
}

// Any requests on the upload's path: no panic, no answer of 500, and what is
// called a layer has its digest.
func FuzzUpload(f *testing.F) {
	f.Add([]byte("P\x00A\x05helloC"))
	f.Add([]byte("P\x00A\x01xR\x01yS\x00C"))
	f.Add([]byte("M\x03abcDA\x02xyXC"))
	f.Add([]byte("PA\x03abcPA\x02deCC"))
	f.Fuzz(func(t *testing.T, script []byte) {
		if len(script) > 64 {
			return
		}
		w := newWorld(t, "app")
		w.make(&model.Repository{Name: "other"})
		at, content := "/v2/app/blobs/uploads/none", ""
		take := func() string {
			if len(script) == 0 {
				return ""
			}
			n := min(int(script[0])%16, len(script)-1)
			text := string(script[1 : 1+n])
			script = script[1+n:]
			return text
		}
		check := func(a answer) answer {
			t.Helper()
			if a.StatusCode >= 500 {
				t.Fatalf("%s %s: %s %s", a.Request.Method, a.Request.URL, a.Status, a.body)
			}
			return a
		}
		for len(script) > 0 {
			op := script[0]
			script = script[1:]
			switch op {
			case 'P':
				at, content = check(w.do("POST", "/v2/app/blobs/uploads/", "")).Header.Get("Location"), ""
			case 'A':
				part := take()
				if check(w.do("PATCH", at, part)).StatusCode == http.StatusAccepted {
					content += part
				}
			case 'R':
				part, text := take(), take()
				a := check(w.do("PATCH", at, part, "Content-Range", strings.Map(printable, text)))
				if a.StatusCode == http.StatusAccepted {
					content += part
				}
			case 'S':
				check(w.do("GET", at, ""))
			case 'X':
				check(w.do("DELETE", at, ""))
				content = ""
			case 'M':
				check(w.do("POST", "/v2/app/blobs/uploads/?from=other&mount="+sum(take()), ""))
			case 'D':
				check(w.do("PUT", at+"?digest="+strings.Map(printable, take()), ""))
			case 'C':
				if check(w.do("PUT", at+"?digest="+sum(content), "")).StatusCode == http.StatusCreated {
					if a := w.do("GET", "/v2/app/blobs/"+sum(content), "").want(t, http.StatusOK); a.body != content {
						t.Fatalf("%q came back for %q", a.body, content)
					}
				}
			}
		}
	})
}

func printable(r rune) rune {
	if r <= ' ' || r > '~' || strings.ContainsRune("#%&+?\\", r) {
		return 'x'
	}
	return r
}
