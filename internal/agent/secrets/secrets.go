package secrets

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"berth.dev/berth/internal/agent/runtime"
	"berth.dev/berth/internal/agent/session"
	"berth.dev/berth/internal/base/telemetry"
	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/rules/taskspec"
	"berth.dev/berth/internal/wire/nodeapi"
)

// The names below the directory of a container, which is mounted into it.
const (
	EnvFile  = "env"
	FilesDir = "files"

	fetchedFile = ".fetched" // no container's name begins with a dot
)

// Needed reports whether a task needs anything fetched.
func Needed(def *model.TaskDefinition) bool {
	for i := range def.ContainerDefinitions {
		c := &def.ContainerDefinitions[i]
		if len(c.Secrets) > 0 || c.RepositoryCredentials != nil || c.LogConfiguration != nil && len(c.LogConfiguration.SecretOptions) > 0 {
			return true
		}
	}
	return false
}

// ContainerDir is where a container's secrets are below root, for the
// specification of the container; empty for one that has none.
func ContainerDir(root, taskID string, c *model.ContainerDefinition) string {
	if len(c.Secrets) == 0 {
		return ""
	}
	return filepath.Join(root, taskID, c.Name)
}

// Config is what a Keeper is made of. All is required.
type Config struct {
	// Dir is a directory on a tmpfs: see Mount.
	Dir string
	// Fetch asks the control plane. A *session.Refused has the words for the
	// user.
	Fetch func(ctx context.Context, taskID string) (*nodeapi.TaskSecretsResponse, error)
	Log   *slog.Logger
}

// Keeper keeps what was fetched for every task. It is safe for concurrent use.
type Keeper struct {
	cfg Config

	mu      sync.Mutex
	private map[string]map[string]private // by task and container
	// documents are the newest of each task, applied those that its files are
	// up to date with.
	documents, applied map[string]string

	writing sync.Mutex // held while files are written and removed
	wake    chan struct{}
}

// private is what is not for the container itself.
type private struct {
	Username   string            `json:"username,omitempty"`
	Password   string            `json:"password,omitempty"`
	LogOptions map[string]string `json:"logOptions,omitempty"`
}

// Open returns a Keeper that knows what an earlier agent fetched.
func Open(cfg Config) (*Keeper, error) {
	k := &Keeper{cfg: cfg, wake: make(chan struct{}, 1), private: map[string]map[string]private{}, documents: map[string]string{}, applied: map[string]string{}}
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("opening the secrets of tasks: %w", err)
	}
	entries, err := os.ReadDir(cfg.Dir)
	if err != nil {
		return nil, fmt.Errorf("opening the secrets of tasks: %w", err)
	}
	for _, entry := range entries {
		data, err := os.ReadFile(filepath.Join(cfg.Dir, entry.Name(), fetchedFile))
		var p map[string]private
		if err == nil {
			err = json.Unmarshal(data, &p)
		}
		if err != nil {
			// Interrupted before it was there: everything is fetched again.
			continue
		}
		k.private[entry.Name()] = p
	}
	return k, nil
}

// Fetched reports whether everything of a task is there.
func (k *Keeper) Fetched(taskID string) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	_, ok := k.private[taskID]
	return ok
}

