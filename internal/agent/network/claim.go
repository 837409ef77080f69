package network

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"berth.dev/berth/internal/rules/ipam"
)

// ClaimDir is where the instances of a host keep their claims on ranges. It does not survive a restart of the host, as
// routes do not; an instance that already has a VPC claims it again by passing its range as the only candidate.
const ClaimDir = "/run/berth/ranges"

// ErrNoRange is returned by ClaimRange when every candidate overlaps something.
var ErrNoRange = errors.New("no free address range")

// A claim is the content of a file in ClaimDir.
type claim struct {
	// Owner is the data directory of an instance. When it is gone, so is the claim.
	Owner string       `json:"owner"`
	Range netip.Prefix `json:"range"`
}

// ClaimRange gives the instance whose data directory is owner the first candidate that overlaps neither used (the host's
// routes) nor another instance's claim, and keeps it for that instance until ReleaseRanges or until owner does not exist
// any more. It may be called by several processes at once: no two get overlapping ranges. An owner that has a claim on
// one of the candidates gets the same range again, whatever used says: the route in use may be its own.
func ClaimRange(dir, owner string, candidates, used []netip.Prefix) (netip.Prefix, error) {
	owner, err := filepath.Abs(owner)
	if err != nil {
		return netip.Prefix{}, fmt.Errorf("claim range: %w", err)
	}
	var got netip.Prefix
	err = locked(dir, func() error {
		claims, err := readClaims(dir)
		if err != nil {
			return err
		}
		taken := append([]netip.Prefix(nil), used...)
		for _, c := range claims {
			if c.Owner != owner {
				taken = append(taken, c.Range)
				continue
			}
			for _, candidate := range candidates {
				if candidate.Masked() == c.Range {
					got = c.Range
					return nil
				}
			}
		}
		var ok bool
		if got, ok = ipam.ChooseRange(candidates, taken); !ok {
			return fmt.Errorf("%w among %v", ErrNoRange, candidates)
		}
		return writeClaim(dir, claim{Owner: owner, Range: got})
	})
	if err != nil {
		return netip.Prefix{}, fmt.Errorf("claim range in %s: %w", dir, err)
	}
	return got, nil
}

// ReleaseRanges ends every claim of the owner. It is not an error when there is none.
func ReleaseRanges(dir, owner string) error {
	owner, err := filepath.Abs(owner)
	if err != nil {
		return fmt.Errorf("release range: %w", err)
	}
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	err = locked(dir, func() error {
		if err := os.Remove(claimFile(dir, owner)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("release range in %s: %w", dir, err)
	}
	return nil
}

func claimFile(dir, owner string) string { return filepath.Join(dir, hash(owner)[:24]+".json") }

// readClaims returns the claims whose owners exist and removes the others. The caller holds the lock.
func readClaims(dir string) ([]claim, error) {
	files, err := filepath.Glob(filepath.Join(dir, "*.json"))
	if err != nil {
		return nil, err
	}
	var claims []claim
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		var c claim
		if err := json.Unmarshal(data, &c); err != nil {
			return nil, fmt.Errorf("%s is not a claim: %w", file, err)
		}
		if _, err := os.Stat(c.Owner); errors.Is(err, fs.ErrNotExist) {
			if err := os.Remove(file); err != nil {
				return nil, err
			}
			continue
		}
		claims = append(claims, c)
	}
	return claims, nil
}

// writeClaim writes a claim whole or not at all. The caller holds the lock.
func writeClaim(dir string, c claim) error {
	data, err := json.Marshal(c)
	if err != nil {
		return err
	}
	file := claimFile(dir, c.Owner)
	part := strings.TrimSuffix(file, ".json") + ".part"
	if err := os.WriteFile(part, append(data, '\n'), 0o644); err != nil {
		return err
	}
	return os.Rename(part, file)
}

// locked runs fn while no other process of this host is in locked for the same directory.
func locked(dir string, fn func() error) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return err
	}
	defer f.Close() // which ends the lock
	for {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX)
		if err == nil {
			return fn()
		}
		if !errors.Is(err, unix.EINTR) {
			return fmt.Errorf("lock %s: %w", f.Name(), err)
		}
	}
}
