package ecs

import (
	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/wire/api/ecsapi"
)

// value is what p points to, or the zero value.
func value[T any](p *T) T {
	if p == nil {
		var zero T
		return zero
	}
	return *p
}

// optional is a pointer to v, or nil for the zero value: the records keep no
// difference between an empty string and none.
func optional[T comparable](v T) *T {
	var zero T
	if v == zero {
		return nil
	}
	return &v
}

// each converts a list; an empty one becomes nil, which is absent on the wire.
func each[A, B any](in []A, convert func(A) B) []B {
	if len(in) == 0 {
		return nil
	}
	return every(in, convert)
}

// every converts a list that ECS always shows, also when it is empty.
func every[A, B any](in []A, convert func(A) B) []B {
	out := make([]B, 0, len(in))
	for _, v := range in {
		out = append(out, convert(v))
	}
	return out
}

// texts converts a list of enum values to strings or back.
func texts[B, A ~string](in []A) []B {
	return each(in, func(a A) B { return B(a) })
}

// the converts an optional structure.
func the[A, B any](in *A, convert func(A) B) *B {
	if in == nil {
		return nil
	}
	out := convert(*in)
	return &out
}

func tagIn(t ecsapi.Tag) model.Tag { return model.Tag{Key: value(t.Key), Value: value(t.Value)} }

func tagOut(t model.Tag) ecsapi.Tag { return ecsapi.Tag{Key: &t.Key, Value: &t.Value} }

func pairIn(p ecsapi.KeyValuePair) model.KeyValuePair {
	return model.KeyValuePair{Name: value(p.Name), Value: value(p.Value)}
}

func pairOut(p model.KeyValuePair) ecsapi.KeyValuePair {
	return ecsapi.KeyValuePair{Name: &p.Name, Value: &p.Value}
}

func attributeOut(a model.Attribute) ecsapi.Attribute {
	return ecsapi.Attribute{
		Name: &a.Name, Value: optional(a.Value),
		TargetType: ecsapi.TargetType(a.TargetType), TargetId: optional(a.TargetID),
	}
}

func strategyIn(i ecsapi.CapacityProviderStrategyItem) model.CapacityProviderStrategyItem {
	return model.CapacityProviderStrategyItem{
		CapacityProvider: value(i.CapacityProvider), Weight: value(i.Weight), Base: value(i.Base),
	}
}

func strategyOut(i model.CapacityProviderStrategyItem) ecsapi.CapacityProviderStrategyItem {
	return ecsapi.CapacityProviderStrategyItem{CapacityProvider: &i.CapacityProvider, Weight: &i.Weight, Base: &i.Base}
}
