package placement_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/rules/placement"
)

func TestDistribute(t *testing.T) {
	type strategy = []model.CapacityProviderStrategyItem
	for _, tc := range []struct {
		name     string
		strategy strategy
		count    int
		want     []string
	}{
		{"one", strategy{{CapacityProvider: "A", Weight: 1}}, 2, []string{"A", "A"}},
		{"one to four", strategy{{CapacityProvider: "A", Weight: 1}, {CapacityProvider: "B", Weight: 4}}, 5, []string{"B", "B", "A", "B", "B"}},
		{"base first", strategy{{CapacityProvider: "A", Weight: 1}, {CapacityProvider: "B", Weight: 1, Base: 2}}, 4, []string{"B", "B", "A", "B"}},
		{"base larger than count", strategy{{CapacityProvider: "A", Base: 9}}, 2, []string{"A", "A"}},
		{"no weights", strategy{{CapacityProvider: "A", Base: 1}}, 2, []string{"A"}},
	} {
		if diff := cmp.Diff(tc.want, placement.Distribute(tc.strategy, tc.count)); diff != "" {
			t.Errorf("%s: %s", tc.name, diff)
		}
	}
}

// Beyond the base, no provider is ever a whole task away from its share.
func TestDistribute_KeepsShares(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		strategy := []model.CapacityProviderStrategyItem{
			{CapacityProvider: "A", Weight: rapid.Int32Range(0, 1000).Draw(t, "A")},
			{CapacityProvider: "B", Weight: rapid.Int32Range(1, 1000).Draw(t, "B")},
		}
		count := rapid.IntRange(0, 50).Draw(t, "count")
		a := 0
		names := placement.Distribute(strategy, count)
		for i, name := range names {
			if name == "A" {
				a++
			}
			share := float64(strategy[0].Weight) / float64(strategy[0].Weight+strategy[1].Weight) * float64(i+1)
			if d := float64(a) - share; d > 1 || d < -1 {
				t.Fatalf("after %d tasks A has %d, its share is %f", i+1, a, share)
			}
		}
		if len(names) != count {
			t.Fatalf("%d of %d", len(names), count)
		}
	})
}
