package placement

import "berth.dev/berth/internal/model"

// Distribute names the capacity provider of each of count tasks: first the
// base of the item that has one, then in proportion to the weights, each task
// going to the provider that is furthest behind its share, the earlier one on
// a tie. Tasks beyond the base have no provider when no item has a weight; the
// result is then shorter than count.
func Distribute(strategy []model.CapacityProviderStrategyItem, count int) []string {
	var names []string
	var weights int64
	for _, item := range strategy {
		weights += int64(item.Weight)
		for range min(int(item.Base), count-len(names)) {
			names = append(names, item.CapacityProvider)
		}
	}
	if weights == 0 {
		return names
	}
	given := make([]int64, len(strategy)) // tasks beyond the base
	rest := int64(count - len(names))
	for n := int64(1); n <= rest; n++ {
		best, most := -1, int64(0)
		for i, item := range strategy {
			// weight/weights of the n tasks so far, less what it has, in
			// units of 1/weights.
			if behind := int64(item.Weight)*n - given[i]*weights; item.Weight > 0 && (best < 0 || behind > most) {
				best, most = i, behind
			}
		}
		given[best]++
		names = append(names, strategy[best].CapacityProvider)
	}
	return names
}
