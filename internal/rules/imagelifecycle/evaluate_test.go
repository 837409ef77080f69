package imagelifecycle_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"berth.dev/berth/internal/rules/imagelifecycle"
)

var now = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func daysAgo(n int) time.Time { return now.AddDate(0, 0, -n) }

func image(digest string, days int, tags ...string) imagelifecycle.Image {
	return imagelifecycle.Image{Digest: digest, PushedAt: daysAgo(days), Tags: tags}
}

// rule writes one rule; selection is what stands behind tagStatus.
func rule(priority int, selection string) string {
	return fmt.Sprintf(`{"rulePriority":%d,"selection":{%s},"action":{"type":"expire"}}`, priority, selection)
}

func policy(t interface{ Fatal(args ...any) }, rules ...string) *imagelifecycle.Policy {
	p, err := imagelifecycle.Parse(`{"rules":[` + strings.Join(rules, ",") + `]}`)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// said is a plan in words: "a:1 b:2".
func said(plan []imagelifecycle.Expiry) string {
	var all []string
	for _, e := range plan {
		all = append(all, fmt.Sprintf("%s:%d", e.Digest, e.Priority))
	}
	return strings.Join(all, " ")
}

const (
	prod1     = `"tagStatus":"tagged","tagPrefixList":["prod"],"countType":"imageCountMoreThan","countNumber":1`
	beta1     = `"tagStatus":"tagged","tagPrefixList":["beta"],"countType":"imageCountMoreThan","countNumber":1`
	untagged1 = `"tagStatus":"untagged","countType":"imageCountMoreThan","countNumber":1`
	any1      = `"tagStatus":"any","countType":"imageCountMoreThan","countNumber":1`
	any14     = `"tagStatus":"any","countType":"sinceImagePushed","countUnit":"days","countNumber":14`
)

func TestPlan(t *testing.T) {
	pulled := func(i imagelifecycle.Image, days int) imagelifecycle.Image { i.PulledAt = daysAgo(days); return i }
	index := func(i imagelifecycle.Image, of ...string) imagelifecycle.Image { i.Manifests = of; return i }
	attached := func(i imagelifecycle.Image, to string) imagelifecycle.Image { i.Subject = to; return i }
	for _, tc := range []struct {
		name   string
		rules  []string
		images []imagelifecycle.Image
		want   string
	}{
		// The examples of the user guide.
		{
			"by age",
			[]string{rule(1, `"tagStatus":"tagged","tagPatternList":["prod*"],"countType":"sinceImagePushed","countUnit":"days","countNumber":14`)},
			[]imagelifecycle.Image{image("a", 15, "prod"), image("b", 13, "prod1"), image("c", 20, "beta"), image("d", 20)},
			"a:1",
		},
		{"one untagged image", []string{rule(1, untagged1)}, []imagelifecycle.Image{image("a", 3), image("b", 2), image("c", 1), image("d", 9, "v1")}, "a:1 b:1"},
		{
			"example A of several rules: what rule 1 asks for, rule 2 leaves",
			[]string{rule(1, prod1), rule(2, beta1)},
			[]imagelifecycle.Image{image("a", 10, "beta-1", "prod-1"), image("b", 9, "beta-2", "prod-2"), image("c", 8, "beta-3")},
			"a:1",
		},
		{
			"example B of several rules",
			[]string{rule(1, beta1), rule(2, prod1)},
			[]imagelifecycle.Image{image("a", 10, "beta-1", "prod-1"), image("b", 9, "beta-2", "prod-2"), image("c", 8, "beta-3")},
			"a:1 b:1",
		},
		{
			"several tags in one rule: each must be there",
			[]string{
				rule(1, `"tagStatus":"tagged","tagPatternList":["alpha*"],"countType":"sinceImagePushed","countUnit":"days","countNumber":5`),
				rule(2, `"tagStatus":"tagged","tagPatternList":["alpha*","beta*"],"countType":"sinceImagePushed","countUnit":"days","countNumber":5`),
			},
			[]imagelifecycle.Image{image("a", 12, "alpha-1"), image("b", 11, "beta-1"), image("c", 10, "alpha-2", "beta-2"), image("d", 4, "alpha-3"), image("e", 4, "alpha-4", "beta-4")},
			"a:1 c:1",
		},
		{
			"all images",
			[]string{rule(1, prod1), rule(2, beta1), rule(3, any1)},
			[]imagelifecycle.Image{image("a", 12, "alpha-1"), image("b", 11, "beta-1"), image("c", 10, "alpha-2", "beta-2"), image("d", 9), image("e", 8, "prod")},
			"a:3 b:2 d:3",
		},

		{"any, by count", []string{rule(1, any1)}, []imagelifecycle.Image{image("a", 2, "x"), image("b", 1)}, "a:1"},
		{"the very age is not older", []string{rule(1, any14)}, []imagelifecycle.Image{image("a", 14)}, ""},
		{
			"since pulled, or pushed if it never was",
			[]string{rule(1, `"tagStatus":"any","countType":"sinceImagePulled","countUnit":"days","countNumber":14`)},
			[]imagelifecycle.Image{pulled(image("a", 99), 1), pulled(image("b", 99), 20), image("c", 20)},
			"b:1 c:1",
		},
		{"pushed at the same time", []string{rule(1, untagged1)}, []imagelifecycle.Image{image("b", 1), image("a", 1)}, "b:1"},

		// Images that others need.
		{
			"an index keeps its images",
			[]string{rule(1, untagged1)},
			[]imagelifecycle.Image{index(image("index", 20, "v1"), "amd", "arm"), image("amd", 21), image("arm", 21), image("x", 30), image("y", 1)},
			"x:1",
		},
		{
			"and when it goes, they go after it",
			[]string{rule(1, any14)},
			[]imagelifecycle.Image{index(image("index", 20, "v1"), "amd", "arm"), image("amd", 22), image("arm", 21)},
			"index:1 amd:1 arm:1",
		},
		{
			"unless another index has them",
			[]string{rule(1, any14)},
			[]imagelifecycle.Image{index(image("index", 20, "v1"), "amd"), index(image("young", 2, "v2"), "amd"), image("amd", 22)},
			"index:1",
		},
		{
			"what is attached stays while its subject does",
			[]string{rule(1, untagged1)},
			[]imagelifecycle.Image{image("app", 20, "v1"), attached(image("signature", 20), "app"), attached(image("of the signature", 20), "signature"), image("y", 1), image("z", 1)},
			"z:1",
		},
		{
			"and goes with it",
			[]string{rule(1, any14)},
			[]imagelifecycle.Image{image("app", 20, "v1"), attached(image("signature", 1), "app"), attached(image("of the signature", 1), "signature")},
			"app:1 signature:1 of the signature:1",
		},
		{"attached to what is not there", []string{rule(1, any14)}, []imagelifecycle.Image{attached(image("signature", 20), "app"), attached(image("new", 2), "app")}, "signature:1"},
		{"attached to itself", []string{rule(1, any14)}, []imagelifecycle.Image{attached(image("a", 20), "a")}, "a:1"},
	} {
		p := policy(t, tc.rules...)
		if got := said(p.Plan(tc.images, now)); got != tc.want {
			t.Errorf("%s: %s, want %s", tc.name, got, tc.want)
		}
	}
}

func TestPatterns(t *testing.T) {
	for _, tc := range []struct {
		pattern, tag string
		fits         bool
	}{
		{"v1", "v1", true},
		{"v1", "v1.0", false},
		{"v1*", "v1.0", true},
		{"*", "x", true},
		{"*-rc*", "v1-rc2", true},
		{"*-rc*", "v1-rd2", false},
		{"a*a", "a", false},
		{"a*a", "aa", true},
		{"*a*b*", "xbxaxb", true},
		{"*ab*ab", "xab", false},
		{"v*.*.*", "v1.2.3", true},
		{"V*", "v1", false},
	} {
		p := policy(t, rule(1, fmt.Sprintf(`"tagStatus":"tagged","tagPatternList":[%q],"countType":"sinceImagePushed","countUnit":"days","countNumber":1`, tc.pattern)))
		if got := len(p.Plan([]imagelifecycle.Image{image("a", 2, tc.tag)}, now)) == 1; got != tc.fits {
			t.Errorf("%s and %s: %t", tc.pattern, tc.tag, got)
		}
	}
}

// drawPolicy draws rules that may overlap.
func drawPolicy(t *rapid.T) *imagelifecycle.Policy {
	count := func(label string) string {
		n := rapid.IntRange(1, 6).Draw(t, label)
		kind := rapid.SampledFrom([]string{"imageCountMoreThan", "sinceImagePushed", "sinceImagePulled"}).Draw(t, "type")
		if kind == "imageCountMoreThan" {
			return fmt.Sprintf(`"countType":"%s","countNumber":%d`, kind, n)
		}
		return fmt.Sprintf(`"countType":"%s","countUnit":"days","countNumber":%d`, kind, n)
	}
	var rules []string
	lists := rapid.SliceOfNDistinct(rapid.SampledFrom([]string{`"a"`, `"b"`, `"a","b"`, `"c"`}), 0, 3, rapid.ID).Draw(t, "prefixes")
	for _, list := range lists {
		rules = append(rules, `"tagStatus":"tagged","tagPrefixList":[`+list+`],`+count("tagged"))
	}
	if rapid.Bool().Draw(t, "untagged") {
		rules = append(rules, `"tagStatus":"untagged",`+count("untagged"))
	}
	if rapid.Bool().Draw(t, "any") || len(rules) == 0 {
		rules = append(rules, `"tagStatus":"any",`+count("any"))
	}
	for i, selection := range rules {
		rules[i] = rule(i+1, selection)
	}
	return policy(t, rules...)
}

// drawImages draws a repository: indexes of images in it, attachments, tags.
func drawImages(t *rapid.T) []imagelifecycle.Image {
	n := rapid.IntRange(0, 12).Draw(t, "images")
	var all []imagelifecycle.Image
	for i := range n {
		image := imagelifecycle.Image{
			Digest:   fmt.Sprint("sha256:", i),
			PushedAt: daysAgo(rapid.IntRange(0, 8).Draw(t, "age")),
			Tags:     rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"a1", "a2", "b1", "c1", "d"}), 0, 3, rapid.ID).Draw(t, "tags"),
		}
		if rapid.Bool().Draw(t, "pulled") {
			image.PulledAt = daysAgo(rapid.IntRange(0, 8).Draw(t, "pulled"))
		}
		// A digest is of what came before: there are no circles.
		if i > 0 && rapid.IntRange(0, 3).Draw(t, "index") == 0 {
			image.Manifests = []string{fmt.Sprint("sha256:", rapid.IntRange(0, i-1).Draw(t, "child"))}
		}
		if i > 0 && rapid.IntRange(0, 4).Draw(t, "attached") == 0 {
			image.Subject = fmt.Sprint("sha256:", rapid.IntRange(0, i-1).Draw(t, "subject"))
		}
		all = append(all, image)
	}
	return all
}

