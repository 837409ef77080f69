package task

import (
	"context"

	"berth.dev/berth/internal/model"
)

// progress is how far the image of a container has come.
type progress struct {
	container string
	pull      model.PullProgress
}

// pulling reports how far an image has come. It is not part of the state: it
// goes under the number of the state's report, once that is durable, and again
// after the report of the next state. So a pull writes nothing to the journal.
func (r *runner) pulling(ctx context.Context, p progress) {
	if c := r.s.container(p.container); c == nil || c.Phase != PhaseNone || c.Image != nil {
		return // it came before its outcome and is considered after it
	}
	r.pulls[p.container] = p.pull
	select {
	case <-r.saved:
	default:
		saved := r.saved
		r.wg.Go(func() {
			if await(ctx, saved) {
				r.send(message{progress: &p})
			}
		})
		return
	}
	observed := r.s.Observed(&r.a)
	for i := range observed.Containers {
		if pull, ok := r.pulls[observed.Containers[i].Name]; ok {
			observed.Containers[i].Pull = &pull
		}
	}
	r.e.cfg.Report(r.id, observed)
}

// pullingStill reports the pulls anew when a new state's report has hidden them.
func (r *runner) pullingStill(ctx context.Context) {
	if r.told == r.saved {
		return
	}
	r.told = r.saved
	for container, pull := range r.pulls {
		r.pulling(ctx, progress{container, pull})
	}
}
