package lb

import (
	"context"
	"strings"
	"sync"
	"testing"

	"berth.dev/berth/internal/agent/logdriver"
	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/rules/routing"
)

// A logbook is a sink that keeps what it is given.
type logbook struct {
	mu    sync.Mutex
	lines map[string][]string // by group and stream
}

func (b *logbook) EnsureStream(ctx context.Context, of logdriver.Source, createGroup bool) error {
	return nil
}

func (b *logbook) Deliver(ctx context.Context, of logdriver.Source, events []logdriver.Event) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, e := range events {
		b.lines[of.Group+" "+of.Stream] = append(b.lines[of.Group+" "+of.Stream], e.Message)
	}
	return nil
}

func (b *logbook) of(group, stream string) []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.lines[group+" "+stream]
}

func TestAccessLog(t *testing.T) {
	l := newLab(t)
	one := l.site("one")
	doc := l.balancer(one)
	doc.LoadBalancer.Attributes = map[string]string{routing.AccessLogGroup: "/lb/web"}
	doc.Rules = []model.ListenerRule{rule(&doc.Listeners[0], 7, fixed("418", "text/plain", "tea"), model.RuleCondition{Field: "path-pattern", Values: []string{"/tea"}})}
	book := &logbook{lines: map[string][]string{}}
	withLogs := func(c *Config) { c.Logs = book }
	a := l.start(withLogs)
	l.apply(a, doc)
	l.healthy(doc.LoadBalancer.ID, one)
	get(t, l.client(l.host), publicURL+"a%20b?x=\"y\"", "User-Agent", "me\tand \"you\"")
	// What is asked while no agent runs is delivered by the next one.
	l.eventually("one line", func() bool { return len(book.of("/lb/web", doc.LoadBalancer.ID)) == 1 })
	a.stop()
	get(t, l.client(l.host), publicURL+"tea")
	l.apply(l.start(withLogs), doc)
	l.eventually("two lines", func() bool { return len(book.of("/lb/web", doc.LoadBalancer.ID)) >= 2 })
	lines := book.of("/lb/web", doc.LoadBalancer.ID)
	for i, want := range [][]string{
		{
			"http 2", " " + doc.LoadBalancer.ID + " 127.0.0.1:", " " + one.key() + " ", " 200 200 ", `"GET http://127.64.0.9:80/a%20b?x=\x22y\x22 HTTP/1.1" "me\x09and \x22you\x22"`,
			" " + doc.TargetGroups[0].ARN + ` "Root=1-`, ` 0 2`, `"forward" "-"`, `"` + one.key() + `" "200"`,
		},
		{"http 2", " - -1 -1 -1 418 - ", `/tea HTTP/1.1"`, ` 7 2`, `"fixed-response"`},
	} {
		for _, part := range want {
			if !strings.Contains(lines[i], part) {
				t.Errorf("line %d lacks %q:\n%s", i, part, lines[i])
			}
		}
		if n := len(splitLine(lines[i])); n != 29 {
			t.Errorf("line %d has %d fields, want 29:\n%s", i, n, lines[i])
		}
	}
}

// splitLine splits at spaces outside quotation marks.
func splitLine(line string) []string {
	var fields []string
	for rest := line; rest != ""; {
		var field string
		if strings.HasPrefix(rest, `"`) {
			field, rest, _ = strings.Cut(rest[1:], `"`)
			rest = strings.TrimPrefix(rest, " ")
		} else {
			field, rest, _ = strings.Cut(rest, " ")
		}
		fields = append(fields, field)
	}
	return fields
}
