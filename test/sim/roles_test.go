package sim_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"berth.dev/berth/internal/agent/credentials"
	"berth.dev/berth/internal/agent/documents"
	"berth.dev/berth/internal/agent/runtime"
	"berth.dev/berth/internal/agent/seal"
	"berth.dev/berth/internal/agent/secrets"
	"berth.dev/berth/internal/agent/session"
	"berth.dev/berth/internal/agent/task"
	"berth.dev/berth/internal/data/records"
	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/wire/nodeapi"
)

// hands are what a node has of its tasks' roles in one agent's life: the real
// keepers, over files of the host.
type hands struct {
	node        *node
	life        *life
	client      *session.Client
	engine      *task.Engine
	credentials *credentials.Keeper
	secrets     *secrets.Keeper

	mu  sync.Mutex
	set map[string][]byte // the documents of kind secrets, by key
}

var _ task.Roles = (*hands)(nil)

func (n *node) rolesDir(elem ...string) string {
	return filepath.Join(append([]string{n.dir, "roles"}, elem...)...)
}

// newHands opens what an earlier agent left.
func (n *node) newHands(l *life, log *slog.Logger) *hands {
	h := &hands{node: n, life: l}
	must := func(err error) {
		if err != nil {
			n.c.t.Fatal(err)
		}
	}
	must(os.MkdirAll(n.rolesDir(), 0o700))
	key, err := seal.Open(n.rolesDir())
	must(err)
	h.credentials, err = credentials.Open(credentials.Config{Dir: n.rolesDir("credentials"), Key: key, Fetch: h.fetchCredentials, Log: log})
	must(err)
	h.secrets, err = secrets.Open(secrets.Config{Dir: n.rolesDir("secrets"), Fetch: h.fetchSecrets, Log: log})
	must(err)
	return h
}

func (h *hands) fetchCredentials(ctx context.Context, taskID string) (credentials.Credentials, error) {
	c, err := h.client.TaskCredentials(ctx, taskID)
	if err == nil && !h.life.alive() {
		err = errDead // what came too late is not kept
	}
	if err != nil {
		return credentials.Credentials{}, err
	}
	return credentials.Credentials{
		RoleARN: c.GetRoleArn(), AccessKeyID: c.GetAccessKeyId(), SecretAccessKey: c.GetSecretAccessKey(),
		SessionToken: c.GetSessionToken(), Expires: time.UnixMilli(c.GetExpiresMs()),
	}, nil
}

func (h *hands) fetchSecrets(ctx context.Context, taskID string) (*nodeapi.TaskSecretsResponse, error) {
	out, err := h.client.TaskSecrets(ctx, taskID)
	if err == nil && !h.life.alive() {
		err = errDead
	}
	return out, err
}

// Fetch implements task.Roles.
func (h *hands) Fetch(ctx context.Context, a *model.Assignment) error {
	err := h.credentials.Obtain(ctx, a.Task.ID)
	if err == nil && secrets.Needed(&a.TaskDefinition) {
		err = h.secrets.Fetch(ctx, a)
	}
	return err
}

// Resume implements task.Roles.
func (h *hands) Resume(a *model.Assignment) bool {
	h.credentials.Keep(a.Task.ID)
	return !secrets.Needed(&a.TaskDefinition) || h.secrets.Fetched(a.Task.ID)
}

func (h *hands) AuthorizePull(ctx context.Context, a *model.Assignment, container string) error {
	_, err := session.Insist(ctx, func(ctx context.Context) (struct{}, error) {
		return struct{}{}, h.client.AuthorizePull(ctx, a.Task.ID, container)
	})
	return err
}

func (*hands) Login(string, string) *runtime.Auth { return nil }

// Forget implements task.Roles.
func (h *hands) Forget(taskID string) error {
	if !h.life.alive() {
		return errDead
	}
	return errors.Join(h.credentials.Forget(taskID), h.secrets.Forget(taskID))
}

// Sweep implements task.Roles.
func (h *hands) Sweep(known map[string]bool) error {
	if !h.life.alive() {
		return errDead
	}
	return errors.Join(h.credentials.Sweep(known), h.secrets.Sweep(known))
}

// Apply implements session.Documents for the one kind that there is.
func (h *hands) Apply(changes []documents.Document, complete bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if complete || h.set == nil {
		h.set = map[string][]byte{}
	}
	for _, d := range changes {
		if h.set[d.Key] = d.Body; d.Body == nil {
			delete(h.set, d.Key)
		}
	}
	raw := map[string]json.RawMessage{}
	for key, body := range h.set {
		raw[key] = body
	}
	h.secrets.Apply(raw)
}

// follow keeps secrets in files up to date.
func (h *hands) follow(ctx context.Context) error {
	select {
	case <-h.engine.Loaded():
	case <-ctx.Done():
		return nil
	}
	return h.secrets.Run(ctx, func(taskID string) *model.Assignment {
		if v, ok := h.engine.Task(taskID); ok && h.life.alive() {
			return v.Assignment
		}
		return nil
	})
}

// patience is how long an agent may take to ask again after an outage: its
// longest pause, and the longest call.
const patience = 2 * time.Minute

