package ec2_test

import (
	"context"
	"errors"
	"flag"
	"net/netip"
	"os"
	"regexp"
	"testing"

	"berth.dev/berth/internal/base/arn"
	"berth.dev/berth/internal/data/kv/memkv"
	"berth.dev/berth/internal/data/records"
	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/service/ec2"
	"berth.dev/berth/internal/wire/api/ec2api"
	"berth.dev/berth/internal/wire/smithy"
)

var update = flag.Bool("update", false, "write the golden files")

var scope = arn.Scope{Region: "us-east-1", AccountID: "123456789012"}

func newStore(t *testing.T) *store.Store {
	t.Helper()
	s, err := store.Open(memkv.New(0), "/berth/", store.Options{}, records.All()...)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil && !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
	return s
}

func bootstrapped(t *testing.T) (*store.Store, *ec2.Provider) {
	t.Helper()
	s := newStore(t)
	if err := ec2.Bootstrap(t.Context(), s, scope, netip.MustParsePrefix("172.31.0.0/16")); err != nil {
		t.Fatal(err)
	}
	return s, ec2.New(ec2.Config{Store: s, Scope: scope, PublicAddresses: netip.MustParsePrefix("127.64.0.0/29")})
}

// world is a provider with a bootstrapped account.
type world struct {
	*testing.T
	*ec2.Provider
	store *store.Store
}

func newWorld(t *testing.T) *world {
	s, p := bootstrapped(t)
	return &world{t, p, s}
}

// must is what a call returned; an error ends the test.
func must[Out any](w *world) func(Out, error) Out {
	return func(out Out, err error) Out {
		w.Helper()
		if err != nil {
			w.Fatal(said(err))
		}
		return out
	}
}

func (w *world) vpc(cidr string) string {
	w.Helper()
	return *must[*ec2api.CreateVpcOutput](w)(w.CreateVpc(w.Context(), &ec2api.CreateVpcInput{CidrBlock: &cidr})).Vpc.VpcId
}

func (w *world) subnet(vpc, cidr string) string {
	w.Helper()
	return *must[*ec2api.CreateSubnetOutput](w)(w.CreateSubnet(w.Context(), &ec2api.CreateSubnetInput{VpcId: &vpc, CidrBlock: &cidr})).Subnet.SubnetId
}

func (w *world) group(vpc, name string) string {
	w.Helper()
	return *must[*ec2api.CreateSecurityGroupOutput](w)(w.CreateSecurityGroup(w.Context(),
		&ec2api.CreateSecurityGroupInput{VpcId: &vpc, GroupName: &name, Description: &name})).GroupId
}

// gateway is an internet gateway, attached to a VPC if one is named.
func (w *world) gateway(vpc string) string {
	w.Helper()
	id := must[*ec2api.CreateInternetGatewayOutput](w)(w.CreateInternetGateway(w.Context(), &ec2api.CreateInternetGatewayInput{})).InternetGateway.InternetGatewayId
	if vpc != "" {
		must[*ec2api.AttachInternetGatewayOutput](w)(w.AttachInternetGateway(w.Context(), &ec2api.AttachInternetGatewayInput{InternetGatewayId: id, VpcId: &vpc}))
	}
	return *id
}

func (w *world) table(vpc string) string {
	w.Helper()
	return *must[*ec2api.CreateRouteTableOutput](w)(w.CreateRouteTable(w.Context(), &ec2api.CreateRouteTableInput{VpcId: &vpc})).RouteTable.RouteTableId
}

// mainTable is the id of a VPC's main table and of its association.
func (w *world) mainTable(vpc string) (table, association string) {
	w.Helper()
	for t := range records.RouteTables.By(w.store.Snapshot(), records.RouteTablesByVPC, vpc) {
		for _, a := range t.Associations {
			if a.Main {
				return t.ID, a.ID
			}
		}
	}
	w.Fatalf("%s has no main route table", vpc)
	return "", ""
}

func (w *world) eni(subnet string, groups ...string) string {
	w.Helper()
	return *must[*ec2api.CreateNetworkInterfaceOutput](w)(w.CreateNetworkInterface(w.Context(),
		&ec2api.CreateNetworkInterfaceInput{SubnetId: &subnet, Groups: groups})).NetworkInterface.NetworkInterfaceId
}

func (w *world) eip() (allocation, address string) {
	w.Helper()
	out := must[*ec2api.AllocateAddressOutput](w)(w.AllocateAddress(w.Context(), &ec2api.AllocateAddressInput{}))
	return *out.AllocationId, *out.PublicIp
}

// said is an error as a client sees it.
func said(err error) string {
	var api smithy.APIError
	if !errors.As(err, &api) {
		if err == nil {
			return "no error"
		}
		return "internal: " + err.Error()
	}
	return api.ErrorCode() + ": " + api.ErrorMessage()
}

// What differs each time: the ids that resources get, and addresses of the pool.
var (
	randomID      = regexp.MustCompile(`([a-z]+)-[0-9a-f]{17}`)
	randomAddress = regexp.MustCompile(`127\.64\.0\.[0-9]+`)
)

// plain is a text without what differs each time.
func plain(text string) string {
	return randomAddress.ReplaceAllString(randomID.ReplaceAllString(text, "$1-*"), "127.64.0.*")
}

// golden compares got with a file, or writes it.
func golden(t *testing.T, path, got string) {
	t.Helper()
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s: got\n%s\nwant\n%s", path, got, want)
	}
}

// putter stores what other packages write.
type putter struct{ tx *store.Tx }

func (p putter) loadBalancer(l *model.LoadBalancer) { records.LoadBalancers.Put(p.tx, l) }
func (p putter) eni(n *model.NetworkInterface)      { records.NetworkInterfaces.Put(p.tx, n) }
func (p putter) natGateway(g *model.NATGateway)     { records.NATGateways.Put(p.tx, g) }

func (w *world) put(fn func(putter)) {
	w.Helper()
	if _, err := w.store.Update(w.Context(), func(tx *store.Tx) error {
		fn(putter{tx})
		return nil
	}); err != nil {
		w.Fatal(err)
	}
}

// otherENI is any interface in a VPC.
func (w *world) otherENI(vpc string) string {
	w.Helper()
	for n := range records.NetworkInterfaces.By(w.store.Snapshot(), records.NetworkInterfacesByVPC, vpc) {
		return n.ID
	}
	w.Fatalf("%s has no interface", vpc)
	return ""
}
