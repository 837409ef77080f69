package lb

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"berth.dev/berth/internal/base/atomicfile"
	"berth.dev/berth/internal/base/telemetry"
	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/rules/routing"
)

// A setup is what HAProxy is to run with, and what it was made of.
type setup struct {
	doc        *model.NodeLoadBalancer
	slots      map[string]int
	namespaces map[string]string
	compiled   routing.Config
	config     string // path
	running    bool   // a process with it was seen
}

// proxy makes HAProxy's part true: a process with the right configuration, and in its slots the right targets.
func (b *balancer) proxy(ctx context.Context, doc *model.NodeLoadBalancer, namespaces map[string]string, freed map[string][]int) error {
	if !routing.NeedsProcess(doc) {
		return b.endAll(ctx)
	}
	if err := b.prepare(ctx, doc, namespaces); err != nil {
		return err
	}
	all, err := servers(ctx, b.admin)
	if err != nil && !nobodyThere(err) {
		return err // it is slow, or we are to end: no reason to replace it
	}
	var refused error
	if err != nil || !b.setup.running || !b.sameNamespaces(namespaces) {
		// If a process with the newest configuration cannot start, the targets of the one that serves are still kept true.
		refused = b.ensureProcess(ctx, err == nil, namespaces)
		if all, err = servers(ctx, b.admin); err != nil {
			return errors.Join(refused, err)
		}
	}
	if commands := b.commands(b.setup.compiled.Pools, all, freed); len(commands) > 0 {
		if _, err := ask(ctx, b.admin, commands...); err != nil {
			return errors.Join(refused, err)
		}
		if all, err = servers(ctx, b.admin); err != nil {
			return errors.Join(refused, err)
		}
		b.commands(b.setup.compiled.Pools, all, nil) // notes what became of it; what is still missing is done at the next look
	}
	return refused
}

// nobodyThere reports whether no process listens on its socket.
func nobodyThere(err error) bool {
	return errors.Is(err, unix.ECONNREFUSED) || errors.Is(err, unix.ENOENT)
}

func (b *balancer) endAll(ctx context.Context) error {
	if b.setup != nil && b.setup.config == "" {
		return nil
	}
	running, err := processes(b.dir)
	if err == nil {
		err = end(ctx, running, grace)
	}
	if err == nil {
		b.setup = &setup{}
	}
	return err
}

// prepare compiles and saves the configuration unless it was done for the same things.
func (b *balancer) prepare(ctx context.Context, doc *model.NodeLoadBalancer, namespaces map[string]string) error {
	slots := map[string]int{}
	for id, g := range b.state.Groups {
		slots[id] = g.Slots
	}
	if s := b.setup; s != nil && s.doc == doc && maps.Equal(s.slots, slots) && maps.Equal(s.namespaces, namespaces) {
		return nil
	}
	site := routing.Site{
		Admin: b.admin, State: b.statesFile(), Events: b.events, Next: b.next, Files: b.keys, Namespaces: map[string]string{}, Slots: slots,
		Threads: b.cfg.Threads, Connections: connections(),
	}
	for id, path := range namespaces {
		site.Namespaces[id] = filepath.Base(path)
	}
	if doc.LoadBalancer.Attributes[routing.AccessLogGroup] != "" && b.cfg.Logs != nil {
		site.Access = b.access
	}
	compiled := routing.Compile(doc, site)
	for _, p := range compiled.Problems {
		b.log.WarnContext(ctx, "a part of the load balancer is left out", keyAttr, b.state.Key, telemetry.Reason, p)
	}
	config, err := b.save(compiled)
	if err != nil {
		return err
	}
	running := b.setup != nil && b.setup.running && b.setup.config == config
	b.setup = &setup{doc: doc, slots: slots, namespaces: namespaces, compiled: compiled, config: config, running: running}
	return nil
}

