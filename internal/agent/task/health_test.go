package task

import (
	"slices"
	"strings"
	"testing"
	"time"

	"berth.dev/berth/internal/model"
)

// A fold is a sequence of results, one every ten seconds from the start of the
// container: + is a success, - a failure. The verdicts after each are h
// (HEALTHY), u (UNHEALTHY) and ? (UNKNOWN).
func TestHealth_Next(t *testing.T) {
	three, two, period := int32(3), int32(2), int32(30)
	for _, test := range []struct {
		name     string
		check    model.HealthCheck
		results  string
		verdicts string
	}{
		{"one success is enough", model.HealthCheck{Retries: &three}, "+", "h"},
		{"three failures by default", model.HealthCheck{}, "---", "??u"},
		{"retries failures in a row", model.HealthCheck{Retries: &two}, "--", "?u"},
		{"a success between them starts the count anew", model.HealthCheck{Retries: &two}, "-+-+--", "?hhhhu"},
		{"it recovers", model.HealthCheck{Retries: &two}, "--+", "?uh"},
		{"failures in the start period do not count", model.HealthCheck{Retries: &two, StartPeriod: &period}, "-----", "????u"},
		{"a success in the start period counts at once", model.HealthCheck{Retries: &two, StartPeriod: &period}, "-+", "?h"},
		{"and ends it", model.HealthCheck{Retries: &two, StartPeriod: &period}, "+--", "hhu"},
	} {
		t.Run(test.name, func(t *testing.T) {
			var h Health
			var got strings.Builder
			for i, r := range test.results {
				at := time.Duration(i) * 10 * time.Second
				h = h.next(test.check, at, checkResult{OK: r == '+'})
				got.WriteString(map[string]string{model.HealthHealthy: "h", model.HealthUnhealthy: "u", model.HealthUnknown: "?"}[h.Status])
			}
			if got.String() != test.verdicts {
				t.Errorf("%s gives %s, want %s", test.results, got.String(), test.verdicts)
			}
		})
	}
}

func TestHealth_KeepsTheEndOfTheOutput(t *testing.T) {
	h := Health{}.next(model.HealthCheck{}, 0, checkResult{Output: strings.Repeat("x", maxHealthOutput) + "end"})
	if len(h.Output) != maxHealthOutput || !strings.HasSuffix(h.Output, "end") {
		t.Errorf("kept %d bytes that end with %q", len(h.Output), h.Output[len(h.Output)-3:])
	}
}

func TestCheckArgs(t *testing.T) {
	for _, test := range []struct{ command, want []string }{
		{[]string{"CMD", "/probe", "-v"}, []string{"/probe", "-v"}},
		{[]string{"CMD-SHELL", "curl -f http://localhost || exit 1"}, []string{"/bin/sh", "-c", "curl -f http://localhost || exit 1"}},
		{[]string{"/probe"}, []string{"/probe"}},
	} {
		if got := checkArgs(model.HealthCheck{Command: test.command}); !slices.Equal(got, test.want) {
			t.Errorf("%q runs %q, want %q", test.command, got, test.want)
		}
	}
}

func TestHasHealthCheck(t *testing.T) {
	for _, test := range []struct {
		check *model.HealthCheck
		want  bool
	}{
		{nil, false},
		{&model.HealthCheck{}, false},
		{&model.HealthCheck{Command: []string{"NONE"}}, false},
		{&model.HealthCheck{Command: []string{"CMD", "true"}}, true},
	} {
		if got := hasHealthCheck(&model.ContainerDefinition{HealthCheck: test.check}); got != test.want {
			t.Errorf("%+v: %t", test.check, got)
		}
	}
}
