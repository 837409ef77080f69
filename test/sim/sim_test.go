package sim_test

import (
	"errors"
	"flag"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"berth.dev/berth/internal/agent/runtime/fake"
	"berth.dev/berth/internal/data/records"
	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/wire/api/ecsapi"
)

var (
	seeds   = flag.Int("seeds", 2000, "how many seeds to run")
	oneSeed = flag.Uint64("seed", 0, "run this seed alone and print its events")
)

func TestSim(t *testing.T) {
	if *oneSeed != 0 {
		run(t, *oneSeed)
		return
	}
	for seed := uint64(1); seed <= uint64(*seeds); seed++ {
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
			t.Parallel()
			run(t, seed)
		})
	}
}

// run plays one seed.
func run(t *testing.T, seed uint64) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, seed, 1+int(seed%3))
		defer func() {
			if t.Failed() || *oneSeed != 0 {
				t.Logf("seed %d\n%s", seed, c.journal)
			}
		}()
		c.script()
		c.heal()
		c.check()
		c.end()
	})
}

// script does random things for a while.
func (c *cluster) script() {
	for range 12 + c.random.IntN(20) {
		c.act()
		time.Sleep(time.Duration(c.random.IntN(1500)) * time.Millisecond)
		c.revive()
		if c.vault != nil {
			c.vault.checkCredentials()
		}
	}
}

func (c *cluster) act() {
	n := c.nodes[c.random.IntN(len(c.nodes))]
	if c.vault != nil && c.server != nil && c.random.IntN(3) == 0 {
		c.vault.act()
		return
	}
	switch k := c.random.IntN(29); {
	case k >= 22:
		c.actOnService()
	case k < 7:
		c.runTask()
	case k < 10:
		c.stopTask()
	case k < 13:
		c.fault(n)
	case k < 14:
		c.journal.add("script kill agent %s", n.name)
		n.kill()
	case k < 16:
		c.journal.add("script kill server")
		c.killServer()
	case k < 17:
		c.journal.add("script cut connections")
		c.cut()
	case k < 19:
		if running := n.world.Inventory().Running; len(running) > 0 {
			id := running[c.random.IntN(len(running))]
			c.journal.add("script exit %s", id)
			n.world.Exit(id, uint32(c.random.IntN(3))) //nolint:gosec // small
		}
	case k < 20:
		c.journal.add("script reboot %s", n.name)
		n.kill()
		n.world.Reboot()
		n.loseFiles("secrets") // they are on a tmpfs
	case k < 21:
		c.journal.add("script %s loses its journal", n.name)
		n.loseDisk()
	default:
		c.journal.add("script %s is out of reach for longer than nodes may be", n.name)
		n.kill()
		time.Sleep(90 * time.Second)
	}
}

// struck are the verbs of launch and stop at which faults strike.
var struck = []fake.Verb{
	fake.EnsureImage, fake.PrepareTask, fake.Create, fake.Start, fake.Status, fake.List,
	fake.Wait, fake.Kill, fake.Remove, fake.RemoveTask,
}

// fault prepares the failure of some call that is to come.
func (c *cluster) fault(n *node) {
	f := fake.Fault{
		Verb: struck[c.random.IntN(len(struck))],
		Skip: c.random.IntN(3),
		Mode: []fake.Mode{fake.FailBefore, fake.FailAfter, fake.CrashBefore, fake.CrashAfter}[c.random.IntN(4)],
	}
	c.journal.add("script fault on %s: %s %s", n.name, f.Verb, f.Mode)
	n.world.Inject(f)
}

// revive starts again what has died, most of the time.
func (c *cluster) revive() {
	if c.vault != nil && c.vault.stuck() {
		c.journal.add("script kill server between two transactions")
		c.killServer()
	}
	for _, n := range c.nodes {
		if n.crashed() {
			c.journal.add("script %s crashed", n.name)
			n.kill()
		}
		if n.life == nil && c.random.IntN(3) > 0 {
			c.journal.add("script begin agent %s", n.name)
			n.begin()
		}
	}
	if c.server == nil && c.random.IntN(3) > 0 {
		c.journal.add("script begin server")
		c.beginServer()
	}
}

