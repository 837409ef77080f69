package fault_test

import (
	"errors"
	"fmt"
	"io"
	"testing"

	"berth.dev/berth/internal/base/fault"
)

func TestClasses(t *testing.T) {
	err := fmt.Errorf("reading: %w", fault.New(fault.NotFound, "cluster %s", "web"))
	if !errors.Is(err, fault.NotFound) || errors.Is(err, fault.Conflict) {
		t.Errorf("%v has the wrong class", err)
	}
	if fault.ClassOf(err) != fault.NotFound || fault.ClassOf(io.EOF) != nil {
		t.Error("ClassOf is wrong")
	}
	wrapped := fault.Wrap(fault.Unavailable, io.EOF, "dialling the node")
	if !errors.Is(wrapped, io.EOF) || !errors.Is(wrapped, fault.Unavailable) {
		t.Errorf("%v lost its chain", wrapped)
	}
	if got, want := wrapped.Error(), "dialling the node: EOF"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if fault.Wrap(fault.Invalid, nil, "x") != nil {
		t.Error("Wrap made an error of nil")
	}
}
