package routing

import (
	"fmt"
	"strings"

	"berth.dev/berth/internal/model"
)

// Reasons of a target's health, in AWS's words.
const (
	ReasonRegistering  = "Elb.RegistrationInProgress"
	ReasonInitial      = "Elb.InitialHealthChecking"
	ReasonCodeMismatch = "Target.ResponseCodeMismatch"
	ReasonTimeout      = "Target.Timeout"
	ReasonFailed       = "Target.FailedHealthChecks"
)

// A Result is the outcome of one health check. Reason and Description say why it failed.
type Result struct {
	Passed              bool
	Reason, Description string
}

// Results of checks.
var (
	passed   = Result{Passed: true}
	timedOut = Result{Reason: ReasonTimeout, Description: "Request timed out"}
	failed   = Result{Reason: ReasonFailed, Description: "Health checks failed"}
)

// Passed is the result of a check that the target passed.
func Passed() Result { return passed }

// TimedOut is the result of a check that was not answered in time.
func TimedOut() Result { return timedOut }

// Failed is the result of a check that failed otherwise: no connection, no understandable answer.
func Failed() Result { return failed }

// Mismatch is the result of a check that was answered with a code that the matcher has not.
func Mismatch(code int) Result {
	return Result{Reason: ReasonCodeMismatch, Description: fmt.Sprintf("Health checks failed with these codes: [%d]", code)}
}

// Health is a target's health from check to check.
type Health struct {
	State       string `json:"state"` // initial, healthy or unhealthy
	Reason      string `json:"reason,omitempty"`
	Description string `json:"description,omitempty"`
	// Row is how many results of the kind that would change State came in a row.
	Row int `json:"row,omitempty"`
}

// Registered is the health of a target that was just registered.
func Registered() Health {
	return Health{State: model.TargetInitial, Reason: ReasonInitial, Description: "Initial health checks in progress"}
}

// Next is the health after one more check. One success makes a new target healthy; after that it takes as many in a row as
// the thresholds say to change its state.
func (h Health) Next(r Result, check model.TargetHealthCheck) Health {
	if r.Passed {
		switch {
		case h.State == model.TargetHealthy:
			return Health{State: model.TargetHealthy}
		case h.State == model.TargetInitial, h.Row+1 >= int(check.HealthyThreshold):
			return Health{State: model.TargetHealthy}
		}
		h.Row++
		return h
	}
	if h.State == model.TargetUnhealthy {
		return Health{State: model.TargetUnhealthy, Reason: r.Reason, Description: r.Description}
	}
	if h.Row+1 >= int(check.UnhealthyThreshold) {
		return Health{State: model.TargetUnhealthy, Reason: r.Reason, Description: r.Description}
	}
	h.Row++
	return h
}

// Verdict is the result of HAProxy's last check of a server, from the columns check_status and check_code of its
// statistics. False means that there is none yet.
func Verdict(status string, code int) (Result, bool) {
	status = strings.TrimPrefix(status, "* ") // a further check is on its way
	switch status {
	case "", "INI", "UNK":
		return Result{}, false
	case "L4OK", "L6OK", "L7OK", "L7OKC":
		return passed, true
	case "L4TOUT", "L6TOUT", "L7TOUT", "PROCTOUT":
		return timedOut, true
	case "L7STS":
		if code > 0 && code != 200 {
			return Mismatch(code), true
		}
	}
	return failed, true
}

// Serving returns which of n targets new requests may go to. Those that drain get none; if no other is healthy, all that
// have been checked get some, which is AWS's way to fail: better a target that may be ill than no answer.
func Serving(n int, health func(i int) (state string, draining bool)) []int {
	var healthy, checked []int
	for i := range n {
		state, draining := health(i)
		switch {
		case draining:
		case state == model.TargetHealthy:
			healthy = append(healthy, i)
		case state == model.TargetUnhealthy:
			checked = append(checked, i)
		}
	}
	if len(healthy) > 0 {
		return healthy
	}
	return checked
}
