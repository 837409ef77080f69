package channel_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"berth.dev/berth/internal/data/records"
	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/wire/datachannel"
)

// expectEnd compares the far end's last words.
func expectEnd(t *testing.T, err error, want string) {
	t.Helper()
	if closed, ok := errors.AsType[*datachannel.ClosedError](err); !ok || closed.Text != want {
		t.Errorf("the session ended with %q, want %q", err, want)
	}
}

// Without a terminal: bytes in both directions as they are, standard error
// apart, an exit code.
func TestCommand_IsBinarySafe(t *testing.T) {
	w := newWorld(t)
	data := make([]byte, 5<<20)
	rand.NewChaCha8([32]byte{1}).Read(data) //nolint:errcheck // never fails
	id, token := w.command("cat; echo complaint >&2; exit 3")
	s := w.connect(id, token, "&tty=0")
	if s.SessionType() != datachannel.SessionInteractive {
		t.Errorf("session type %s", s.SessionType())
	}
	var group sync.WaitGroup
	group.Go(func() {
		if _, err := s.Write(data); err != nil {
			t.Error(err)
		}
		if err := s.CloseInput(); err != nil {
			t.Error(err)
		}
	})
	got := follow(s)
	group.Wait()
	if !bytes.Equal(got.out, data) {
		t.Errorf("%d bytes came back, not the %d that were sent", len(got.out), len(data))
	}
	if string(got.err) != "complaint\n" || got.code == nil || *got.code != 3 {
		t.Errorf("standard error %q, code %v", got.err, got.code)
	}
	expectEnd(t, got.end, "")
	if r := w.record(id, hasEnded); r.Status != model.SessionTerminated || r.Details != "" || r.ConnectedAt == nil {
		t.Errorf("the record says %+v", r)
	}
}

func TestCommand_Terminal(t *testing.T) {
	w := newWorld(t)
	id, token := w.command("stty size; read x; stty size; exec cat")
	s := w.connect(id, token, "")
	if err := s.Resize(31, 101); err != nil {
		t.Fatal(err)
	}
	var seen []byte
	until := func(text string) {
		t.Helper()
		for !bytes.Contains(seen, []byte(text)) {
			e, err := s.Recv()
			if err != nil {
				t.Fatalf("%v after %q", err, seen)
			}
			seen = append(seen, e.Output...)
		}
	}
	until("31 101\r\n")
	if err := s.Resize(32, 102); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Write([]byte("\r")); err != nil {
		t.Fatal(err)
	}
	until("32 102\r\n")
	// An interrupt is a byte like any other: the terminal makes a signal of it.
	if _, err := s.Write([]byte{3}); err != nil {
		t.Fatal(err)
	}
	if got := follow(s); got.code == nil {
		t.Errorf("after the interrupt: %+v", got)
	}
}

// A session's token opens it once, in time, and no other session.
func TestServer_Tokens(t *testing.T) {
	w := newWorld(t)
	refused := func(id, token, want string) {
		t.Helper()
		_, err := datachannel.Connect(t.Context(), datachannel.ClientConfig{URL: w.url(id, ""), Token: token})
		expectEnd(t, err, want)
	}
	id, token := w.command("cat")
	other, otherToken := w.command("cat")
	refused(id, otherToken, "the token is not that of this session")
	refused(id, "", "the token is not that of this session")
	refused("nobody", token, "the token is not that of this session")
	s := w.connect(id, token, "&tty=0")
	refused(id, token, "the token was used before")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	w.record(id, hasEnded)
	refused(id, token, "the session has ended")
	w.stopTask()
	refused(other, otherToken, "Received Container Stopped event")
	late, lateToken := w.session(func(s *model.RemoteSession) { s.ValidUntil = time.Now().Add(-time.Second) })
	refused(late, lateToken, "the token has expired")
}

func TestServer_RefusesWhatIsNoDataChannel(t *testing.T) {
	w := newWorld(t)
	for _, path := range []string{"", "/v1/data-channel/", "/v1/data-channel/a/b"} {
		answer, err := w.server.Client().Get(w.server.URL + path)
		if err != nil {
			t.Fatal(err)
		}
		answer.Body.Close() //nolint:errcheck // read
		if answer.StatusCode != 404 {
			t.Errorf("%q is answered %s", path, answer.Status)
		}
	}
}

