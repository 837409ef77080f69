package rollout_test

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/rules/rollout"
)

var begun = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

const group = "arn:aws:elasticloadbalancing:us-east-1:123456789012:targetgroup/web/0123456789abcdef"

// input makes a service called web with a completed deployment ecs-svc/1 of
// revision 1 and, when updating, a newer one ecs-svc/2 of revision 2 under way.
func input(desired, minimum, maximum int, updating bool) rollout.Input {
	in := rollout.Input{
		Service: &model.Service{
			ID: "s", Name: "web", Status: model.ServiceActive, DesiredCount: desired,
			DeploymentConfiguration: model.DeploymentConfiguration{MinimumHealthyPercent: minimum, MaximumPercent: maximum},
		},
		Targets: map[string][]rollout.Target{}, Checked: map[string][]string{}, Instances: map[string]rollout.Instance{},
		HealthyAfter: 2 * time.Second,
	}
	in.Deployments = append(in.Deployments, deployment(1, model.DeploymentPrimary, model.RolloutCompleted))
	if updating {
		in.Deployments[0].Status = model.DeploymentActive
		in.Deployments = append(in.Deployments, deployment(2, model.DeploymentPrimary, model.RolloutInProgress))
	}
	return in
}

func deployment(number uint64, status, state string) *model.Deployment {
	d := &model.Deployment{
		ID: fmt.Sprintf("ecs-svc/%d", number), ServiceID: "s", Number: number, RevisionID: fmt.Sprint(number),
		Status: status, RolloutState: state, RolloutStateReason: "…", ServiceDeploymentID: fmt.Sprint("sd", number),
		ServiceDeploymentStatus: model.ServiceDeploymentInProgress,
	}
	if state == model.RolloutCompleted {
		d.ServiceDeploymentStatus = model.ServiceDeploymentSuccessful
	}
	return d
}

var taskPattern = regexp.MustCompile(`^(\d+) (\w+)\.(\w+)(?:@(\w+))?(?:/(\w+))?( protected)?( draining)?$`)

// add makes tasks such as "3 old.healthy@zone/instance protected draining".
// old tasks are of ecs-svc/1, new ones of ecs-svc/2. Their ids say what they
// are: old-healthy-1.
func add(t *testing.T, in *rollout.Input, now time.Time, specs ...string) {
	t.Helper()
	for _, spec := range specs {
		m := taskPattern.FindStringSubmatch(spec)
		if m == nil {
			t.Fatalf("tasks %q", spec)
		}
		count, _ := strconv.Atoi(m[1])
		for range count {
			n := 1
			name := func() string { return fmt.Sprintf("%s-%s-%d", m[2], m[3], n) }
			for slices.ContainsFunc(in.Tasks, func(t *model.Task) bool { return t.ID == name() }) {
				n++
			}
			task := &model.Task{
				ID: name(), ServiceID: "s", StartedBy: map[string]string{"old": "ecs-svc/1", "new": "ecs-svc/2"}[m[2]],
				AvailabilityZone: m[4], InstanceID: m[5], DesiredStatus: model.TaskRunning, CreatedAt: now.Add(-time.Minute),
			}
			if m[6] != "" {
				until := now.Add(time.Hour)
				task.ProtectedUntil = &until
			}
			if m[7] != "" {
				if task.InstanceID == "" {
					task.InstanceID = "drained"
				}
				in.Instances[task.InstanceID] = rollout.Instance{}
			}
			started := now.Add(-30 * time.Second)
			task.Observed = model.TaskObserved{Status: model.TaskRunning, StartedAt: &started}
			switch m[3] {
			case "healthy":
			case "pending":
				task.Observed = model.TaskObserved{Status: model.TaskPending}
			case "waiting":
				started = now
			case "sick":
				task.TaskDefinitionARN = "checked"
				in.Checked["checked"] = []string{"app"}
				task.Observed.Containers = []model.ContainerObserved{{Name: "app", HealthStatus: model.HealthUnhealthy}}
			case "ending":
				task.DesiredStatus = model.TaskStopped
			case "gone": // failed to start
				task.DesiredStatus, task.StopCode, task.StoppedReason = model.TaskStopped, model.StopTaskFailedToStart, "CannotPullContainerError: no such image"
				task.Observed = model.TaskObserved{Status: model.TaskStopped, StoppedAt: &now}
			case "exited":
				task.DesiredStatus, task.StopCode = model.TaskStopped, model.StopEssentialContainerExited
				task.Observed = model.TaskObserved{Status: model.TaskStopped, StartedAt: &started, StoppedAt: &now}
				started = now.Add(-time.Second)
			case "lost":
				task.DesiredStatus, task.StopCode = model.TaskStopped, model.StopTerminationNotice
				task.Observed = model.TaskObserved{Status: model.TaskStopped, StartedAt: &started, StoppedAt: &now}
			default:
				t.Fatalf("tasks %q", spec)
			}
			in.Tasks = append(in.Tasks, task)
		}
	}
}

// starts reads "2 of ecs-svc/2, 1 of ecs-svc/1 in a".
func starts(d rollout.Decision) string {
	var parts []string
	for _, s := range d.Starts {
		part := fmt.Sprintf("%d of %s", s.Count, s.DeploymentID)
		if s.Replaced > 0 {
			part += fmt.Sprintf(" for %d", s.Replaced)
		}
		if s.Zone != "" {
			part += " in " + s.Zone
		}
		if s.InstanceID != "" {
			part += " on " + s.InstanceID
		}
		parts = append(parts, part)
	}
	return strings.Join(parts, ", ")
}

// stops reads "2 old-healthy, 1 new-pending": what the tasks are, without
// their numbers.
func stops(d rollout.Decision) string {
	count := map[string]int{}
	for _, s := range d.Stops {
		count[s.TaskID[:strings.LastIndex(s.TaskID, "-")]]++
	}
	var parts []string
	for kind, n := range count {
		parts = append(parts, fmt.Sprintf("%d %s", n, kind))
	}
	slices.Sort(parts)
	return strings.Join(parts, ", ")
}
