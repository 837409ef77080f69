package sts_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"berth.dev/berth/internal/base/arn"
	"berth.dev/berth/internal/data/keyring"
	"berth.dev/berth/internal/data/kv/memkv"
	"berth.dev/berth/internal/data/records"
	"berth.dev/berth/internal/data/sessions"
	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/service/sts"
	"berth.dev/berth/internal/wire/api/stsapi"
	"berth.dev/berth/internal/wire/caller"
	"berth.dev/berth/internal/wire/smithy"
)

const (
	appRole = "arn:aws:iam::123456789012:role/team/app"
	trusts  = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::123456789012:root"},"Action":["sts:AssumeRole","sts:TagSession"]}]}`
)

var (
	scope = arn.Scope{Region: "us-east-1", AccountID: "123456789012"}
	root  = caller.Identity{AccountID: "123456789012", ARN: "arn:aws:iam::123456789012:root", UserID: "123456789012", AccessKeyID: "AKIAROOT"}
	dev   = caller.Identity{AccountID: "123456789012", ARN: "arn:aws:iam::123456789012:user/dev", UserID: "AIDADEV", UserName: "dev", AccessKeyID: "AKIADEV"}
)

// world is a provider with a role, at a time that the test sets.
type world struct {
	*testing.T
	*sts.Provider
	store    *store.Store
	sessions *sessions.Sessions
	now      time.Time
}

func newWorld(t *testing.T, change func(*sts.Config)) *world {
	t.Helper()
	s, err := store.Open(memkv.New(100), "/berth/", store.Options{CheckMutation: true}, records.All()...)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); s.Run(ctx) }() //nolint:errcheck,gosec // it ends with the test
	t.Cleanup(func() { cancel(); <-done })
	<-s.Ready()
	ring, err := keyring.Open(t.Context(), keyring.Config{File: filepath.Join(t.TempDir(), "master")})
	if err != nil {
		t.Fatal(err)
	}
	w := &world{T: t, store: s, sessions: sessions.New(ring), now: time.Now().Truncate(time.Second)}
	cfg := sts.Config{Store: s, Sessions: w.sessions, Scope: scope, Now: func() time.Time { return w.now }}
	if change != nil {
		change(&cfg)
	}
	w.Provider = sts.New(cfg)
	w.role(trusts, 7200)
	return w
}

func (w *world) put(f func(tx *store.Tx)) {
	w.Helper()
	if _, err := w.store.Update(w.Context(), func(tx *store.Tx) error { f(tx); return nil }); err != nil {
		w.Fatal(err)
	}
}

func (w *world) role(trust string, most int32) {
	w.Helper()
	w.put(func(tx *store.Tx) {
		records.Roles.Put(tx, &model.Role{ID: "AROAAPP", Name: "app", Path: "/team/", Trust: trust, MaxSessionDuration: most})
	})
}

// open reads back what credentials say.
func (w *world) open(c *stsapi.Credentials) caller.Identity {
	w.Helper()
	secret, who, err := w.sessions.Open(*c.AccessKeyId, *c.SessionToken)
	if err != nil || secret != *c.SecretAccessKey || !who.Session.Expires.Equal(*c.Expiration) || !who.Session.IssuedAt.Equal(w.now) {
		w.Fatalf("the credentials do not open as they were issued: %v", err)
	}
	return who
}

// said is an error as clients see it.
func said(err error) string {
	if err == nil {
		return "OK"
	}
	api, ok := errors.AsType[smithy.APIError](err)
	if !ok {
		return "internal: " + err.Error()
	}
	return fmt.Sprintf("%d %s: %s", api.HTTPStatus(), api.ErrorCode(), api.ErrorMessage())
}
