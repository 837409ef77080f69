package helper

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

func TestInstall(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "libexec")
	script := []byte("#!/bin/sh\nexit 0\n")
	path, err := install(dir, script)
	if err != nil {
		t.Fatal(err)
	}
	if output, err := exec.Command(path).CombinedOutput(); err != nil {
		t.Errorf("the installed file does not run: %v %s", err, output)
	}
	before, err := os.Stat(path)
	if err != nil || before.Mode().Perm() != 0o755 {
		t.Errorf("mode %v, %v", before.Mode(), err)
	}
	again, err := install(dir, script)
	if err != nil || again != path {
		t.Errorf("again: %s, %v", again, err)
	}
	if after, err := os.Stat(path); err != nil || !os.SameFile(before, after) {
		t.Errorf("the file that may be running was replaced (%v)", err)
	}
	other, err := install(dir, append(script, '#'))
	if err != nil || other == path {
		t.Errorf("another content goes to %s, %v", other, err)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 2 {
		t.Errorf("the directory has %v, %v", entries, err)
	}
}

func TestInstall_RepairsAFileOfAnotherSize(t *testing.T) {
	dir := t.TempDir()
	path, err := install(dir, []byte("whole"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte("wh"), 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := install(dir, []byte("whole")); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(path); err != nil || string(got) != "whole" {
		t.Errorf("%q, %v", got, err)
	}
}

// TestInstall_Embedded holds with and without a built helper: make test must pass before make build.
func TestInstall_Embedded(t *testing.T) {
	content, err := embedded.ReadFile("bin/berth-helper")
	path, installErr := Install(t.TempDir())
	if errors.Is(err, fs.ErrNotExist) {
		if !errors.Is(installErr, ErrAbsent) {
			t.Errorf("error %v, want ErrAbsent", installErr)
		}
		return
	}
	if err != nil || installErr != nil {
		t.Fatal(err, installErr)
	}
	if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, content) {
		t.Errorf("installed %d bytes, %v", len(got), err)
	}
}