func TestPlan_Properties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p, images := drawPolicy(t), drawImages(t)
		plan := p.Plan(images, now)

		left := slices.Clone(images)
		for i, e := range plan {
			at := slices.IndexFunc(left, func(x imagelifecycle.Image) bool { return x.Digest == e.Digest })
			if at < 0 {
				t.Fatalf("%s is expired twice", e.Digest)
			}
			left = slices.Delete(left, at, at+1)
			for _, other := range left {
				if slices.Contains(other.Manifests, e.Digest) {
					t.Fatalf("step %d takes %s from %s", i, e.Digest, other.Digest)
				}
			}
		}
		if again := p.Plan(left, now); len(again) > 0 {
			t.Fatalf("a second run takes %s as well", said(again))
		}
		shuffled := rapid.Permutation(images).Draw(t, "shuffled")
		if other := said(p.Plan(shuffled, now)); other != said(plan) {
			t.Fatalf("%s, but in another order %s", said(plan), other)
		}
		// Until the next date nothing happens by itself.
		if next := p.Next(left, now); !next.IsZero() {
			if !next.After(now) {
				t.Fatalf("the next date %s is not in the future", next)
			}
			if early := p.Plan(left, next.Add(-time.Nanosecond)); len(early) > 0 {
				t.Fatalf("%s before the next date %s", said(early), next)
			}
		} else if late := p.Plan(left, now.AddDate(100, 0, 0)); len(late) > 0 {
			t.Fatalf("%s in time, but there is no next date", said(late))
		}
	})
}

