package main

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// report gathers the sections; they are measured in another order than shown.
type report struct {
	header string
	parts  map[string]*strings.Builder
}

// section returns where a section is written.
func (r *report) section(name string) *strings.Builder {
	if r.parts == nil {
		r.parts = map[string]*strings.Builder{}
	}
	if r.parts[name] == nil {
		r.parts[name] = &strings.Builder{}
	}
	return r.parts[name]
}

func (r *report) String() string {
	var out strings.Builder
	out.WriteString(r.header)
	for _, name := range sections {
		if part, ok := r.parts[name]; ok {
			out.WriteString("\n" + part.String())
		}
	}
	return out.String()
}

// table writes a Markdown table.
func table(out *strings.Builder, head []string, rows [][]string) {
	line := func(cells []string) { fmt.Fprintf(out, "| %s |\n", strings.Join(cells, " | ")) }
	line(head)
	line(slices.Repeat([]string{"---"}, len(head)))
	for _, row := range rows {
		line(row)
	}
	out.WriteString("\n")
}

// quantile of durations, by nearest rank; zero when there are none.
func quantile(all []time.Duration, q float64) time.Duration {
	if len(all) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(all))
	return sorted[min(len(sorted)-1, int(q*float64(len(sorted))))]
}

func median(all []time.Duration) time.Duration { return quantile(all, 0.5) }

func medianOf(all []float64) float64 {
	if len(all) == 0 {
		return 0
	}
	return slices.Sorted(slices.Values(all))[len(all)/2]
}

func ms(d time.Duration) string {
	if d < 10*time.Millisecond {
		return fmt.Sprintf("%.2f ms", float64(d.Microseconds())/1000)
	}
	return fmt.Sprintf("%.0f ms", float64(d.Microseconds())/1000)
}

func mib(bytes int64) string { return fmt.Sprintf("%.1f MiB", float64(bytes)/(1<<20)) }

// atMost and atLeast say whether a ratio keeps its mark.
func atMost(ratio, mark float64) string {
	return verdict(ratio, ratio <= mark, fmt.Sprintf("at most %.2f", mark))
}

func atLeast(ratio, mark float64) string {
	return verdict(ratio, ratio >= mark, fmt.Sprintf("at least %.2f", mark))
}

func verdict(ratio float64, kept bool, mark string) string {
	if kept {
		return fmt.Sprintf("%.2f (mark: %s, kept)", ratio, mark)
	}
	return fmt.Sprintf("**%.2f** (mark: %s, **missed**)", ratio, mark)
}

func ratio(a, b time.Duration) float64 {
	if b == 0 {
		return 0
	}
	return float64(a) / float64(b)
}
