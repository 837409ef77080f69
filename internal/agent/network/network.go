package network

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"regexp"
	"strings"
	"sync"
	"time"
)

const (
	// MetadataAddress is where a task's metadata and credentials endpoints listen, in the task's namespace.
	MetadataAddress = "169.254.170.2"
	// ResolverAddress is where a task's DNS resolver listens, in the task's namespace.
	ResolverAddress = "169.254.169.253"
)

// ErrRangeTaken is returned by Attach when the VPC's range is already routed elsewhere on this host, for instance by
// another Berth instance or by a local network. The error says by which link.
var ErrRangeTaken = errors.New("address range is in use on this host")

// A VPC is a private range of addresses that tasks share.
type VPC struct {
	ID   string // vpc-…
	CIDR netip.Prefix
}

// An ENI is a network interface as the control plane allocated it, of a task or of a load balancer.
type ENI struct {
	ID      string // eni-…
	OwnerID string // the id of the task, or of the load balancer (with its slashes: app/…)
	VPC     VPC
	Subnet  netip.Prefix // inside VPC.CIDR
	Address netip.Addr   // inside Subnet
	MAC     net.HardwareAddr
}

// An Attachment is an ENI on this host.
type Attachment struct {
	// ENI is what Attach was given. Of an attachment that a crash left half made, List knows only the ID.
	ENI ENI
	// NetNSPath is the namespace that the task's containers join, or in which the load balancer listens.
	NetNSPath string
	// Complete says that the interface carries traffic. One that is not must be attached again or detached.
	Complete bool
}

// Config is what a Manager needs to know.
type Config struct {
	// Instance tells this Berth apart from others on the host: 1 to 12 of a-z and 0-9, stable over restarts.
	Instance string
	Log      *slog.Logger
	// HostNetNS is the path of the network namespace that plays the host; empty means that of this process.
	HostNetNS string
	// Claims chooses the range of the bridge network among candidates: ClaimRange, mostly, so that no other instance takes
	// it. Nil chooses one that overlaps none of used.
	Claims func(candidates, used []netip.Prefix) (netip.Prefix, error)
	// MTU of tasks' interfaces. Zero means that of the link that holds the host's default route, or 1500.
	MTU int
	// Resync is how often Run looks at the host's rules without being told of a change; zero means 5 s.
	Resync time.Duration
}

// A Manager makes the network interfaces of one Berth instance on this host. Its methods may be called at once from
// many goroutines, before and while Run runs.
type Manager struct {
	cfg Config
	log *slog.Logger

	// host serialises what changes the host's namespace and the set of VPCs.
	host sync.Mutex
	// ready has the VPCs that this process has seen complete; guarded by host.
	ready map[string]VPC
	// exits and kept are what SetExits and KeepTable were given; guarded by host. What has no entry is as an earlier process
	// left it.
	exits map[string][]Exit
	kept  map[string]keptTable
	// publishes are the host ports that lead to containers; nil until the kernel was asked. nextPort is where the search for
	// a free one goes on. Both are guarded by host.
	publishes []published
	nextPort  uint16
	// bridge serialises Connect; nextAddress is guarded by it.
	bridge      sync.Mutex
	nextAddress netip.Addr
	// eni serialises work on one interface, by hash of its id.
	eni [64]sync.Mutex
}

var instanceName = regexp.MustCompile(`^[a-z0-9]{1,12}$`)

