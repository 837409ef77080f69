package staging_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/rules/staging"
)

const (
	current  = model.StageCurrent
	previous = model.StagePrevious
	pending  = model.StagePending
)

type labels = map[string]string

// The steps and their results are those that were recorded of AWS.
func TestRecorded(t *testing.T) {
	s := staging.Add(nil, "1", nil)
	for i, step := range []struct {
		do   func(labels) labels
		want map[string][]string
	}{
		{func(s labels) labels { return staging.Add(s, "2", []string{pending, "AWSSOMETHING", "PUT1"}) },
			map[string][]string{"1": {current}, "2": {pending, "AWSSOMETHING", "PUT1"}}},
		{func(s labels) labels { return staging.Attach(s, current, "2") },
			map[string][]string{"1": {previous}, "2": {current, pending, "AWSSOMETHING", "PUT1"}}},
		{func(s labels) labels { return staging.Add(s, "3", []string{pending, "PUT2"}) },
			map[string][]string{"1": {previous}, "2": {current, "AWSSOMETHING", "PUT1"}, "3": {pending, "PUT2"}}},
		{func(s labels) labels { return staging.Attach(s, current, "3") },
			map[string][]string{"2": {previous, "AWSSOMETHING", "PUT1"}, "3": {current, pending, "PUT2"}}},
		{func(s labels) labels { return staging.Add(s, "4", nil) }, // the pending label of the one before goes
			map[string][]string{"2": {"AWSSOMETHING", "PUT1"}, "3": {previous, "PUT2"}, "4": {current}}},
	} {
		s = step.do(s)
		if diff := cmp.Diff(step.want, staging.ByVersion(s)); diff != "" {
			t.Errorf("step %d (-want +got):\n%s", i, diff)
		}
	}
}

func TestFirstVersionIsCurrent(t *testing.T) {
	s := staging.Add(nil, "1", []string{pending})
	if diff := cmp.Diff([]string{current, pending}, staging.Of(s, "1")); diff != "" {
		t.Error(diff)
	}
	if staging.Pending(s) {
		t.Error("a rotation is said to be in progress")
	}
}

func TestComplete(t *testing.T) {
	s := staging.Complete(staging.Add(staging.Add(nil, "1", nil), "2", []string{pending}), "2")
	if diff := cmp.Diff(map[string][]string{"1": {previous}, "2": {current}}, staging.ByVersion(s)); diff != "" {
		t.Error(diff)
	}
}

func TestProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var s labels
		versions := 0
		label := rapid.SampledFrom([]string{current, previous, pending, "blue", "green"})
		for range rapid.IntRange(1, 30).Draw(t, "steps") {
			before := fmt.Sprint(s)
			input := s
			old := s[current]
			switch op := rapid.SampledFrom([]string{"add", "attach", "detach", "complete"}).Draw(t, "op"); {
			case op == "add" || versions == 0:
				versions++
				s = staging.Add(s, fmt.Sprint(versions), rapid.SliceOfN(label, 0, 3).Draw(t, "labels"))
			case op == "attach":
				l, to := label.Draw(t, "label"), fmt.Sprint(rapid.IntRange(1, versions).Draw(t, "to"))
				if l == previous && s[current] == to {
					continue // refused by the provider
				}
				s = staging.Attach(s, l, to)
				if s[l] != to {
					t.Fatalf("%s is not on %s: %v", l, to, s)
				}
			case op == "detach":
				s = staging.Detach(s, label.Draw(t, "label"))
			default:
				to := fmt.Sprint(rapid.IntRange(1, versions).Draw(t, "to"))
				if s = staging.Complete(s, to); s[current] != to {
					t.Fatalf("%s is not current: %v", to, s)
				}
			}
			if fmt.Sprint(input) != before {
				t.Fatalf("the labels that were given changed: %s, %v", before, input)
			}
			if s[current] == "" {
				t.Fatalf("nothing is current: %v", s)
			}
			if s[current] == s[previous] {
				t.Fatalf("a version is before itself: %v", s)
			}
			if old != "" && old != s[current] && s[previous] != old && s[previous] != fmt.Sprint(versions) {
				t.Fatalf("%s was current, and now %v", old, s)
			}
		}
	})
}

func TestForgotten(t *testing.T) {
	now := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	var versions []*model.SecretVersion
	for i := range 105 {
		versions = append(versions, &model.SecretVersion{ID: fmt.Sprint(i), CreatedAt: now.Add(-time.Duration(105-i) * time.Hour)})
	}
	got := staging.Forgotten(versions, labels{"blue": "1"}, now)
	slices.Sort(got)
	if diff := cmp.Diff([]string{"0", "2", "3", "4"}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if got := staging.Forgotten(versions[5:], nil, now); got != nil {
		t.Errorf("a hundred are kept, and not %v", got)
	}
	for _, v := range versions {
		v.CreatedAt = now.Add(-time.Hour)
	}
	if got := staging.Forgotten(versions, nil, now); got != nil {
		t.Errorf("young ones are kept, and not %v", got)
	}
}
