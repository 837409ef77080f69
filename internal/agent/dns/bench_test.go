package dns_test

import (
	"context"
	"encoding/json"
	"fmt"
	"testing"

	mdns "github.com/miekg/dns"

	"berth.dev/berth/internal/agent/dns"
	"berth.dev/berth/internal/model"
)

// BenchmarkQuery is one query by UDP and its answer, for a service of a
// thousand instances beside a hundred other zones.
func BenchmarkQuery(b *testing.B) {
	docs := make(map[string]json.RawMessage)
	for i := range 101 {
		z := model.NodeZone{Name: fmt.Sprintf("z%d.local", i), VPCIDs: []string{"vpc-1"}}
		rec := model.NodeRecord{Name: "s", Type: "A", TTL: 15, Policy: model.RoutingMultivalue}
		for n := range 1000 {
			rec.Values = append(rec.Values, fmt.Sprintf("10.0.%d.%d", n/250, n%250+1))
		}
		z.Names = []model.NodeRecord{rec}
		raw, err := json.Marshal(z)
		if err != nil {
			b.Fatal(err)
		}
		docs[z.Name] = raw
	}
	r := dns.New(dns.Config{Region: "eu-west-1", Address: "127.0.0.1:0", ResolvConf: "/nonexistent"})
	if err := r.Apply(b.Context(), docs); err != nil {
		b.Fatal(err)
	}
	e, err := r.Open(b.Context(), "", vpc)
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(b.Context())
	done := make(chan error, 1)
	go func() { done <- e.Run(ctx) }()
	defer func() { cancel(); <-done }()

	b.ReportAllocs()
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		conn, err := mdns.Dial("udp", e.Addr())
		if err != nil {
			b.Error(err)
			return
		}
		defer conn.Close()
		query := new(mdns.Msg).SetQuestion("s.z50.local.", mdns.TypeA)
		for pb.Next() {
			answer, _, err := new(mdns.Client).ExchangeWithConn(query, conn)
			if err != nil || len(answer.Answer) != 8 {
				b.Errorf("%v, %v", answer, err)
				return
			}
		}
	})
}