// A rule takes an image only if no rule of higher priority asks for its tags,
// and a count leaves as many as it says.
func TestPlan_Claims(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		images := drawImages(t)
		for i := range images {
			images[i].Manifests, images[i].Subject = nil, ""
		}
		keep := rapid.IntRange(1, 4).Draw(t, "keep")
		p := policy(t, rule(1, fmt.Sprintf(`"tagStatus":"tagged","tagPrefixList":["a"],"countType":"imageCountMoreThan","countNumber":%d`, keep)),
			rule(2, `"tagStatus":"any","countType":"sinceImagePushed","countUnit":"days","countNumber":1`))
		first := map[string]bool{}
		with := 0
		for _, i := range images {
			if slices.ContainsFunc(i.Tags, func(tag string) bool { return strings.HasPrefix(tag, "a") }) {
				first[i.Digest] = true
				with++
			}
		}
		for _, e := range p.Plan(images, now) {
			if first[e.Digest] != (e.Priority == 1) {
				t.Fatalf("rule %d takes %s", e.Priority, e.Digest)
			}
			if first[e.Digest] {
				with--
			}
		}
		if len(first) > 0 && with != min(keep, len(first)) {
			t.Fatalf("%d are left of %d, the rule says %d", with, len(first), keep)
		}
	})
}