// runTask asks for tasks with a client token, and sometimes asks again.
func (c *cluster) runTask() {
	if c.server == nil {
		return
	}
	token := fmt.Sprintf("token-%d", len(c.acked))
	repeated := len(c.acked) > 0 && c.random.IntN(4) == 0
	if repeated {
		token = fmt.Sprintf("token-%d", c.random.IntN(len(c.acked)))
	}
	// What a token asks for follows from the token: a repetition asks the same.
	index := 0
	fmt.Sscanf(token, "token-%d", &index) //nolint:errcheck // made above
	of := c.families()
	out, err := c.server.ecs.RunTask(c.t.Context(), &ecsapi.RunTaskInput{
		TaskDefinition: new(of[index%len(of)]), Count: new(int32(1 + index%3)), ClientToken: new(token),
		LaunchType: ecsapi.LaunchType("FARGATE"),
		NetworkConfiguration: &ecsapi.NetworkConfiguration{AwsvpcConfiguration: &ecsapi.AwsVpcConfiguration{
			Subnets: []string{c.subnets[index%len(c.subnets)]},
		}},
	})
	if err != nil {
		c.t.Errorf("RunTask: %v", err)
		return
	}
	var ids []string
	for _, task := range out.Tasks {
		ids = append(ids, (*task.TaskArn)[len(*task.TaskArn)-32:])
	}
	slices.Sort(ids)
	c.journal.add("script RunTask %s %s: %v, %d failures", token, of[index%len(of)], ids, len(out.Failures))
	if before, known := c.acked[token]; known && !slices.Equal(before, ids) {
		c.t.Errorf("token %s gave %v and then %v", token, before, ids)
	}
	c.acked[token] = ids
}

func (c *cluster) stopTask() {
	if c.server == nil {
		return
	}
	var live []string
	for t := range records.Tasks.All(c.server.store.Snapshot()) {
		if !t.Stopped() {
			live = append(live, t.ID)
		}
	}
	if len(live) == 0 {
		return
	}
	id := live[c.random.IntN(len(live))]
	c.journal.add("script StopTask %s", id)
	if _, err := c.server.ecs.StopTask(c.t.Context(), &ecsapi.StopTaskInput{Task: new(id), Reason: new("asked by the script")}); err != nil {
		c.t.Errorf("StopTask: %v", err)
	}
}

// heal brings everything back and lets it settle.
func (c *cluster) heal() {
	c.journal.add("script heal")
	c.lots.Lock()
	c.calm = true
	c.lots.Unlock()
	for range 20 {
		c.tend()
		time.Sleep(3 * time.Second)
	}
}

// tend starts whatever does not run: faults may still have been waiting for
// their call.
func (c *cluster) tend() {
	if c.vault != nil && c.vault.stuck() {
		c.killServer()
	}
	for _, n := range c.nodes {
		if n.crashed() {
			n.kill()
		}
		if n.life == nil {
			n.begin()
		}
	}
	if c.server == nil {
		c.beginServer()
	}
}

// check looks at the settled cluster, ends every task, and looks again.
func (c *cluster) check() {
	if c.vault != nil {
		c.vault.rest()
		c.vault.checkCredentials()
		c.vault.checkSecrets()
	}
	c.settleServices()
	snap := c.server.store.Snapshot()
	for token, ids := range c.acked {
		for _, id := range ids {
			if _, ok := records.Tasks.Get(snap, id); !ok {
				c.t.Errorf("task %s, acknowledged for %s, is lost", id, token)
			}
		}
	}
	for t := range records.Tasks.All(snap) {
		if !t.Stopped() && t.Observed.Status != model.TaskRunning && t.Family != "rotate" { // they come and go
			c.t.Errorf("task %s did not settle: desired %s, last %s", t.ID, t.DesiredStatus, t.Observed.Status)
		}
		if t.Stopped() && (t.StopCode == "" || t.StoppedReason == "" || t.Observed.StoppedAt == nil) {
			c.t.Errorf("task %s stopped without a reason or a time: %q %q", t.ID, t.StopCode, t.StoppedReason)
		}
		c.checkContainers(t)
	}
	c.checkCapacity()
	c.deleteServices()
	c.stopAll()
	if c.vault != nil {
		c.vault.settle()
		c.vault.checkNothingLeft()
	}
	c.checkEmpty()
	c.server.watch.mu.Lock()
	defer c.server.watch.mu.Unlock()
	for _, bad := range c.server.watch.bad {
		c.t.Error(bad)
	}
	c.bounds.mu.Lock()
	defer c.bounds.mu.Unlock()
	for _, bad := range c.bounds.bad {
		c.t.Error(bad)
	}
	for _, bad := range c.book.twice {
		c.t.Errorf("an address is on two interfaces: %s", bad)
	}
}