// Every end of a session is told to the client and written to its record.
func TestSession_Ends(t *testing.T) {
	for _, test := range []struct {
		name   string
		edit   func(*model.RemoteSession)
		do     func(*world, string, *datachannel.Session)
		want   string
		status string
	}{
		{"terminate", nil, func(w *world, id string, _ *datachannel.Session) {
			w.write(func(tx *store.Tx) error {
				return records.RemoteSessions.Edit(tx, id, func(s *model.RemoteSession) error {
					s.Terminate, s.Status = true, model.SessionTerminating
					return nil
				})
			})
		}, "The session was terminated.", model.SessionTerminated},
		{"task", nil, func(w *world, _ string, _ *datachannel.Session) { w.stopTask() }, "Received Container Stopped event", model.SessionTerminated},
		{"program", nil, func(w *world, _ string, s *datachannel.Session) { s.Write([]byte("kill\n")) }, "", model.SessionTerminated}, //nolint:errcheck // the test waits for what follows
		{"idle", func(s *model.RemoteSession) { s.IdleSeconds = 1 }, nil, "Your session timed out due to inactivity.", model.SessionTerminated},
		{"longest", func(s *model.RemoteSession) { s.MaxSeconds = 1 }, nil, "Your session has reached its maximum duration.", model.SessionTerminated},
		{"stop", nil, func(w *world, _ string, _ *datachannel.Session) { w.stop() }, "The control plane has stopped.", model.SessionTerminated},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld(t)
			id, token := w.session(func(s *model.RemoteSession) {
				s.Command = []string{"/bin/sh", "-c", "echo hello; read x; kill -9 $$"}
				if test.edit != nil {
					test.edit(s)
				}
			})
			s := w.connect(id, token, "&tty=0")
			if e, err := s.Recv(); err != nil || string(e.Output) != "hello\n" {
				t.Fatalf("%q, %v", e.Output, err)
			}
			if test.do != nil {
				test.do(w, id, s)
			}
			expectEnd(t, follow(s).end, test.want)
			if r := w.record(id, hasEnded); r.Status != test.status || r.Details != test.want {
				t.Errorf("the record says %s: %s", r.Status, r.Details)
			}
			w.stop() // and nothing is left that runs
		})
	}
}

func TestSession_NodeRefuses(t *testing.T) {
	w := newWorld(t)
	w.node.fail = errors.New("the image has no /bin/sh")
	id, token := w.command("cat")
	s := w.connect(id, token, "&tty=0")
	expectEnd(t, follow(s).end, "the image has no /bin/sh")
	if r := w.record(id, hasEnded); r.Status != model.SessionFailed || r.Details != "the image has no /bin/sh" {
		t.Errorf("the record says %s: %s", r.Status, r.Details)
	}
}

