package model_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"berth.dev/berth/internal/model"
)

const (
	current  = model.StageCurrent
	previous = model.StagePrevious
	pending  = model.StagePending
)

type labels = model.SecretStages

// The steps and their results are those that were recorded of AWS.
func TestSecretStages_Recorded(t *testing.T) {
	s := labels(nil).Add("1", nil)
	for i, step := range []struct {
		do   func(labels) labels
		want map[string][]string
	}{
		{
			func(s labels) labels { return s.Add("2", []string{pending, "AWSSOMETHING", "PUT1"}) },
			map[string][]string{"1": {current}, "2": {pending, "AWSSOMETHING", "PUT1"}},
		},
		{
			func(s labels) labels { return s.Attach(current, "2") },
			map[string][]string{"1": {previous}, "2": {current, pending, "AWSSOMETHING", "PUT1"}},
		},
		{
			func(s labels) labels { return s.Add("3", []string{pending, "PUT2"}) },
			map[string][]string{"1": {previous}, "2": {current, "AWSSOMETHING", "PUT1"}, "3": {pending, "PUT2"}},
		},
		{
			func(s labels) labels { return s.Attach(current, "3") },
			map[string][]string{"2": {previous, "AWSSOMETHING", "PUT1"}, "3": {current, pending, "PUT2"}},
		},
		{func(s labels) labels { return s.Add("4", nil) }, // the pending label of the one before goes
			map[string][]string{"2": {"AWSSOMETHING", "PUT1"}, "3": {previous, "PUT2"}, "4": {current}}},
	} {
		s = step.do(s)
		if diff := cmp.Diff(step.want, s.ByVersion()); diff != "" {
			t.Errorf("step %d (-want +got):\n%s", i, diff)
		}
	}
}

func TestSecretStages_FirstVersionIsCurrent(t *testing.T) {
	s := labels(nil).Add("1", []string{pending})
	if diff := cmp.Diff([]string{current, pending}, s.Of("1")); diff != "" {
		t.Error(diff)
	}
	if s.Rotating() {
		t.Error("a rotation is said to be in progress")
	}
}

func TestSecretStages_Complete(t *testing.T) {
	s := labels(nil).Add("1", nil).Add("2", []string{pending}).Complete("2")
	if diff := cmp.Diff(map[string][]string{"1": {previous}, "2": {current}}, s.ByVersion()); diff != "" {
		t.Error(diff)
	}
}

func TestSecretStages_Properties(t *testing.T) {
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
				s = s.Add(fmt.Sprint(versions), rapid.SliceOfN(label, 0, 3).Draw(t, "labels"))
			case op == "attach":
				l, to := label.Draw(t, "label"), fmt.Sprint(rapid.IntRange(1, versions).Draw(t, "to"))
				s = s.Attach(l, to)
				if s[l] != to && (l != previous || s[current] != to) {
					t.Fatalf("%s is not on %s: %v", l, to, s)
				}
			case op == "detach":
				s = s.Detach(label.Draw(t, "label"))
			default:
				to := fmt.Sprint(rapid.IntRange(1, versions).Draw(t, "to"))
				if s = s.Complete(to); s[current] != to {
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

func TestSecretStages_Forgotten(t *testing.T) {
	now := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	var versions []*model.SecretVersion
	for i := range 105 {
		versions = append(versions, &model.SecretVersion{ID: fmt.Sprint(i), CreatedAt: now.Add(-time.Duration(105-i) * time.Hour)})
	}
	got := labels{"blue": "1"}.Forgotten(versions, now)
	slices.Sort(got)
	if diff := cmp.Diff([]string{"0", "2", "3", "4"}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if got := labels(nil).Forgotten(versions[5:], now); got != nil {
		t.Errorf("a hundred are kept, and not %v", got)
	}
	for _, v := range versions {
		v.CreatedAt = now.Add(-time.Hour)
	}
	if got := labels(nil).Forgotten(versions, now); got != nil {
		t.Errorf("young ones are kept, and not %v", got)
	}
}
