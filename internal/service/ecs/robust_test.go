package ecs_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"slices"
	"testing"

	"berth.dev/berth/internal/service/ecs"
	"berth.dev/berth/internal/wire/api/ecsapi"
	"berth.dev/berth/internal/wire/caller"
	"berth.dev/berth/internal/wire/smithy"
)

// words are what strings are filled with: names that exist, that do not, and
// what users get wrong.
var words = []string{
	"", "default", "web", "web:1", "none", "FARGATE", "FARGATE_SPOT", "EC2", "awsvpc", "app", "nginx", "a b", "1024", "512", "1 vCPU", "/x",
	"arn:aws:ecs:us-east-1:123456789012:cluster/default", "arn:aws:ecs:us-east-1:123456789012:task-definition/web:1", "arn:aws:ecs:us-east-1:1:task/a/b/c",
	"arn:aws:ecs:us-east-1:123456789012:", "arn:x", "arn:aws:ecs:us-east-1:123456789012:task", subnetA, groupID, "containerInsights", "enabled",
	"arn:aws:ecs:us-east-1:123456789012:service/default/web", "arn:aws:ecs:us-east-1:123456789012:capacity-provider/FARGATE",
	"arn:aws:ecs:us-east-1:123456789012:task/default/00000000000000000000000000000000", "arn:aws:ecs:us-east-1:123456789012:container-instance/default/x",
	"00000000000000000000000000000000", "tcp", "awslogs", "ENABLED", "TAGS", "\x00", "é",
}

// fill gives every member of a shape a value, or none.
func fill(r *rand.Rand, v reflect.Value, depth int) {
	switch v.Kind() {
	case reflect.Pointer:
		if r.IntN(3) > 0 && depth < 6 {
			v.Set(reflect.New(v.Type().Elem()))
			fill(r, v.Elem(), depth+1)
		}
	case reflect.Struct:
		for _, field := range v.Fields() {
			if field.CanSet() {
				fill(r, field, depth)
			}
		}
	case reflect.Slice:
		n := r.IntN(3)
		v.Set(reflect.MakeSlice(v.Type(), n, n))
		for i := range n {
			fill(r, v.Index(i), depth+1)
		}
	case reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
		key, value := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
		fill(r, key, depth)
		fill(r, value, depth)
		v.SetMapIndex(key, value)
	case reflect.String:
		v.SetString(words[r.IntN(len(words))])
	case reflect.Bool:
		v.SetBool(r.IntN(2) == 0)
	case reflect.Int32, reflect.Int64:
		v.SetInt([]int64{0, 1, 2, 10, 100, 512, -1, 1 << 30}[r.IntN(8)])
	}
}

// Whatever comes in, also what the gateway's constraints keep out, the answer
// is an output or an error that the API has: never a panic, never a failure of
// the server, never a code that an SDK does not know for the operation.
func TestEveryOperation_Robust(t *testing.T) {
	w := newWorld(t)
	w.Provider = ecs.New(ecs.Config{Store: w.store, Scope: scope, PublicAddresses: netip.MustParsePrefix("127.128.0.0/24"), Tokens: tokens{}})
	ctx := caller.With(t.Context(), caller.Identity{AccountID: "123456789012", ARN: "arn:aws:iam::123456789012:root"})
	w.node("n1", "default", 1<<20, 1<<20)
	w.register("web", nil)
	unknown := map[string]int{}
	for _, op := range ecsapi.API.Operations {
		t.Run(op.Name, func(t *testing.T) {
			for seed := range uint64(1000) {
				in := op.NewInput()
				fill(rand.New(rand.NewPCG(seed, 1)), reflect.ValueOf(in).Elem(), 0)
				_, err := op.Invoke(ctx, w.Provider, in)
				if err == nil {
					continue
				}
				var api smithy.APIError
				if !errors.As(err, &api) || api.HTTPStatus() >= 500 {
					t.Fatalf("seed %d: %v", seed, err)
				}
				if !slices.ContainsFunc(op.Errors, func(s *smithy.Schema) bool { return s.Name == api.ErrorCode() }) {
					unknown[fmt.Sprintf("%s answers %s: %s", op.Name, api.ErrorCode(), api.ErrorMessage())]++
				}
			}
		})
	}
	for what := range unknown {
		t.Error(what)
	}
}