// ensureProcess sees to it that a process runs with the configuration.
func (b *balancer) ensureProcess(ctx context.Context, answers bool, namespaces map[string]string) error {
	running, err := processes(b.dir)
	if err != nil {
		return err
	}
	switch {
	case !answers || len(running) == 0 || !b.sameNamespaces(namespaces):
		// Nothing serves, or it serves in namespaces that are no more: there is nothing to take over.
		err = b.start(ctx, b.setup.config, running)
	case running[len(running)-1].config != b.setup.config:
		err = b.reload(ctx, b.setup.config)
	}
	if err == nil {
		err = b.succeed() // also to those that an earlier agent had no time to tell
	}
	if err != nil {
		return err
	}
	b.setup.running = true
	b.cleanUp(ctx)
	return b.noteNamespaces(namespaces)
}

// connections is how many clients a process can serve with as many open files as it may have: two for each.
func connections() int {
	const most, besides = 20000, 500
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return most
	}
	return int(max(100, min(most, (min(limit.Max, 1<<20)-besides)/2)))
}

// save writes the configuration and its files, and returns its path, in which a digest of the content tells a process
// that has this configuration from one that has another.
func (b *balancer) save(c routing.Config) (string, error) {
	for _, dir := range []string{b.dir, b.keys} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return "", fmt.Errorf("make directory: %w", err)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(c.Files)) {
		if err := writeOnce(filepath.Join(b.keys, name), c.Files[name]); err != nil {
			return "", err
		}
	}
	path := filepath.Join(b.dir, configPrefix+short(c.Text)+".cfg")
	return path, writeOnce(path, c.Text)
}

// writeOnce writes a file whose name says what is in it.
func writeOnce(path, content string) error {
	if have, err := os.ReadFile(path); err == nil && string(have) == content {
		return nil
	}
	return atomicfile.WriteSecret(path, []byte(content))
}

// start starts the first process. Some may run that do not answer: they are ended.
func (b *balancer) start(ctx context.Context, config string, running []process) error {
	if err := end(ctx, running, 0); err != nil {
		return err
	}
	b.log.InfoContext(ctx, "starting load balancer", keyAttr, b.state.Key)
	if err := b.saveStates(); err != nil {
		return err
	}
	return b.launch(ctx, config, false)
}

// reload replaces the process by one with another configuration. Servers keep their states and sockets are handed over;
// the old process serves its connections to their end, however long that takes.
func (b *balancer) reload(ctx context.Context, config string) error {
	b.log.InfoContext(ctx, "reloading load balancer", keyAttr, b.state.Key)
	if err := b.saveStates(); err != nil {
		return err
	}
	return b.launch(ctx, config, true)
}

func (b *balancer) statesFile() string { return filepath.Join(b.dir, "servers") }

// saveStates writes what the next process finds in its slots.
func (b *balancer) saveStates() error {
	bySlot := map[string]map[int]*target{}
	for id, g := range b.state.Groups {
		bySlot[id] = g.bySlot()
	}
	states := routing.States(b.setup.compiled.Pools, func(p routing.Pool, number int) (routing.Slot, bool) {
		t := bySlot[p.TargetGroupID][number]
		if t == nil || t.Draining {
			return routing.Slot{}, false
		}
		return routing.Slot{
			Address: t.Address, Port: t.Port, Up: t.Health.State == model.TargetHealthy,
			Checked: t.Health.State != model.TargetInitial,
		}, true
	})
	if err := os.WriteFile(b.statesFile(), []byte(states), 0o600); err != nil {
		return fmt.Errorf("write servers' states: %w", err)
	}
	return nil
}

func (b *balancer) sameNamespaces(namespaces map[string]string) bool {
	for id, path := range namespaces {
		if known := b.state.Interfaces[id]; known != 0 && known != inode(path) {
			return false
		}
	}
	return true
}

func (b *balancer) noteNamespaces(namespaces map[string]string) error {
	changed := false
	for id, path := range namespaces {
		if now := inode(path); b.state.Interfaces[id] != now {
			b.state.Interfaces[id] = now
			changed = true
		}
	}
	if !changed {
		return nil
	}
	return b.state.write(b.dir)
}

