package image

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"testing"

	"github.com/containerd/containerd/v2/core/remotes/docker"
	remoteerrors "github.com/containerd/containerd/v2/core/remotes/errors"
	"github.com/containerd/errdefs"

	"berth.dev/berth/internal/agent/runtime"
)

func TestNormalize(t *testing.T) {
	const digest = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
	for ref, want := range map[string]string{
		"nginx":                          "docker.io/library/nginx:latest",
		"nginx:1.27":                     "docker.io/library/nginx:1.27",
		"someone/app":                    "docker.io/someone/app:latest",
		"localhost:5000/a/b":             "localhost:5000/a/b:latest",
		"public.ecr.aws/nginx/nginx:1":   "public.ecr.aws/nginx/nginx:1",
		"nginx@" + digest:                "docker.io/library/nginx@" + digest,
		"nginx:1.27@" + digest:           "docker.io/library/nginx@" + digest,
		"docker.io/library/nginx:latest": "docker.io/library/nginx:latest",
	} {
		if got, err := Normalize(ref); err != nil || got != want {
			t.Errorf("Normalize(%q) = %q, %v, want %q", ref, got, err, want)
		}
		if again, err := Normalize(want); err != nil || again != want {
			t.Errorf("Normalize(%q) = %q, %v: not stable", want, again, err)
		}
	}
	for _, ref := range []string{"", "Upper", "a b", "nginx:", "nginx@sha256:12", "https://nginx"} {
		if got, err := Normalize(ref); err == nil {
			t.Errorf("Normalize(%q) = %q, want an error", ref, got)
		}
	}
}

func TestClassify(t *testing.T) {
	status := func(code int) error {
		return fmt.Errorf("pull: %w", remoteerrors.ErrUnexpectedStatus{StatusCode: code, Status: http.StatusText(code)})
	}
	for _, tt := range []struct {
		err  error
		want runtime.PullClass
	}{
		{status(http.StatusUnauthorized), runtime.PullUnauthorized},
		{status(http.StatusForbidden), runtime.PullUnauthorized},
		{status(http.StatusNotFound), runtime.PullNotFound},
		{status(http.StatusBadGateway), runtime.PullOther},
		{fmt.Errorf("x: %w", docker.ErrInvalidAuthorization), runtime.PullUnauthorized},
		{errors.New("pull access denied, repository does not exist or may require authorization"), runtime.PullUnauthorized},
		{fmt.Errorf("x: %w", errdefs.ErrNotFound), runtime.PullNotFound},
		{fmt.Errorf("no match for platform in manifest: %w", errdefs.ErrNotFound), runtime.PullPlatform},
		{&url.Error{Op: "Head", URL: "https://x", Err: errors.New("no route to host")}, runtime.PullUnreachable},
		{fmt.Errorf("x: %w", &net.OpError{Op: "dial", Err: errors.New("connection refused")}), runtime.PullUnreachable},
		{context.DeadlineExceeded, runtime.PullUnreachable},
		{errors.New("disk is full"), runtime.PullOther},
	} {
		if got := classify(tt.err); got != tt.want {
			t.Errorf("classify(%v) = %s, want %s", tt.err, got, tt.want)
		}
	}
}
