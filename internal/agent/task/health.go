package task

import (
	"time"

	"berth.dev/berth/internal/model"
)

// Health is the running verdict of a container's health check.
type Health struct {
	Status   string `json:"status,omitempty"`
	Failures int    `json:"failures,omitempty"` // in a row, outside the start period
	Output   string `json:"output,omitempty"`   // the tail of the last check's output
}

func (h Health) status() string {
	if h.Status == "" {
		return model.HealthUnknown
	}
	return h.Status
}

// maxHealthOutput is how much of a check's output is kept for the user, as
// Docker keeps 4 KiB.
const maxHealthOutput = 4 << 10

// checkResult is the outcome of one run of a health check.
type checkResult struct {
	OK     bool
	Output string
}

// next folds one result into the verdict (behaviour/task-lifecycle.md §8): a
// success is HEALTHY at once, even inside the start period; failures inside it
// do not count; `retries` failures in a row are UNHEALTHY.
func (h Health) next(check model.HealthCheck, sinceStart time.Duration, r checkResult) Health {
	out := Health{Status: h.status(), Failures: h.Failures, Output: tail(r.Output, maxHealthOutput)}
	if r.OK {
		out.Status, out.Failures = model.HealthHealthy, 0
		return out
	}
	if sinceStart < seconds(check.StartPeriod, 0) && out.Status != model.HealthHealthy {
		return out
	}
	out.Failures++
	if out.Failures >= int(value(check.Retries, 3)) {
		out.Status = model.HealthUnhealthy
	}
	return out
}

func hasHealthCheck(def *model.ContainerDefinition) bool {
	return def.HealthCheck != nil && len(def.HealthCheck.Command) > 0 && def.HealthCheck.Command[0] != "NONE"
}

// checkArgs is the argument vector of a health check.
func checkArgs(check model.HealthCheck) []string {
	switch check.Command[0] {
	case "CMD":
		return check.Command[1:]
	case "CMD-SHELL":
		return []string{"/bin/sh", "-c", check.Command[len(check.Command)-1]}
	default:
		return check.Command
	}
}

func tail(s string, n int) string {
	if len(s) > n {
		return s[len(s)-n:]
	}
	return s
}

func value(p *int32, otherwise int32) int32 {
	if p == nil {
		return otherwise
	}
	return *p
}

func seconds(p *int32, otherwise int32) time.Duration {
	return time.Duration(value(p, otherwise)) * time.Second
}
