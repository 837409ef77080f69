package ssm_test

import (
	"fmt"
	"maps"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"berth.dev/berth/internal/base/arn"
	"berth.dev/berth/internal/data/records"
	"berth.dev/berth/internal/service/ssm"
	"berth.dev/berth/internal/wire/api/ssmapi"
)

// Whatever is done to a parameter in whatever order: its versions have no gaps
// and are a hundred at most, the newest is what a plain get answers, and a
// label is on one version at most, where it was put last.
func TestProperty_VersionsAndLabels(t *testing.T) {
	w := newWorld(t)
	p := ssm.New(ssm.Config{Store: w.store, Keys: w.keys, Scope: arn.Scope{Region: region, AccountID: account}})
	ctx, run := t.Context(), 0
	rapid.Check(t, func(t *rapid.T) {
		run++
		name := fmt.Sprintf("/run/%d", run)
		values, labels := map[int64]string{}, map[string]int64{} // the model
		newest, oldest := int64(0), int64(1)
		put := func(t *rapid.T) {
			value := rapid.StringN(1, 10, 20).Draw(t, "value")
			blocked := newest-oldest+1 == 100 && slices.Contains(slices.Collect(maps.Values(labels)), oldest)
			out, err := p.PutParameter(ctx, &ssmapi.PutParameterInput{Name: &name, Value: &value, Type: ssmapi.ParameterTypeString, Overwrite: new(true)})
			if (err != nil) != blocked {
				t.Fatalf("put: %v, blocked: %v", err, blocked)
			}
			if err != nil {
				return
			}
			newest++
			if newest-oldest == 100 {
				delete(values, oldest)
				oldest++
			}
			if values[newest] = value; *out.Version != newest {
				t.Fatalf("version %d after %d", *out.Version, newest-1)
			}
		}
		t.Repeat(map[string]func(*rapid.T){
			"put": put,
			"put many": func(t *rapid.T) {
				for range rapid.IntRange(1, 60).Draw(t, "times") {
					put(t)
				}
			},
			"label": func(t *rapid.T) {
				version, label := rapid.Int64Range(0, newest+1).Draw(t, "version"), rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "label")
				_, err := p.LabelParameterVersion(ctx, &ssmapi.LabelParameterVersionInput{Name: &name, ParameterVersion: &version, Labels: []string{label}})
				if _, there := values[version]; there != (err == nil) {
					t.Fatalf("label %d: %v", version, err)
				}
				if err == nil {
					labels[label] = version
				}
			},
			"unlabel": func(t *rapid.T) {
				label := rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "label")
				version, has := labels[label]
				if !has {
					t.Skip("nobody has it")
				}
				if _, err := p.UnlabelParameterVersion(ctx, &ssmapi.UnlabelParameterVersionInput{Name: &name, ParameterVersion: &version, Labels: []string{label}}); err != nil {
					t.Fatal(err)
				}
				delete(labels, label)
			},
			"delete": func(t *rapid.T) {
				if _, err := p.DeleteParameter(ctx, &ssmapi.DeleteParameterInput{Name: &name}); (err == nil) != (newest > 0) {
					t.Fatal(err)
				}
				clear(values)
				clear(labels)
				newest, oldest = 0, 1
			},
			"": func(t *rapid.T) {
				at, on := oldest, map[string]int64{}
				for v := range records.ParameterVersions.Prefix(w.store.Snapshot(), name+"|") {
					if v.Version != at || v.Value != values[at] {
						t.Fatalf("version %d is %q, want %d with %q", v.Version, v.Value, at, values[at])
					}
					for _, l := range v.Labels {
						if _, twice := on[l]; twice {
							t.Fatalf("%s is on two versions", l)
						}
						on[l] = v.Version
					}
					at++
				}
				if at != newest+1 || fmt.Sprint(on) != fmt.Sprint(labels) {
					t.Fatalf("newest %d, labels %v; want %d, %v", at-1, on, newest, labels)
				}
				got, err := p.GetParameter(ctx, &ssmapi.GetParameterInput{Name: &name})
				if (err == nil) != (newest > 0) || err == nil && *got.Parameter.Value != values[newest] {
					t.Fatalf("get: %v, %v", got, err)
				}
			},
		})
	})
}
