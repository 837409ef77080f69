package caller_test

import (
	"context"
	"testing"

	"berth.dev/berth/internal/wire/caller"
)

func TestFrom(t *testing.T) {
	if id, ok := caller.From(t.Context()); ok {
		t.Fatalf("a bare context carries %+v", id)
	}
	want := caller.Identity{AccountID: "123456789012", ARN: "arn:aws:iam::123456789012:root", RequestID: "r"}
	ctx, cancel := context.WithCancel(caller.With(t.Context(), want))
	defer cancel()
	if got, ok := caller.From(ctx); !ok || got != want {
		t.Fatalf("From = %+v, %t; want %+v", got, ok, want)
	}
}
