package imagelifecycle

import (
	"cmp"
	"slices"
	"time"
)

// Plan returns what the policy expires of a repository's images: oldest first,
// but an index before the images that it held, and an image before what is
// attached to it. Deleting them one after the other in this order is possible
// at every step.
func (p *Policy) Plan(images []Image, now time.Time) []Expiry {
	// From youngest to oldest. The order of two that came at the same time must
	// not depend on anything but themselves.
	left := slices.Clone(images)
	slices.SortFunc(left, func(a, b Image) int {
		return cmp.Or(b.PushedAt.Compare(a.PushedAt), cmp.Compare(a.Digest, b.Digest))
	})
	var plan []Expiry
	for {
		expired := p.round(left, now)
		if len(expired) == 0 {
			return plan
		}
		plan = append(plan, expired...)
		gone := make(map[string]bool, len(expired))
		for _, e := range expired {
			gone[e.Digest] = true
		}
		left = slices.DeleteFunc(left, func(i Image) bool { return gone[i.Digest] })
	}
}

// round is one run of the rules on images, youngest first.
func (p *Policy) round(images []Image, now time.Time) []Expiry {
	kept := keptBy(images)
	claimed := make([]bool, len(images)) // by a rule that asks for their tags
	taken := map[string]int32{}          // priorities by digest
	var expired []Expiry
	for r := range p.Rules {
		rule := &p.Rules[r]
		n := 0
		for i := range images {
			image := &images[i]
			if kept.attached[image.Digest] || !rule.selects(image) {
				continue
			}
			if rule.takes(image, n, now) && !claimed[i] && !kept.held[image.Digest] {
				expired = append(expired, Expiry{image.Digest, rule.Priority})
				taken[image.Digest] = rule.Priority
			}
			claimed[i] = true
			n++
		}
	}
	return append(oldestFirst(images, expired), attachments(images, kept, taken)...)
}

// oldestFirst orders expiries of images, which are youngest first.
func oldestFirst(images []Image, expired []Expiry) []Expiry {
	place := make(map[string]int, len(images))
	for i := range images {
		place[images[i].Digest] = i
	}
	slices.SortFunc(expired, func(a, b Expiry) int { return place[b.Digest] - place[a.Digest] })
	return expired
}

// kept is what may not be expired for the sake of another image.
type kept struct {
	held     map[string]bool // an index refers to it
	attached map[string]bool // its subject is there
}

func keptBy(images []Image) kept {
	k := kept{held: map[string]bool{}, attached: map[string]bool{}}
	there := make(map[string]bool, len(images))
	for i := range images {
		there[images[i].Digest] = true
		for _, digest := range images[i].Manifests {
			k.held[digest] = true
		}
	}
	for i := range images {
		if there[images[i].Subject] && images[i].Subject != images[i].Digest {
			k.attached[images[i].Digest] = true
		}
	}
	return k
}

// attachments are what goes with images that are taken, and with each other.
func attachments(images []Image, k kept, taken map[string]int32) []Expiry {
	var expired []Expiry
	for more := true; more; {
		more = false
		for i := len(images) - 1; i >= 0; i-- {
			image := &images[i]
			_, already := taken[image.Digest]
			priority, goes := taken[image.Subject]
			if already || !goes || !k.attached[image.Digest] || k.held[image.Digest] {
				continue
			}
			taken[image.Digest] = priority
			expired = append(expired, Expiry{image.Digest, priority})
			more = true
		}
	}
	return expired
}

// Next is when, by the passing of time alone, the policy may expire more of the
// images than now; zero for never.
func (p *Policy) Next(images []Image, now time.Time) time.Time {
	var next time.Time
	for r := range p.Rules {
		for i := range images {
			at, ok := p.Rules[r].aged(&images[i])
			if !ok || now.After(at) || !p.Rules[r].selects(&images[i]) {
				continue
			}
			// Older than, not as old as.
			at = at.Add(time.Nanosecond)
			if next.IsZero() || at.Before(next) {
				next = at
			}
		}
	}
	return next
}
