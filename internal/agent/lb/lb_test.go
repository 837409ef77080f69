package lb

import (
	"testing"
)

func TestForwards(t *testing.T) {
	l := newLab(t)
	one, two := l.site("one"), l.site("two")
	doc := l.balancer(one, two)
	a := l.start()
	l.apply(a, doc)
	l.healthy(doc.LoadBalancer.ID, one, two)

	seen := map[string]bool{}
	outside := l.client(l.host)
	for range 10 {
		seen[get(t, outside, "http://"+publicAddress+":80/").body] = true
	}
	if len(seen) != 2 || !seen["one"] || !seen["two"] {
		t.Errorf("answers from %v, want from one and two", seen)
	}
	inside := l.client(one.path)
	echo := get(t, inside, "http://"+doc.Interfaces[0].Address+":80/echo").body
	t.Log(echo)
}