// rest lets all credentials of the script's time expire, unless they are renewed.
func (v *vault) rest() {
	for range (patience + v.life) / (5 * time.Second) {
		v.c.tend()
		time.Sleep(5 * time.Second)
	}
}

// checkCredentials: a running task has credentials that are valid and its own,
// if the control plane could be reached when they were to be renewed.
func (v *vault) checkCredentials() {
	d := v.door.Load()
	if d == nil {
		return
	}
	snap := d.store.Snapshot()
	for _, n := range v.c.nodes {
		since := n.reachableSince()
		if since.IsZero() {
			continue
		}
		for t := range records.Tasks.By(snap, records.LiveTasksByInstance, n.id.InstanceID) {
			if t.Family != "secret" && t.Family != "rotate" || t.LastStatus() != model.TaskRunning || t.DesiredStatus != model.TaskRunning {
				continue
			}
			c, ok := n.life.hands.credentials.Get(t.ID)
			switch {
			case ok && !c.Expires.After(time.Now()):
				v.c.t.Errorf("%s hands out expired credentials for task %s", n.name, t.ID)
			case ok:
				if _, who, err := d.sessions.Open(c.AccessKeyID, c.SessionToken); err != nil || who.Session.Name != t.ID || who.Session.RoleARN != taskRole {
					v.c.t.Errorf("%s has credentials for task %s that are of %v: %v", n.name, t.ID, who.ARN, err)
				}
			case time.Since(since) > patience && time.Since(*t.Observed.StartedAt) > patience:
				v.c.t.Errorf("%s has had no valid credentials for task %s, and has reached the control plane since %s", n.name, t.ID, since.Format("04:05.000"))
			}
		}
	}
}

// reachableSince is since when the node's agent and the control plane have
// lived, and no connection was cut; zero: they do not.
func (n *node) reachableSince() time.Time {
	if n.life == nil || n.crashed() || n.c.server == nil {
		return time.Time{}
	}
	since := n.life.begun
	for _, at := range []time.Time{n.c.server.begun, n.c.cutAt} {
		if at.After(since) {
			since = at
		}
	}
	return since
}

// checkSecrets: running tasks have the newest values in their files, and no node
// is told anything of another node's tasks.
func (v *vault) checkSecrets() {
	snap := v.door.Load().store.Snapshot()
	secret, _ := records.Secrets.Get(snap, secretNames[0])
	for t := range records.Tasks.All(snap) {
		if t.Family != "secret" {
			continue
		}
		for _, n := range v.c.nodes {
			if n.id.InstanceID != t.InstanceID {
				v.checkForeign(n, t)
				continue
			}
			if t.LastStatus() != model.TaskRunning || t.DesiredStatus != model.TaskRunning {
				continue
			}
			file := n.rolesDir("secrets", t.ID, "app", secrets.FilesDir, "S")
			if got, err := os.ReadFile(file); time.Since(secret.ChangedAt) > 15*time.Second { // the longest pause of who fetches
				if want := valueOf(secret.Stages[model.StageCurrent]); err != nil || string(got) != want {
					v.c.t.Errorf("task %s has %q in its file, want %q: %v", t.ID, got, want, err)
				}
			}
		}
	}
}

// checkForeign asks as a node for what is another node's.
func (v *vault) checkForeign(n *node, t *model.Task) {
	ctx, cancel := context.WithTimeout(v.c.t.Context(), patience)
	defer cancel()
	_, err := n.life.hands.client.TaskSecrets(ctx, t.ID)
	if !session.IsRefused(err) {
		v.c.t.Errorf("%s asks for the secrets of task %s, which is of %s: %v", n.name, t.ID, t.InstanceID, err)
	}
	_, err = n.life.hands.client.TaskCredentials(ctx, t.ID)
	if !session.IsRefused(err) {
		v.c.t.Errorf("%s asks for the credentials of task %s, which is of %s: %v", n.name, t.ID, t.InstanceID, err)
	}
	for _, dir := range []string{"secrets", "credentials"} {
		if _, err := os.Stat(n.rolesDir(dir, t.ID)); err == nil {
			v.c.t.Errorf("%s has %s of task %s, which is of %s", n.name, dir, t.ID, t.InstanceID)
		}
	}
}

// checkNothingLeft: roles leave nothing behind.
func (v *vault) checkNothingLeft() {
	for _, n := range v.c.nodes {
		for _, dir := range []string{"secrets", "credentials"} {
			entries, err := os.ReadDir(n.rolesDir(dir))
			if err != nil {
				v.c.t.Error(err)
			}
			for _, e := range entries {
				v.c.t.Errorf("%s: %s of task %s are left behind", n.name, dir, e.Name())
			}
		}
	}
}

// loseFiles is a host that has lost what an agent keeps on disk, or only what
// it keeps in memory.
func (n *node) loseFiles(dirs ...string) {
	for _, dir := range dirs {
		if err := os.RemoveAll(n.rolesDir(dir)); err != nil {
			n.c.t.Error(fmt.Errorf("%s: %w", n.name, err))
		}
	}
}