// commands compares the slots with the targets, notes the targets' health and returns what HAProxy is to be told.
func (b *balancer) commands(pools []routing.Pool, all map[serverName]server, freed map[string][]int) []string {
	var commands []string
	for _, pool := range pools {
		g := b.state.Groups[pool.TargetGroupID]
		bySlot := g.bySlot()
		for slot := range pool.Slots {
			name := routing.Server(slot + 1)
			checked, open := serverName{pool.Backend, name}, serverName{pool.Open, name}
			if _, ok := all[checked]; !ok {
				continue // the process has an earlier configuration
			}
			t := bySlot[slot+1]
			if t == nil || t.Draining {
				commands = append(commands, retire(checked, all[checked])...)
				commands = append(commands, retire(open, all[open])...)
				if t == nil && slices.Contains(freed[pool.TargetGroupID], slot+1) {
					commands = append(commands, shutdown(checked), shutdown(open))
				}
				continue
			}
			commands = append(commands, admit(checked, all[checked], t)...)
			commands = append(commands, openTo(open, all[open], t)...)
		}
	}
	return commands
}

func set(n serverName, what string) string {
	return "set server " + n.backend + "/" + n.server + " " + what
}

func shutdown(n serverName) string { return "shutdown sessions server " + n.backend + "/" + n.server }

func addressOf(t *target) string { return fmt.Sprintf("addr %s port %d", t.Address, t.Port) }

// retire takes a slot out of use. Requests that are with its target finish.
func retire(n serverName, s server) []string {
	if s.inactive() {
		return nil
	}
	return []string{set(n, "state maint")}
}

// admit makes a slot its target's in the backend with health checks. A target that is new begins as down: HAProxy would
// presume it well ("health down" while it drains, because a server that leaves maintenance is up). From then on its
// checks go on without the agent, and would also bring it up.
func admit(n serverName, s server, t *target) []string {
	if s.endpoint != t.endpoint() || s.inactive() {
		t.Admitted = false
		commands := []string{set(n, "state maint"), set(n, addressOf(t)), set(n, "state drain"), set(n, "health down"), set(n, "state ready")}
		if t.Health.State == model.TargetHealthy {
			commands = append(commands, set(n, "health up"))
		}
		return commands
	}
	verdict, known := routing.Verdict(s.check, s.code)
	switch {
	case s.up():
		t.Admitted = true
		t.Health = routing.Health{State: model.TargetHealthy}
	case t.Health.State == model.TargetHealthy && !t.Admitted:
		return []string{set(n, "health up")} // the agent has seen it pass its first check
	case t.Health.State == model.TargetInitial:
		// The agent's own check says how it is: the slot's last result may still be that of the target it had before.
	case known && !verdict.Passed:
		t.Health = routing.Health{State: model.TargetUnhealthy, Reason: verdict.Reason, Description: verdict.Description}
	case t.Health.State == model.TargetHealthy:
		t.Health = routing.Health{State: model.TargetUnhealthy, Reason: routing.ReasonFailed, Description: "Health checks failed"}
	}
	return nil
}

// openTo makes a slot its target's in the backend without health checks, once it is known how the target is.
func openTo(n serverName, s server, t *target) []string {
	if t.Health.State == model.TargetInitial {
		return retire(n, s)
	}
	if s.endpoint == t.endpoint() && !s.inactive() {
		return nil
	}
	return []string{set(n, "state maint"), set(n, addressOf(t)), set(n, "state ready")}
}

// cleanUp removes the configurations and keys that no process was started with.
func (b *balancer) cleanUp(ctx context.Context) {
	running, err := processes(b.dir)
	if err != nil || len(running) == 0 {
		return
	}
	used := map[string]bool{}
	for _, p := range running {
		raw, err := os.ReadFile(p.config)
		if err != nil {
			return
		}
		used[p.config] = true
		for word := range strings.FieldsSeq(string(raw)) {
			used[word] = true
		}
	}
	// Keys beside configurations are those of an agent that did not keep them apart.
	old, err1 := filepath.Glob(filepath.Join(b.dir, "*.[cp][fe][gm]"))
	keys, err2 := filepath.Glob(filepath.Join(b.keys, "*.pem"))
	if err1 != nil || err2 != nil {
		return
	}
	for _, path := range append(old, keys...) {
		if used[path] {
			continue
		}
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			b.log.WarnContext(ctx, "old configuration stays", telemetry.Path, path, telemetry.Error, err)
		}
	}
}
