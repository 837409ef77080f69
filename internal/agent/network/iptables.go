package network

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"slices"
	"strings"
)

// The way through iptables. Somebody (Docker, ufw, an administrator) may have rules or a policy there that drop forwarded
// packets, and only an accept in the same chains helps. Where nobody has, and where there is no iptables binary and so
// nobody to write such rules, nothing is done: Run looks again when rules change. The binary is called, rather than its
// tables written, because it alone knows whether this host keeps them in nftables or in the legacy kernel tables.

// jumpFrom are the chains that lead to ours: FORWARD, and the one that Docker keeps for others, which is passed first and
// where administrators put their own drops.
var jumpFrom = []string{"FORWARD", "DOCKER-USER"}

func (m *Manager) chain() string { return "BERTH-" + m.cfg.Instance }

// chainRules are our chain's rules in the form in which `iptables -S` prints them.
func (m *Manager) chainRules(vpcs []VPC) []string {
	var rules []string
	for _, v := range vpcs {
		uplink := m.uplinkName(v.ID)
		rules = append(rules,
			fmt.Sprintf("-A %s -i %s -j ACCEPT", m.chain(), uplink),
			fmt.Sprintf("-A %s -o %s -m conntrack --ctstate RELATED,ESTABLISHED,DNAT -j ACCEPT", m.chain(), uplink))
	}
	return rules
}

// writeRules makes the iptables rules those of vpcs, or removes our chain when there is none.
func (m *Manager) writeRules(ctx context.Context, vpcs []VPC) error {
	binary := findIptables()
	if binary == "" {
		return nil
	}
	listing, err := m.iptables(ctx, binary, "", "-S")
	if err != nil {
		return err
	}
	have := parseListing(listing)
	if len(vpcs) == 0 {
		return m.removeChain(ctx, binary, have)
	}
	if !m.mayDrop(have) {
		return nil
	}
	want := m.chainRules(vpcs)
	if !slices.Equal(have[m.chain()], want) {
		// One transaction: naming the chain empties it.
		input := fmt.Sprintf("*filter\n:%s - [0:0]\n%s\nCOMMIT\n", m.chain(), strings.Join(want, "\n"))
		if _, err := m.iptables(ctx, binary+"-restore", input, "--noflush"); err != nil {
			return err
		}
	}
	for _, from := range jumpFrom {
		rules, exists := have[from]
		if !exists || slices.Contains(rules, m.jump(from)) {
			continue
		}
		if _, err := m.iptables(ctx, binary, "", "-I", from, "1", "-j", m.chain()); err != nil {
			return err
		}
	}
	return nil
}

// mayDrop reports whether a forwarded packet can be lost in the listed rules, or was so when our chain was made: once
// there, it stays until Purge, so that a restart of Docker, which flushes and writes again, costs no packets of ours.
func (m *Manager) mayDrop(have map[string][]string) bool {
	_, ours := have[m.chain()]
	_, docker := have["DOCKER-USER"]
	return ours || docker || len(have["FORWARD"]) > 0 || !slices.Equal(have[policy("FORWARD")], []string{"ACCEPT"})
}

// policy is the key under which parseListing keeps a chain's policy. No chain has a space in its name.
func policy(chain string) string { return chain + " policy" }

func (m *Manager) removeChain(ctx context.Context, binary string, have map[string][]string) error {
	if _, exists := have[m.chain()]; !exists {
		return nil
	}
	for from, rules := range have {
		for _, r := range rules {
			if r != m.jump(from) {
				continue
			}
			if _, err := m.iptables(ctx, binary, "", "-D", from, "-j", m.chain()); err != nil {
				return err
			}
		}
	}
	for _, flag := range []string{"-F", "-X"} {
		if _, err := m.iptables(ctx, binary, "", flag, m.chain()); err != nil {
			return err
		}
	}
	return nil
}

func (m *Manager) jump(from string) string { return fmt.Sprintf("-A %s -j %s", from, m.chain()) }

// parseListing splits the output of `iptables -S` by chain. Chains without rules have an empty entry.
func parseListing(listing string) map[string][]string {
	chains := map[string][]string{}
	for line := range strings.Lines(listing) {
		line = strings.TrimSpace(line)
		f := strings.Fields(line)
		if len(f) < 2 {
			continue
		}
		switch f[0] {
		case "-P":
			chains[f[1]], chains[policy(f[1])] = []string{}, f[2:]
		case "-N":
			chains[f[1]] = []string{}
		case "-A":
			chains[f[1]] = append(chains[f[1]], line)
		}
	}
	return chains
}

// iptables runs the binary in the host's network namespace, waiting for its lock, and returns its output.
func (m *Manager) iptables(ctx context.Context, binary, input string, args ...string) (string, error) {
	var stdout, stderr bytes.Buffer
	err := In(m.cfg.HostNetNS, func() error {
		cmd := exec.CommandContext(ctx, binary, append([]string{"-w"}, args...)...)
		cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(input), &stdout, &stderr
		return cmd.Run()
	})
	if err != nil {
		return "", fmt.Errorf("%s %s: %w: %s", binary, strings.Join(args, " "), err, strings.TrimSpace(stderr.String()))
	}
	return stdout.String(), nil
}

// findIptables returns the path of the binary, also when the sbin directories are not on PATH, or empty when there is none.
func findIptables() string {
	for _, name := range []string{"iptables", "/usr/sbin/iptables", "/sbin/iptables"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	return ""
}
