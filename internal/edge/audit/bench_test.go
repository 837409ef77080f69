package audit_test

import (
	"context"
	"testing"

	"berth.dev/berth/internal/data/logstore"
	"berth.dev/berth/internal/edge/audit"
	"berth.dev/berth/internal/edge/gateway"
	"berth.dev/berth/internal/wire/api/ecsapi"
)

// What recording a read costs its caller: encoding and a place in the queue.
// The budget of 15,000 calls a second on two cores has 10 µs for it.
func BenchmarkRecord_Read(b *testing.B) {
	r, stop := start(b, audit.Config{Logs: openLogs(b)})
	call := gateway.AuditRecord{
		Time: begin, RequestID: "7f1de0bc-5f0b-4a0c-9a4e-0d6b4d0c5b11", Caller: session("ecsTaskRole", "0123456789abcdef0123456789abcdef", ""),
		Service: ecsapi.API, Operation: operation(b, ecsapi.API, "DescribeTasks"),
		Input: &ecsapi.DescribeTasksInput{Cluster: new("default"), Tasks: []string{"0123456789abcdef0123456789abcdef"}}, Output: &ecsapi.DescribeTasksOutput{},
	}
	b.ReportAllocs()
	for b.Loop() {
		r.Record(b.Context(), call)
	}
	b.StopTimer()
	stop()
}

// Without the disk: what encoding alone costs.
func BenchmarkRecord_Encode(b *testing.B) {
	r, stop := start(b, audit.Config{Logs: &sink{}})
	call := write(b, "default")
	call.Operation, call.Input = operation(b, ecsapi.API, "DescribeTasks"), &ecsapi.DescribeTasksInput{Cluster: new("default"), Tasks: []string{"0123456789abcdef0123456789abcdef"}}
	b.ReportAllocs()
	for b.Loop() {
		r.Record(b.Context(), call)
	}
	b.StopTimer()
	stop()
}

// A call that changes something waits for the disk, with all that wait too.
func BenchmarkRecord_Write(b *testing.B) {
	r, stop := start(b, audit.Config{Logs: openLogs(b)})
	call := write(b, "default")
	b.ReportAllocs()
	b.SetParallelism(64)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			r.Record(b.Context(), call)
		}
	})
	stop()
}

// sink keeps nothing.
type sink struct{ disk }

func (*sink) Append(context.Context, string, string, string, uint64, []logstore.Event) (logstore.Appended, error) {
	return logstore.Appended{}, nil
}
