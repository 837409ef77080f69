package e2e_test

import (
	"slices"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
)

// Containers start when what they depend on is so far, and end in the reverse order.
func TestContainersStartAndStopInTheOrderOfDependsOn(t *testing.T) {
	t.Parallel()
	shares := mounts("shared", "/shared", false)
	def := fargate(
		// At SIGTERM db needs the file that web leaves when it ends, and cache the one that db leaves.
		with(after(container("web", "farewell", "-", "/shared/web"), "db", types.ContainerConditionHealthy), shares),
		with(after(container("db", "farewell", "/shared/web", "/shared/db"), "cache", types.ContainerConditionStart), func(c *types.ContainerDefinition) {
			shares(c)
			c.HealthCheck = check("/probe")
		}),
		with(after(container("cache", "farewell", "/shared/db", "-"), "migrate", types.ContainerConditionSuccess), shares),
		with(optional(container("migrate", "write", "/shared/migrated")), shares),
	)
	def.Volumes = []types.Volume{{Name: aws.String("shared")}}
	k := shared.run(t, def)

	seen := k.await(t, "db running and not yet healthy", func(got types.Task) bool { return *find(t, got, "db").LastStatus == "RUNNING" })
	if web := find(t, seen, "web"); find(t, seen, "db").HealthStatus == types.HealthStatusUnknown && *web.LastStatus != "PENDING" {
		t.Errorf("web did not wait for db: %s", containers(seen))
	}
	running := k.awaitStatus(t, "RUNNING")
	if db := find(t, running, "db"); db.HealthStatus != types.HealthStatusHealthy {
		t.Errorf("web runs and db is %s", db.HealthStatus)
	}
	if migrate := find(t, running, "migrate"); migrate.ExitCode == nil || *migrate.ExitCode != 0 {
		t.Errorf("cache runs and migrate did not succeed: %s", containers(running))
	}
	for _, name := range []string{"web", "db", "cache"} {
		k.logged(t, name, "waiting")
	}
	stopped := k.stop(t, "in order")
	want := "cache STOPPED exit 0, db STOPPED exit 0, migrate STOPPED exit 0, web STOPPED exit 0"
	if got := containers(stopped); got != want {
		t.Errorf("%s; 9 is a container that ended before its time", got)
	}
}

// The end of a non-essential container is shown and changes nothing for the task.
func TestNonEssentialContainerEndsAlone(t *testing.T) {
	t.Parallel()
	k := shared.run(t, fargate(container("app", "answer", "3000", "0"), optional(container("side", "answer", "4000", "0"))))
	k.awaitStatus(t, "RUNNING")
	k.exit(t, 4000, 7)
	got := k.await(t, "side has stopped", func(got types.Task) bool { return *find(t, got, "side").LastStatus == "STOPPED" })
	if side := find(t, got, "side"); *side.ExitCode != 7 || *got.LastStatus != "RUNNING" || *got.DesiredStatus != "RUNNING" {
		t.Errorf("task %s, %s", *got.LastStatus, containers(got))
	}
	k.hears(t, 3000, "/")
}

// A health check is HEALTHY, then UNHEALTHY, and a standalone task runs on.
func TestHealthChecksShowAndStandaloneTasksRunOn(t *testing.T) {
	t.Parallel()
	k := shared.run(t, fargate(
		with(container("app", "answer", "3000", "0"), func(c *types.ContainerDefinition) { c.HealthCheck = check("/tmp/healthy") }),
		optional(container("side", "trap", "0"))))
	k.hears(t, 3000, "/write", "path", "/tmp/healthy", "data", "yes")
	health := func(want types.HealthStatus) types.Task {
		t.Helper()
		return k.await(t, string(want), func(got types.Task) bool {
			return got.HealthStatus == want && find(t, got, "app").HealthStatus == want
		})
	}
	health(types.HealthStatusHealthy)
	k.hears(t, 3000, "/remove", "path", "/tmp/healthy")
	if got := health(types.HealthStatusUnhealthy); *got.LastStatus != "RUNNING" || *got.DesiredStatus != "RUNNING" {
		t.Errorf("an unhealthy standalone task is %s", *got.LastStatus)
	}
	k.hears(t, 3000, "/write", "path", "/tmp/healthy", "data", "yes")
	health(types.HealthStatusHealthy)
}

// Lines arrive while the program runs, in order, and events of several lines as one.
func TestLogLinesArriveWhileTheTaskRuns(t *testing.T) {
	t.Parallel()
	def := fargate(container("app", "answer", "3000", "0"), container("several", "answer", "4000", "0"))
	def.ContainerDefinitions[1].LogConfiguration.Options["awslogs-multiline-pattern"] = "^BEGIN"
	def.ContainerDefinitions[1].LogConfiguration.Options["mode"] = "non-blocking"
	k := shared.run(t, def)
	want := []string{"answering on 3000"}
	for _, line := range []string{"one", "two", `{"level":"info"}`, "vier äöü"} {
		want = append(want, line)
		k.hears(t, 3000, "/say", "line", line)
		k.logged(t, "app", line)
	}
	got, err := k.messages(t.Context(), "app")
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("%q, %v; want %q", got, err, want)
	}
	for _, line := range []string{"BEGIN a", "  at b", "BEGIN c"} {
		k.hears(t, 4000, "/say", "line", line)
	}
	k.logged(t, "several", "BEGIN a\n  at b")
	k.stop(t, "the last event needs an end")
	k.logged(t, "several", "BEGIN c")
}