// New returns a Manager; it changes nothing on the host.
func New(cfg Config) (*Manager, error) {
	if !instanceName.MatchString(cfg.Instance) {
		return nil, fmt.Errorf("network: instance name %q must be 1 to 12 of a-z and 0-9", cfg.Instance)
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Resync == 0 {
		cfg.Resync = 5 * time.Second
	}
	return &Manager{cfg: cfg, log: cfg.Log.With("component", "network"), ready: map[string]VPC{}, exits: map[string][]Exit{}, kept: map[string]keptTable{}}, nil
}

var (
	eniID   = regexp.MustCompile(`^eni-[0-9a-z]{1,40}$`)
	vpcID   = regexp.MustCompile(`^vpc-[0-9a-z]{1,40}$`)
	ownerID = regexp.MustCompile(`^[0-9A-Za-z._/-]{1,64}$`)
)

// check says what is wrong with an ENI that a caller passes. Ids become file names and link aliases.
func (e ENI) check() error {
	switch {
	case !eniID.MatchString(e.ID):
		return fmt.Errorf("network interface id %q is not eni-…", e.ID)
	case !ownerID.MatchString(e.OwnerID):
		return fmt.Errorf("owner %q of %s is not an id", e.OwnerID, e.ID)
	case len(e.MAC) != 6:
		return fmt.Errorf("hardware address %q of %s has %d bytes, not 6", e.MAC, e.ID, len(e.MAC))
	case !e.Subnet.IsValid() || !e.Address.Is4() || !e.Subnet.Contains(e.Address):
		return fmt.Errorf("address %v of %s is not in its subnet %v", e.Address, e.ID, e.Subnet)
	case !e.VPC.CIDR.Contains(e.Subnet.Addr()) || e.VPC.CIDR.Bits() > e.Subnet.Bits():
		return fmt.Errorf("subnet %v of %s is not in its VPC %v", e.Subnet, e.ID, e.VPC.CIDR)
	}
	return e.VPC.check()
}

func (v VPC) check() error {
	switch {
	case !vpcID.MatchString(v.ID):
		return fmt.Errorf("VPC id %q is not vpc-…", v.ID)
	case !v.CIDR.IsValid() || !v.CIDR.Addr().Is4() || v.CIDR != v.CIDR.Masked() || v.CIDR.Bits() > 28 || v.CIDR.Bits() == 0:
		return fmt.Errorf("range %v of %s is not an IPv4 range of at least 16 addresses", v.CIDR, v.ID)
	}
	return nil
}

// gateway is the router's address in a range: the .1 of a subnet, and of a VPC (that of its first subnet).
func gateway(p netip.Prefix) netip.Addr { return p.Masked().Addr().Next() }

// hostAddress is the host's address in the VPC, the .3 of its first subnet; doc.go says why that one.
func (v VPC) hostAddress() netip.Addr { return gateway(v.CIDR).Next().Next() }

// OfTask reports whether the interface belongs to a task. A load balancer's id has slashes.
func (e ENI) OfTask() bool { return !strings.Contains(e.OwnerID, "/") }

// String describes the interface in words without spaces inside, for the alias of its link: parseENI reads it back.
func (e ENI) String() string {
	return strings.Join([]string{
		"berth", e.ID, e.OwnerID, e.VPC.ID, e.VPC.CIDR.String(), e.Subnet.String(),
		e.Address.String(), e.MAC.String(),
	}, " ")
}

func parseENI(alias string) (e ENI, err error) {
	f := strings.Fields(alias)
	if len(f) != 8 || f[0] != "berth" {
		return ENI{}, fmt.Errorf("link alias %q does not describe a network interface", alias)
	}
	e.ID, e.OwnerID, e.VPC.ID = f[1], f[2], f[3]
	var errs [4]error
	e.VPC.CIDR, errs[0] = netip.ParsePrefix(f[4])
	e.Subnet, errs[1] = netip.ParsePrefix(f[5])
	e.Address, errs[2] = netip.ParseAddr(f[6])
	e.MAC, errs[3] = net.ParseMAC(f[7])
	return e, errors.Join(errs[:]...)
}

// NetNSPath is where Attach makes the namespace of an interface. It is known before the interface is made.
func (m *Manager) NetNSPath(eniID string) string { return namespacePath(m.namespaceName(eniID)) }

// Names. Those of namespaces carry the whole id, for people; link names have 15 characters at most, so they carry a hash.
func (m *Manager) prefix() string                 { return "berth-" + m.cfg.Instance + "-" }
func (m *Manager) namespaceName(id string) string { return m.prefix() + id }
func (m *Manager) uplinkName(vpcID string) string { return "berth" + hash(m.cfg.Instance, vpcID)[:10] }

func (m *Manager) alias(v VPC) string {
	return fmt.Sprintf("berth %s %s %v", m.cfg.Instance, v.ID, v.CIDR)
}
func portName(eniID string) string { return "eni" + hash(eniID)[:12] }

func hash(parts ...string) string {
	sum := sha256.Sum256([]byte(strings.Join(parts, "\x00")))
	return hex.EncodeToString(sum[:])
}

// hardwareAddress derives a locally administered address for the router's end of a link.
func hardwareAddress(parts ...string) net.HardwareAddr {
	sum := sha256.Sum256([]byte(strings.Join(parts, "\x00")))
	return net.HardwareAddr{sum[0]&0xfc | 0x02, sum[1], sum[2], sum[3], sum[4], sum[5]}
}

func (m *Manager) lockENI(id string) (unlock func()) {
	mu := &m.eni[int(hardwareAddress(id)[5])%len(m.eni)]
	mu.Lock()
	return mu.Unlock
}

// List returns what this instance has on the host, whoever made it: a new agent adopts from it, and detaches what no
// task owns. Namespaces that a crash left without an interface are in it with Complete false.
func (m *Manager) List(ctx context.Context) ([]Attachment, error) {
	vpcs, err := namespaceNames(m.namespaceName("vpc-"))
	if err != nil {
		return nil, err
	}
	described := map[string]ENI{}
	for _, name := range vpcs {
		if !isNamespace(namespacePath(name)) {
			continue
		}
		enis, err := m.ports(namespacePath(name))
		if err != nil {
			return nil, err
		}
		for _, e := range enis {
			described[e.ID] = e
		}
	}
	names, err := namespaceNames(m.namespaceName("eni-"))
	if err != nil {
		return nil, err
	}
	var attachments []Attachment
	for _, name := range names {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		a := Attachment{ENI: ENI{ID: strings.TrimPrefix(name, m.prefix())}, NetNSPath: namespacePath(name)}
		if e, ok := described[a.ENI.ID]; ok {
			a.ENI, a.Complete = e, m.carries(e)
		}
		attachments = append(attachments, a)
	}
	return attachments, nil
}

// Purge removes everything of this instance: namespaces, links, routes and rules, whatever state they are in and
// whichever process made them. It can be repeated. Tasks should be stopped: a process that still runs in a
// namespace keeps it alive without a name and without a way out.
func (m *Manager) Purge(ctx context.Context) error {
	m.host.Lock()
	defer m.host.Unlock()
	clear(m.ready)
	clear(m.exits)
	clear(m.kept)
	m.publishes = nil
	names, err := namespaceNames(m.prefix())
	if err != nil {
		return err
	}
	var errs []error
	// The uplinks first: with them go the routes, at once, while namespaces end in the background.
	errs = append(errs, m.deleteUplinks(names))
	for _, name := range names {
		errs = append(errs, dropNamespace(name))
	}
	errs = append(errs, m.writeRules(ctx, nil), m.deleteTables())
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("purge network of instance %s: %w", m.cfg.Instance, err)
	}
	return nil
}
