package sim_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"berth.dev/berth/internal/agent/runtime"
	"berth.dev/berth/internal/base/fault"
	"berth.dev/berth/internal/control/execution"
	"berth.dev/berth/internal/control/rotation"
	"berth.dev/berth/internal/data/keyring"
	"berth.dev/berth/internal/data/keys"
	"berth.dev/berth/internal/data/launch"
	"berth.dev/berth/internal/data/records"
	"berth.dev/berth/internal/data/sessions"
	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/model"
	secretsservice "berth.dev/berth/internal/service/secretsmanager"
	"berth.dev/berth/internal/wire/api/ecsapi"
	"berth.dev/berth/internal/wire/api/secretsmanagerapi"
	"berth.dev/berth/internal/wire/caller"
)

const (
	taskRole      = "arn:aws:iam::123456789012:role/task"
	executionRole = "arn:aws:iam::123456789012:role/execution"
	trust         = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"ecs-tasks.amazonaws.com"},"Action":"sts:AssumeRole"}]}`
	rotator       = "arn:aws:ecs:us-east-1:123456789012:task-definition/rotate"
)

// secretNames are the secrets that are rotated; tasks of "secret" have the
// first as a variable and as a file.
var secretNames = []string{"s0", "s1"}

// vault is what a cluster with secrets has besides. Every fourth seed has one.
type vault struct {
	c    *cluster
	ring *keyring.Keyring // a file that outlives servers
	// life is how long credentials are valid: less than on AWS, so that many
	// renewals are due in a short script.
	life time.Duration

	door    atomic.Pointer[door] // nil while no control plane runs
	ledgers map[string]*ledger   // by secret

	mu       sync.Mutex
	programs map[string]bool // containers that have begun to rotate
	bad      []string
}

// ledger is what the script has asked of a secret's rotation.
type ledger struct {
	versions int      // that there must be in the end
	asked    []string // of them, those whose id the script knows
}

// door is the AWS API of one life of a control plane.
type door struct {
	ctx      context.Context // the life
	secrets  *secretsservice.Provider
	sessions *sessions.Sessions
	store    *store.Store
	stuck    atomic.Bool // the rotation loop has come to where it is to be killed
}

func newVault(c *cluster, seed uint64) *vault {
	if seed%4 != 1 {
		return nil
	}
	ring, err := keyring.Ephemeral()
	if err != nil {
		c.t.Fatal(err)
	}
	return &vault{
		c: c, ring: ring, life: time.Duration(1+seed%7) * 40 * time.Second,
		ledgers: map[string]*ledger{}, programs: map[string]bool{},
	}
}

// open makes the AWS API of a control plane that begins, and what acts for
// tasks' roles.
func (v *vault) open(ctx context.Context, s *store.Store, log *slog.Logger) (*door, *execution.Execution) {
	d := &door{ctx: ctx, store: s, sessions: sessions.New(v.ring)}
	d.secrets = secretsservice.New(secretsservice.Config{Store: s, Keys: keys.New(keys.Config{Store: s, Ring: v.ring, Scope: scope}), Scope: scope})
	roles, err := execution.New(execution.Config{
		Store: s, Sessions: d.sessions, Scope: scope, API: innerDoor{d}, Access: allowed{}, Log: log,
		// Sessions are always for six hours. Those of a server whose clock is that
		// much behind are as short as the simulation wants them.
		Now: func() time.Time { return time.Now().Add(v.life - 6*time.Hour) },
	})
	if err != nil {
		v.c.t.Fatal(err)
	}
	return d, roles
}

// rotate is the loop. At some of its transactions it stands still until the
// control plane is killed, so that it dies between any two.
func (v *vault) rotate(ctx context.Context, d *door, log *slog.Logger) error {
	ctx = context.WithValue(context.WithValue(ctx, contestedKey{}, true), doomedKey{}, d)
	return rotation.New(rotation.Config{
		Store: d.store, Launcher: launch.New(launch.Config{Scope: scope, Seed: func() uint64 { return 7 }}), Scope: scope, Log: log,
	}).Run(ctx)
}

type doomedKey struct{}

// stop makes who comes with the context of a rotation loop stand still, if the
// lot says so, until the control plane's life is over.
func (c *cluster) stop(ctx context.Context, lot uint64) {
	if d, ok := ctx.Value(doomedKey{}).(*door); ok && lot%5 == 3 {
		d.stuck.Store(true)
		<-ctx.Done()
	}
}

// stuck reports whether the control plane is to be killed.
func (v *vault) stuck() bool {
	d := v.door.Load()
	return d != nil && d.stuck.Load()
}

// innerDoor is the API as an execution role calls it.
type innerDoor struct{ *door }

func (d innerDoor) GetSecretValue(ctx context.Context, _ caller.Identity, id, stage, version string) (execution.SecretValue, error) {
	out, err := d.secrets.GetSecretValue(ctx, &secretsmanagerapi.GetSecretValueInput{SecretId: &id, VersionStage: optional(stage), VersionId: optional(version)})
	if err != nil {
		return execution.SecretValue{}, err
	}
	return execution.SecretValue{Text: *out.SecretString}, nil
}

func (innerDoor) GetParameters(context.Context, caller.Identity, []string) ([]execution.Parameter, []string, error) {
	return nil, nil, fault.New(fault.Invalid, "the simulation has no parameters")
}

// allowed lets every role pull.
type allowed struct{}

func (allowed) Check(context.Context, caller.Identity, string, string) error { return nil }

func optional(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

// furnish makes roles, task definitions and secrets.
func (v *vault) furnish(ctx context.Context) {
	d := v.door.Load()
	_, err := d.store.Update(ctx, func(tx *store.Tx) error {
		for _, name := range []string{"task", "execution"} {
			records.Roles.Put(tx, &model.Role{ID: "AROA" + strings.ToUpper(name), Name: name, Path: "/", Trust: trust, MaxSessionDuration: 3600})
		}
		return nil
	})
	if err != nil {
		v.c.t.Fatal(err)
	}
	for _, name := range secretNames {
		first := "first-version-of-the-secret-named-" + name
		if _, err := d.secrets.CreateSecret(ctx, &secretsmanagerapi.CreateSecretInput{Name: &name, ClientRequestToken: &first, SecretString: new(valueOf(first))}); err != nil {
			v.c.t.Fatal(err)
		}
		v.ledgers[name] = &ledger{versions: 1, asked: []string{first}}
	}
	for family, container := range map[string]ecsapi.ContainerDefinition{
		"rotate": {Name: new("rotate"), Image: new("app:1"), Essential: new(true), StopTimeout: new(int32(2))},
		"secret": {
			Name: new("app"), Image: new("app:1"), Essential: new(true), StopTimeout: new(int32(2)), DockerLabels: map[string]string{"berth.secrets-files": "/run/secrets"},
			Secrets: []ecsapi.Secret{{Name: new("S"), ValueFrom: new("arn:aws:secretsmanager:us-east-1:123456789012:secret:" + secretNames[0])}},
		},
	} {
		_, err := v.c.server.ecs.RegisterTaskDefinition(ctx, &ecsapi.RegisterTaskDefinitionInput{
			Family: new(family), NetworkMode: ecsapi.NetworkMode("awsvpc"), RequiresCompatibilities: []ecsapi.Compatibility{"FARGATE"},
			Cpu: new("256"), Memory: new("512"), TaskRoleArn: new(taskRole), ExecutionRoleArn: new(executionRole),
			ContainerDefinitions: []ecsapi.ContainerDefinition{container},
		})
		if err != nil {
			v.c.t.Fatalf("registering %s: %v", family, err)
		}
	}
}

// valueOf is the value of a version, which no other has.
func valueOf(version string) string { return "value of " + version }

// act asks for a rotation, or lets one become due.
func (v *vault) act() {
	d, name := v.door.Load(), secretNames[v.c.random.IntN(len(secretNames))]
	due := v.c.random.IntN(3) > 0
	s, found := records.Secrets.Get(d.store.Snapshot(), name)
	if r := s.Rotation; !found || r != nil && (r.VersionID != "" || r.TaskID != "" || r.NextAt == nil || !r.NextAt.After(time.Now())) {
		return // one at a time, so that the ledger is simple
	}
	l := v.ledgers[name]
	if due && s.Rotation != nil {
		v.c.journal.add("script the rotation of %s becomes due", name)
		rev, err := d.store.Update(v.c.t.Context(), func(tx *store.Tx) error {
			return records.Secrets.Edit(tx, name, func(s *model.Secret) error {
				r := *s.Rotation
				r.NextAt = new(tx.Now())
				s.Rotation = &r
				return nil
			})
		})
		if err == nil {
			err = d.store.WaitRev(v.c.t.Context(), rev)
		}
		if err != nil {
			v.c.t.Errorf("making a rotation due: %v", err)
		}
		l.versions, l.asked = l.versions+1, append(l.asked, "")
		return
	}
	token := fmt.Sprintf("version-%s-%04d-that-the-script-asks-for", name, l.versions)
	v.c.journal.add("script RotateSecret %s: %s", name, token)
	for range 2 { // it is asked for once, however often the client asks
		_, err := d.secrets.RotateSecret(v.c.t.Context(), &secretsmanagerapi.RotateSecretInput{
			SecretId: &name, ClientRequestToken: &token, RotationLambdaARN: new(rotator),
			RotationRules: &secretsmanagerapi.RotationRulesType{ScheduleExpression: new("rate(4 hours)")},
		})
		if err != nil {
			v.c.t.Errorf("RotateSecret: %v", err)
		}
	}
	l.versions, l.asked = l.versions+1, append(l.asked, token)
}

// begun runs the program of a container that rotates: it is on its own from
// there on, whatever becomes of the agent.
func (v *vault) begun(n *node, spec runtime.Spec) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.programs[spec.ID] {
		return
	}
	v.programs[spec.ID] = true
	go func() {
		code := v.program(n, spec)
		v.c.journal.add("%s %s has rotated: %d", n.name, spec.ID, code)
		n.world.Exit(spec.ID, code)
	}()
}

// program is what a rotation task does, with the mistakes that programs make.
func (v *vault) program(n *node, spec runtime.Spec) uint32 {
	lot := v.c.lot()
	time.Sleep(time.Duration(50+lot%900) * time.Millisecond)
	secret, version := variable(spec, "SECRET_ARN"), variable(spec, "SECRET_VERSION_ID")
	mistake := lot / 1000 % 6
	switch {
	case v.c.isCalm():
	case mistake == 3:
		return 1 // before it has stored anything
	case mistake == 4:
		return 0 // without having stored anything
	}
	for attempt := 0; ; attempt++ {
		err := errors.New("connection refused")
		if d := v.door.Load(); d != nil {
			ctx := context.WithValue(d.ctx, contestedKey{}, true)
			_, err = d.secrets.PutSecretValue(ctx, &secretsmanagerapi.PutSecretValueInput{
				SecretId: &secret, ClientRequestToken: &version, SecretString: new(valueOf(version)), VersionStages: []string{model.StagePending},
			})
		}
		if err == nil {
			break
		}
		if attempt == 4 {
			return 2
		}
		time.Sleep(time.Second)
	}
	if mistake == 5 && !v.c.isCalm() {
		return 3 // after it has
	}
	return 0
}

func variable(spec runtime.Spec, name string) string {
	for _, entry := range spec.Env {
		if value, ok := strings.CutPrefix(entry, name+"="); ok {
			return value
		}
	}
	return ""
}

// watch sees every change of every secret and of the tasks that rotate them.
func (v *vault) watch(ctx context.Context, s *store.Store) {
	watch := s.Watch(ctx, records.Secrets, records.Tasks)
	for snap := watch.Snapshot(); ; {
		for _, name := range secretNames {
			v.look(snap, name)
		}
		var err error
		if snap, _, err = watch.Next(ctx); err != nil {
			return
		}
	}
}

// look: a secret has one current version, another one before it, and at most
// one task that rotates it, which it knows of.
func (v *vault) look(r store.Reader, name string) {
	s, found := records.Secrets.Get(r, name)
	if !found {
		return
	}
	current, previous := s.Stages[model.StageCurrent], s.Stages[model.StagePrevious]
	if current == "" || current == previous {
		v.complain("secret %s has the labels %v", name, s.Stages)
	}
	for label, id := range s.Stages {
		if !records.SecretVersions.Has(r, (&model.SecretVersion{SecretName: name, ID: id}).Key()) {
			v.complain("secret %s has %s on version %s, which there is not", name, label, id)
		}
	}
	for t := range records.Tasks.By(r, records.TasksByStartedBy, records.InCluster("default", "secretsmanager")) {
		if !t.Stopped() && t.Overrides.ContainerOverrides[0].Environment[0].Value == s.ARN && (s.Rotation == nil || s.Rotation.TaskID != t.ID) {
			v.complain("task %s rotates secret %s, whose rotation is %+v", t.ID, name, s.Rotation)
		}
	}
}

func (v *vault) complain(format string, args ...any) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.bad = append(v.bad, time.Now().Format("04:05.000 ")+fmt.Sprintf(format, args...))
}

// hasten cuts the pauses short that follow failures: they grow to an hour.
func (v *vault) hasten() {
	for _, name := range secretNames {
		_, err := v.door.Load().store.Update(v.c.t.Context(), func(tx *store.Tx) error {
			s, _ := records.Secrets.Get(tx, name)
			if s.Rotation == nil || s.Rotation.RetryAt == nil || !s.Rotation.RetryAt.After(tx.Now()) {
				return nil
			}
			return records.Secrets.Edit(tx, name, func(s *model.Secret) error {
				r := *s.Rotation
				r.RetryAt = new(tx.Now())
				s.Rotation = &r
				return nil
			})
		})
		if err != nil {
			v.c.t.Errorf("cutting a pause short: %v", err)
		}
	}
}

// settle waits until what was asked for has been done, and compares it.
func (v *vault) settle() {
	resting := func() bool {
		for _, name := range secretNames {
			s, _ := records.Secrets.Get(v.door.Load().store.Snapshot(), name)
			if r := s.Rotation; r != nil && (r.VersionID != "" || r.TaskID != "" || !r.NextAt.After(time.Now())) {
				return false
			}
		}
		return true
	}
	// Faults may still be waiting for their call, and each makes an attempt fail.
	for range 200 {
		if resting() {
			break
		}
		v.c.tend()
		v.hasten()
		time.Sleep(3 * time.Second)
	}
	time.Sleep(10 * time.Second) // the last tasks go
	snap := v.door.Load().store.Snapshot()
	for _, name := range secretNames {
		s, _ := records.Secrets.Get(snap, name)
		l, made := v.ledgers[name], 0
		for range records.SecretVersions.Prefix(snap, records.SecretVersionsOf(name)) {
			made++
		}
		if made != l.versions {
			v.c.t.Errorf("secret %s has %d versions, and %d were asked for: %+v, %v", name, made, l.versions, s.Rotation, s.Stages)
		}
		// A version is current in its turn.
		for i, label := range []string{model.StageCurrent, model.StagePrevious} {
			at := len(l.asked) - 1 - i
			if at >= 0 && s.Stages[label] != l.asked[at] && (l.asked[at] != "" || slices.Contains(l.asked, s.Stages[label])) {
				v.c.t.Errorf("secret %s has the labels %v, and was asked for %q", name, s.Stages, l.asked)
			}
		}
		if s.Stages[model.StagePending] != "" {
			v.c.t.Errorf("secret %s has the labels %v after its rotations", name, s.Stages)
		}
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, bad := range v.bad {
		v.c.t.Error(bad)
	}
}
