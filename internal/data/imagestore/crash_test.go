package imagestore_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"berth.dev/berth/internal/model"
)

const childVariable = "IMAGESTORE_TEST_DIR"

// TestCrashChild is no test of its own: TestCrash runs it as a process to kill.
// It pushes layers and says of each that it was acknowledged.
func TestCrashChild(t *testing.T) {
	dir := os.Getenv(childVariable)
	if dir == "" {
		t.Skip("the child of TestCrash")
	}
	w := &world{t: t, db: database(t), dir: dir, now: time.Now()}
	w.reopen()
	w.make(&model.Repository{Name: "app"})
	go func() {
		for {
			if _, err := w.Collect(context.Background()); err != nil {
				t.Error(err)
			}
		}
	}()
	for n := 0; ; n++ {
		content := childLayer(n)
		u, err := w.Begin(t.Context(), "app")
		if err != nil {
			t.Fatal(err)
		}
		fmt.Println("begun", u.ID())
		if _, err := u.Append(t.Context(), strings.NewReader(content)); err != nil {
			t.Fatal(err)
		}
		if _, err := u.Commit(t.Context(), digest.FromString(content).String()); err != nil {
			t.Fatal(err)
		}
		fmt.Println("done", n)
	}
}

func childLayer(n int) string { return strings.Repeat(fmt.Sprint("layer ", n, "\n"), 20_000) }

// A process that is killed in the middle of pushes and passes of the collector
// leaves what it acknowledged, and an upload that goes on.
func TestCrash(t *testing.T) {
	w := open(t, "app")
	ctx := t.Context()
	for kill := range 6 {
		child := exec.CommandContext(ctx, os.Args[0], "-test.run=^TestCrashChild$", "-test.count=1")
		child.Env = append(os.Environ(), childVariable+"="+w.dir)
		var stderr bytes.Buffer
		child.Stderr = &stderr
		out, err := child.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := child.Start(); err != nil {
			t.Fatal(err)
		}
		begun, acknowledged := "", -1
		for lines := bufio.NewScanner(out); lines.Scan(); {
			what, rest, _ := strings.Cut(lines.Text(), " ")
			switch what {
			case "begun":
				begun = rest
				if acknowledged >= kill { // at another moment each time
					if err := child.Process.Kill(); err != nil {
						t.Fatal(err)
					}
				}
			case "done":
				begun = ""
				if _, err := fmt.Sscan(rest, &acknowledged); err != nil {
					t.Fatal(err)
				}
			}
		}
		if err := child.Wait(); err == nil || acknowledged < kill {
			t.Fatalf("the child ended by itself: %v: %s", err, stderr.Bytes())
		}
		w.reopen()
		for n := range acknowledged + 1 {
			if content, err := w.read("app", digest.FromString(childLayer(n)).String()); err != nil || content != childLayer(n) {
				t.Fatalf("layer %d was acknowledged: %v", n, err)
			}
		}
		if begun != "" {
			w.goOn(begun, childLayer(acknowledged+1))
		}
		w.collect()
	}
	w.now = w.now.Add(10 * grace)
	w.collect()
	if left := w.files(); len(left) > 0 {
		t.Errorf("left over: %v", left)
	}
}

// goOn ends the upload that a killed process was at, if it was still at it.
func (w *world) goOn(id, content string) {
	w.t.Helper()
	ctx := context.Background()
	d := digest.FromString(content).String()
	u, err := w.Resume(ctx, "app", id)
	if err != nil {
		if _, err := w.Layer(ctx, "app", d); err != nil {
			w.t.Errorf("neither the upload nor its layer: %v", err)
		}
		return
	}
	if _, err := u.Append(ctx, strings.NewReader(content[u.Size():])); err != nil {
		w.t.Fatal(err)
	}
	if _, err := u.Commit(ctx, d); err != nil {
		w.t.Fatalf("an upload that was gone on with: %v", err)
	}
}

// Content is where distribution's own tools look for it.
func TestLayout(t *testing.T) {
	w := open(t, "app")
	i, _ := w.image("app", "v1", "x")
	for _, d := range append(i.Blobs, i.Digest) {
		hex := strings.TrimPrefix(d, "sha256:")
		if _, err := os.Stat(w.dir + "/docker/registry/v2/blobs/sha256/" + hex[:2] + "/" + hex + "/data"); err != nil {
			t.Error(err)
		}
	}
}