// Fetch returns when everything of a task is there. It waits for a control
// plane that is away; a *session.Refused has the words for the user.
func (k *Keeper) Fetch(ctx context.Context, a *model.Assignment) error {
	if k.Fetched(a.Task.ID) {
		return nil
	}
	before := k.document(a.Task.ID)
	answer, err := session.Insist(ctx, func(ctx context.Context) (*nodeapi.TaskSecretsResponse, error) {
		return k.cfg.Fetch(ctx, a.Task.ID)
	})
	if err != nil {
		return err
	}
	if err := k.write(a, answer); err != nil {
		return err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.applied[a.Task.ID] = before
	if k.documents[a.Task.ID] != before {
		k.signal() // they changed while they were fetched
	}
	return nil
}

func (k *Keeper) document(taskID string) string {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.documents[taskID]
}

// write puts everything on the tmpfs; the file that says so comes last.
func (k *Keeper) write(a *model.Assignment, answer *nodeapi.TaskSecretsResponse) error {
	k.writing.Lock()
	defer k.writing.Unlock()
	fetched := map[string]private{}
	for _, c := range answer.GetContainers() {
		def, ok := a.TaskDefinition.Container(c.GetName())
		if !ok {
			continue
		}
		p := private{Username: c.GetRegistryUsername(), Password: c.GetRegistryPassword()}
		for _, o := range c.GetLogOptions() {
			if p.LogOptions == nil {
				p.LogOptions = map[string]string{}
			}
			p.LogOptions[o.GetName()] = string(o.GetValue())
		}
		fetched[def.Name] = p
		if err := k.writeContainer(a.Task.ID, def, c.GetEnvironment()); err != nil {
			return fmt.Errorf("keeping the secrets of container %s: %w", def.Name, err)
		}
	}
	data, err := json.Marshal(fetched)
	if err != nil {
		return fmt.Errorf("keeping the secrets of the task: %w", err)
	}
	dir := filepath.Join(k.cfg.Dir, a.Task.ID)
	if err := errors.Join(os.MkdirAll(dir, 0o700), replace(dir, fetchedFile, data)); err != nil {
		return fmt.Errorf("keeping the secrets of the task: %w", err)
	}
	k.mu.Lock()
	k.private[a.Task.ID] = fetched
	k.mu.Unlock()
	return nil
}

func (k *Keeper) writeContainer(taskID string, def *model.ContainerDefinition, values []*nodeapi.NamedSecret) error {
	dir := ContainerDir(k.cfg.Dir, taskID, def)
	if dir == "" {
		return nil
	}
	var env bytes.Buffer
	for _, v := range values {
		if bytes.IndexByte(v.GetValue(), 0) >= 0 {
			// The kernel ends a variable there, so a process cannot have it.
			return fmt.Errorf("the value of %s has a NUL byte", v.GetName())
		}
		env.WriteString(v.GetName() + "=")
		env.Write(v.GetValue())
		env.WriteByte(0)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	if err := replace(dir, EnvFile, env.Bytes()); err != nil {
		return err
	}
	return writeFiles(dir, def, values)
}

// writeFiles makes the files of a container that wants them say what values
// say. Those that do already are left alone.
func writeFiles(dir string, def *model.ContainerDefinition, values []*nodeapi.NamedSecret) error {
	if _, wanted := taskspec.SecretFilesDir(def); !wanted {
		return nil
	}
	files := filepath.Join(dir, FilesDir)
	if err := os.MkdirAll(files, 0o700); err != nil {
		return err
	}
	for _, v := range values {
		if old, err := os.ReadFile(filepath.Join(files, v.GetName())); err == nil && bytes.Equal(old, v.GetValue()) {
			continue
		}
		if err := replace(files, v.GetName(), v.GetValue()); err != nil {
			return err
		}
	}
	return nil
}

// Login is the registry login of a container's repositoryCredentials, nil when
// it has none.
func (k *Keeper) Login(taskID, container string) *runtime.Auth {
	k.mu.Lock()
	defer k.mu.Unlock()
	p := k.private[taskID][container]
	if p.Username == "" && p.Password == "" {
		return nil
	}
	return &runtime.Auth{Username: p.Username, Password: p.Password}
}

// LogOptions are those of a container's secretOptions.
func (k *Keeper) LogOptions(taskID, container string) map[string]string {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.private[taskID][container].LogOptions
}

// Forget removes everything of a task.
func (k *Keeper) Forget(taskID string) error {
	k.writing.Lock()
	defer k.writing.Unlock()
	k.mu.Lock()
	delete(k.private, taskID)
	delete(k.applied, taskID)
	k.mu.Unlock()
	return os.RemoveAll(filepath.Join(k.cfg.Dir, taskID))
}

// Sweep removes everything of tasks that are not known: an earlier agent died
// between fetching it and the task's record.
func (k *Keeper) Sweep(known map[string]bool) error {
	entries, err := os.ReadDir(k.cfg.Dir)
	if err != nil {
		return err
	}
	var errs []error
	for _, entry := range entries {
		if !known[entry.Name()] {
			errs = append(errs, k.Forget(entry.Name()))
		}
	}
	return errors.Join(errs...)
}

// Apply takes the newest documents (model.NodeSecrets by task id) and returns
// at once; Run makes them true.
func (k *Keeper) Apply(docs map[string]json.RawMessage) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.documents = make(map[string]string, len(docs))
	for id, doc := range docs {
		k.documents[id] = string(doc)
	}
	k.signal()
}

func (k *Keeper) signal() {
	select {
	case k.wake <- struct{}{}:
	default:
	}
}

const firstPause, quietPause, lastPause = 100 * time.Millisecond, 2 * time.Second, 10 * time.Second

// Run makes the files of tasks follow their documents until ctx ends: a task
// whose document is new has its secrets fetched again. task finds a task that
// is here, nil for another.
func (k *Keeper) Run(ctx context.Context, task func(taskID string) *model.Assignment) error {
	pause := firstPause
	var again <-chan time.Time
	for {
		select {
		case <-k.wake:
		case <-again:
		case <-ctx.Done():
			return nil
		}
		again = nil
		if err := k.follow(ctx, task); err != nil {
			level := slog.LevelDebug // when the agent starts, its control plane may have to do so too
			if pause > quietPause {
				level = slog.LevelWarn
			}
			k.cfg.Log.Log(ctx, level, "secrets in files are older than they should be; trying again", "pause", pause, telemetry.Error, err)
			again = time.After(pause)
			pause = min(2*pause, lastPause)
			continue
		}
		pause = firstPause
	}
}

// follow brings the files of every task that has been fetched up to date.
// Those that are being fetched are when Fetch returns.
func (k *Keeper) follow(ctx context.Context, task func(taskID string) *model.Assignment) error {
	k.mu.Lock()
	behind := map[string]string{}
	for id, doc := range k.documents {
		if _, fetched := k.private[id]; fetched && k.applied[id] != doc {
			behind[id] = doc
		}
	}
	k.mu.Unlock()
	var errs []error
	for id, doc := range behind {
		a := task(id)
		if a == nil {
			continue
		}
		if err := k.refresh(ctx, a); err != nil {
			errs = append(errs, fmt.Errorf("the secrets of task %s: %w", id, err))
			continue
		}
		k.mu.Lock()
		if _, here := k.private[id]; here {
			k.applied[id] = doc
		}
		k.mu.Unlock()
	}
	return errors.Join(errs...)
}

// refresh fetches a task's secrets again and replaces its files. When they
// cannot be had any more, because one was deleted or the role lost a
// permission, the files stay as they are: the task runs with what it has.
func (k *Keeper) refresh(ctx context.Context, a *model.Assignment) error {
	answer, err := k.cfg.Fetch(ctx, a.Task.ID)
	if session.IsRefused(err) {
		k.cfg.Log.WarnContext(ctx, "a task keeps older values of its secrets", telemetry.TaskID, a.Task.ID, telemetry.Error, err)
		return nil
	}
	if err != nil {
		return err
	}
	k.writing.Lock()
	defer k.writing.Unlock()
	for _, c := range answer.GetContainers() {
		def, ok := a.TaskDefinition.Container(c.GetName())
		if !ok || !k.Fetched(a.Task.ID) {
			continue
		}
		if dir := ContainerDir(k.cfg.Dir, a.Task.ID, def); dir != "" {
			if err := writeFiles(dir, def, c.GetEnvironment()); err != nil {
				return err
			}
		}
	}
	return nil
}