// A control plane that was killed leaves sessions Connected; the next says what
// became of them. So it is with clients that never came.
func TestServer_SettlesWhatNobodyCarries(t *testing.T) {
	w := newWorld(t)
	w.stop()
	long := time.Now().Add(-31 * 24 * time.Hour)
	ids := map[string]func(*model.RemoteSession){
		"Terminated: The control plane that carried the session has ended.": func(s *model.RemoteSession) { s.Status = model.SessionConnected },
		"Failed: No client has connected in time.":                          func(s *model.RemoteSession) { s.ValidUntil = long },
		"Connecting: ": func(*model.RemoteSession) {},
		"":             func(s *model.RemoteSession) { s.Status, s.EndedAt = model.SessionTerminated, &long },
	}
	names := map[string]string{}
	for want, edit := range ids {
		names[want], _ = w.session(edit)
	}
	w.start()
	w.record(names["Failed: No client has connected in time."], hasEnded)
	w.record(names["Terminated: The control plane that carried the session has ended."], hasEnded)
	watch := w.store.Watch(t.Context(), records.RemoteSessions)
	for snap := watch.Snapshot(); records.RemoteSessions.Has(snap, names[""]); {
		var err error
		if snap, _, err = watch.Next(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	for want, id := range names {
		got := ""
		if r, ok := records.RemoteSessions.Get(w.store.Snapshot(), id); ok {
			got = r.Status + ": " + r.Details
		}
		if got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

// A client that does not read holds up the program; not much of its output is
// kept.
func TestSession_IsBounded(t *testing.T) {
	w := newWorld(t)
	id, token := w.command("exec cat /dev/zero")
	s := w.connect(id, token, "&tty=0")
	// Nobody receives: what fits into windows and buffers passes, then nothing.
	last, since := int64(0), time.Now()
	for now := range time.Tick(50 * time.Millisecond) {
		if n := w.node.passed.Load(); n != last {
			last, since = n, now
		}
		if now.Sub(since) > 2*time.Second {
			break
		}
	}
	if last > 64<<20 {
		t.Errorf("%d bytes were taken from the program", last)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	w.record(id, hasEnded)
}

func TestSession_Transcript(t *testing.T) {
	w := newWorld(t)
	logged := func(s *model.RemoteSession) {
		s.Command = []string{"/bin/sh", "-c", `printf 'one\r\n\ntwo\nthree'; echo four >&2`}
		s.Log = &model.SessionLog{LogGroup: "/audit", LogStream: s.ID}
	}
	id, token := w.session(logged)
	got := follow(w.connect(id, token, "&tty=0"))
	expectEnd(t, got.end, "")
	var lines []string
	for _, e := range w.logs.events {
		lines = append(lines, e.Message)
	}
	if all := strings.Join(lines, "|"); !strings.HasPrefix(all, "one|two|three") && !strings.HasPrefix(all, "four|one|two|three") || !strings.Contains(all, "four") {
		t.Errorf("logged %q", all)
	}
	if w.logs.to != "/audit "+id+" false" {
		t.Errorf("logged to %s", w.logs.to)
	}
	w.logs.fail = errors.New("The specified log group does not exist.")
	id, token = w.session(logged)
	got = follow(w.connect(id, token, "&tty=0"))
	expectEnd(t, got.end, "The session's output cannot be logged: The specified log group does not exist.")
	if len(got.out) > 0 {
		t.Errorf("unlogged output was shown: %q", got.out)
	}
}

// Output of short lines counts for more than its bytes, and all of it is kept.
func TestSession_TranscriptOfManyShortLines(t *testing.T) {
	w := newWorld(t)
	const lines = 200_000
	id, token := w.session(func(s *model.RemoteSession) {
		s.Command = []string{"/bin/sh", "-c", fmt.Sprintf("yes | head -n %d", lines)}
		s.Log = &model.SessionLog{LogGroup: "/audit", LogStream: s.ID}
	})
	got := follow(w.connect(id, token, "&tty=0"))
	expectEnd(t, got.end, "")
	if len(got.out) != 2*lines || len(w.logs.events) != lines {
		t.Errorf("%d lines were shown and %d logged, want %d", len(got.out)/2, len(w.logs.events), lines)
	}
}

func TestSession_ManyAtOnce(t *testing.T) {
	w := newWorld(t)
	var group sync.WaitGroup
	for range 10 {
		id, token := w.command("cat; exit 7")
		s := w.connect(id, token, "&tty=0")
		data := bytes.Repeat([]byte(id), 50_000)
		group.Go(func() {
			if _, err := s.Write(data); err != nil {
				t.Error(err)
			}
			if err := s.CloseInput(); err != nil {
				t.Error(err)
			}
		})
		group.Go(func() {
			if got := follow(s); !bytes.Equal(got.out, data) || got.code == nil || *got.code != 7 {
				t.Errorf("%s: %d bytes, %v, %v", id, len(got.out), got.code, got.end)
			}
		})
	}
	group.Wait()
}

// Connecting is given up with its context.
func TestConnect_IsCancelled(t *testing.T) {
	w := newWorld(t)
	id, token := w.command("cat")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := datachannel.Connect(ctx, datachannel.ClientConfig{URL: w.url(id, ""), Token: token}); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}
