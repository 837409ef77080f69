package imagelifecycle_test

import (
	"errors"
	"flag"
	"os"
	"strings"
	"testing"

	"berth.dev/berth/internal/rules/imagelifecycle"
)

var update = flag.Bool("update", false, "write the golden file")

// What is refused, in the words behind "Lifecycle policy validation failure: ".
// [MOTO] texts are those of moto's validator, which were compared with AWS;
// [OBS] were seen in reports of users; [GK] have no source for this very text;
// [Berth] are ours.
func TestParse_Refuses(t *testing.T) {
	one := func(selection string) string {
		return `{"rules":[{"rulePriority":1,"selection":{` + selection + `},"action":{"type":"expire"}}]}`
	}
	const count = `"countType":"imageCountMoreThan","countNumber":1`
	const untagged = `"tagStatus":"untagged",` + count
	var lines []string
	for _, tc := range []struct{ name, mark, text string }{
		{"no JSON", "MOTO", `{"rules"`},
		{"a list", "MOTO", `[]`},
		{"null", "GK", `null`},
		{"no rules", "MOTO", `{"no_rules":1}`},
		{"another member", "GK", `{"rules":[],"version":1}`},
		{"rules that are no list", "GK", `{"rules":{}}`},
		{"empty rules", "GK", `{"rules":[]}`},
		{"a rule that is no object", "MOTO", `{"rules":["rule"]}`},
		{"a rule without anything", "MOTO", `{"rules":[{}]}`},
		{"another member of a rule", "MOTO", `{"rules":[{"rulePriority":1,"selection":{},"action":{},"name":"x"}]}`},
		{"a description that is no text", "GK", `{"rules":[{"rulePriority":1,"description":1,"selection":{},"action":{}}]}`},
		{"a priority that is text", "GK", `{"rules":[{"rulePriority":"1","selection":{},"action":{"type":"expire"}}]}`},
		{"a priority with a fraction", "GK", `{"rules":[{"rulePriority":1.5,"selection":{},"action":{"type":"expire"}}]}`},
		{"priority 0", "GK", `{"rules":[{"rulePriority":0,"selection":{},"action":{"type":"expire"}}]}`},
		{"a huge priority", "GK", `{"rules":[{"rulePriority":99999999999999999999,"selection":{},"action":{"type":"expire"}}]}`},
		{"a hugely negative priority", "GK", `{"rules":[{"rulePriority":-99999999999999999999,"selection":{},"action":{"type":"expire"}}]}`},
		{"no type of action", "MOTO", `{"rules":[{"rulePriority":1,"selection":{},"action":{}}]}`},
		{"another member of an action", "MOTO", `{"rules":[{"rulePriority":1,"selection":{},"action":{"type":"expire","x":1}}]}`},
		{"another action", "MOTO", `{"rules":[{"rulePriority":1,"selection":{},"action":{"type":"delete"}}]}`},
		{"transition", "Berth", `{"rules":[{"rulePriority":1,"selection":{` + untagged + `},"action":{"type":"transition","targetStorageClass":"archive"}}]}`},
		{"no selection", "MOTO", one(``)},
		{"another member of a selection", "MOTO", one(untagged + `,"x":1`)},
		{"another status", "MOTO", one(`"tagStatus":"all",` + count)},
		{"another count", "MOTO", one(`"tagStatus":"any","countType":"imageSize","countNumber":1`)},
		{"another unit", "MOTO", one(`"tagStatus":"any","countType":"sinceImagePushed","countUnit":"hours","countNumber":1`)},
		{"age without a unit", "GK", one(`"tagStatus":"any","countType":"sinceImagePushed","countNumber":1`)},
		{"count with a unit", "GK", one(`"tagStatus":"any","countType":"imageCountMoreThan","countUnit":"days","countNumber":1`)},
		{"count 0", "MOTO", one(`"tagStatus":"any","countType":"imageCountMoreThan","countNumber":0`)},
		{"the archive", "Berth", one(untagged + `,"storageClass":"archive"`)},
		{"since transition", "Berth", one(`"tagStatus":"any","countType":"sinceImageTransitioned","countUnit":"days","countNumber":1`)},
		{"tagged without tags", "OBS", one(`"tagStatus":"tagged",` + count)},
		{"tags that are no list", "GK", one(`"tagStatus":"tagged","tagPrefixList":"v",` + count)},
		{"a tag that is no text", "GK", one(`"tagStatus":"tagged","tagPrefixList":[1],` + count)},
		{"an empty prefix", "GK", one(`"tagStatus":"tagged","tagPrefixList":[""],` + count)},
		{"untagged with tags", "GK", one(`"tagPrefixList":["v"],` + untagged)},
		{"any with patterns", "GK", one(`"tagStatus":"any","tagPatternList":["v*"],` + count)},
		{"prefixes and patterns", "GK", one(`"tagStatus":"tagged","tagPrefixList":["v"],"tagPatternList":["v*"],` + count)},
		{"five wildcards", "GK", one(`"tagStatus":"tagged","tagPatternList":["*a*b*c*d*"],` + count)},
		{"a priority twice", "GK", `{"rules":[` + rule(1, untagged) + `,` + rule(1, beta1) + `]}`},
		{"two rules for untagged images", "OBS", `{"rules":[` + rule(1, untagged) + `,` + rule(2, untagged) + `]}`},
		{"any before another", "OBS", `{"rules":[` + rule(2, untagged) + `,` + rule(1, any1) + `]}`},
		{"any twice", "OBS", `{"rules":[` + rule(1, any1) + `,` + rule(2, any1) + `]}`},
		{"the same prefixes twice", "GK", `{"rules":[` + rule(1, `"tagStatus":"tagged","tagPrefixList":["a","b"],`+count) + `,` + rule(2, `"tagStatus":"tagged","tagPrefixList":["b","a"],`+count) + `]}`},
	} {
		_, err := imagelifecycle.Parse(tc.text)
		refusal, ok := errors.AsType[*imagelifecycle.Error](err)
		if !ok {
			t.Errorf("%s: %v", tc.name, err)
			continue
		}
		lines = append(lines, tc.name+": "+refusal.Message+" ["+tc.mark+"]")
	}
	got := strings.Join(lines, "\n") + "\n"
	const file = "testdata/refusals.golden"
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// Rules are in order of priority, whatever their order in the text.
func TestParse_OrdersRules(t *testing.T) {
	p := policy(t, rule(30, any14), rule(7, untagged1), rule(8, `"tagStatus":"tagged","tagPatternList":["v*"],"storageClass":"standard",`+
		`"countType":"sinceImagePulled","countUnit":"days","countNumber":2147483647`))
	if len(p.Rules) != 3 || p.Rules[0].Priority != 7 || p.Rules[1].Priority != 8 || p.Rules[2].Priority != 30 {
		t.Errorf("%+v", p.Rules)
	}
	if r := p.Rules[1]; r.TagStatus != imagelifecycle.Tagged || r.CountType != imagelifecycle.SinceImagePulled || r.Count != 2147483647 || len(r.Patterns) != 1 {
		t.Errorf("%+v", r)
	}
}

// Any text is a policy or refused, and any policy can be evaluated.
func FuzzParse(f *testing.F) {
	f.Add(`{"rules":[` + rule(1, prod1) + `,` + rule(2, any14) + `]}`)
	f.Add(`{"rules":[` + rule(1, untagged1) + `]}`)
	f.Add(`{"rules":null}`)
	f.Fuzz(func(t *testing.T, text string) {
		p, err := imagelifecycle.Parse(text)
		if _, refused := errors.AsType[*imagelifecycle.Error](err); err != nil && !refused {
			t.Fatalf("%v", err)
		}
		if err != nil {
			return
		}
		images := []imagelifecycle.Image{image("a", 2, "v1"), image("b", 1), image("c", 400, "prod")}
		p.Plan(images, now)
		p.Next(images, now)
	})
}