// checkContainers: a container runs once in its life, on one node, and a
// running task's containers run.
func (c *cluster) checkContainers(t *model.Task) {
	for _, container := range t.Containers {
		starts, running := 0, false
		for _, n := range c.nodes {
			starts += n.world.Starts(container.RuntimeID)
			running = running || slices.Contains(n.world.Inventory().Running, container.RuntimeID)
		}
		// A journal lost before its first report was heard leaves nobody who knows of the start.
		if starts > 1 && !c.unreported[t.ID] {
			c.t.Errorf("container %s of task %s was started %d times", container.Name, t.ID, starts)
		}
		if t.Stopped() && running {
			c.t.Errorf("container %s of the stopped task %s runs", container.Name, t.ID)
		}
		o, ok := t.Observed.Container(container.Name)
		if exit, ended := c.truth.exit(container.RuntimeID); ok && ended && !t.Lost && o.ExitCode != nil && !exit.Lost && uint32(*o.ExitCode) != exit.Code { //nolint:gosec // both small
			c.t.Errorf("container %s of task %s exited with %d, and is said to have exited with %d", container.Name, t.ID, exit.Code, *o.ExitCode)
		}
		if exit, ended := c.truth.exit(container.RuntimeID); ok && ended && t.Stopped() && o.ExitCode == nil && t.StopCode != model.StopTerminationNotice && !c.unknowable[t.ID] {
			c.t.Errorf("container %s of task %s exited with %d, and nobody says so", container.Name, t.ID, exit.Code)
		}
		if ok && !t.Stopped() && (o.Status == model.ContainerRunning) != running {
			c.t.Errorf("container %s of task %s is said to be %s, running is %v", container.Name, t.ID, o.Status, running)
		}
	}
}

// checkCapacity: no node holds more than it has.
func (c *cluster) checkCapacity() {
	snap := c.server.store.Snapshot()
	for i := range records.Instances.All(snap) {
		var cpu, memory int64
		for t := range records.Tasks.By(snap, records.LiveTasksByInstance, i.ID) {
			cpu, memory = cpu+t.ReservedCPU, memory+t.ReservedMemory
		}
		if cpu > i.CPU || memory > i.Memory {
			c.t.Errorf("%s holds %d CPU units and %d MiB, and has %d and %d", i.Name, cpu, memory, i.CPU, i.Memory)
		}
	}
}

func (c *cluster) stopAll() {
	var ids []string
	for t := range records.Tasks.All(c.server.store.Snapshot()) {
		if !t.Stopped() {
			ids = append(ids, t.ID)
		}
	}
	for _, id := range ids {
		if _, err := c.server.ecs.StopTask(c.t.Context(), &ecsapi.StopTaskInput{Task: new(id)}); err != nil {
			c.t.Errorf("StopTask: %v", err)
		}
	}
	c.heal() // faults may still be waiting for their call
}

// checkEmpty: nothing outlives the last task.
func (c *cluster) checkEmpty() {
	snap := c.server.store.Snapshot()
	for t := range records.Tasks.All(snap) {
		if !t.Stopped() || t.Lost {
			c.t.Errorf("task %s has not ended: desired %s, last %s, lost %v", t.ID, t.DesiredStatus, t.Observed.Status, t.Lost)
		}
	}
	if n := records.NetworkInterfaces.Len(snap); n != 0 {
		c.t.Errorf("%d network interfaces are left", n)
	}
	if n := records.AddressClaims.Len(snap); n != 0 {
		c.t.Errorf("%d addresses are still claimed", n)
	}
	for _, n := range c.nodes {
		if inv := n.world.Inventory(); !inv.Empty() {
			c.t.Errorf("%s: left behind: %+v", n.name, inv)
		}
		n.network.mu.Lock()
		if len(n.network.attached) != 0 {
			c.t.Errorf("%s: interfaces left behind: %v", n.name, n.network.attached)
		}
		n.network.mu.Unlock()
		n.disk.mu.Lock()
		for id := range n.disk.records {
			c.t.Errorf("%s: the journal still has task %s", n.name, id)
		}
		n.disk.mu.Unlock()
	}
}

func (c *cluster) end() {
	for _, n := range c.nodes {
		n.kill()
	}
	c.server.cancel()
	c.cut()
	if err := <-c.server.ended; err != nil && !errors.Is(err, c.t.Context().Err()) {
		c.journal.add("the server ended with %v", err)
	}
	synctest.Wait()
}
