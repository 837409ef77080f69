package compose

import (
	"math"
	"strconv"
	"time"

	"github.com/compose-spec/compose-go/v2/types"

	"berth.dev/berth/internal/rules/taskspec"
)

const (
	unitsPerCPU = 1024
	mib         = 1 << 20

	defaultUnits  = 256 // of CPU
	defaultMemory = 512 // MiB
	mostUnits     = 16384
	mostMemory    = 122880 // MiB
	memoryStep    = 512    // MiB; every size of Fargate is a multiple
	leastEC2Units = 128
)

// size is a task's: CPU units and MiB.
type size struct{ cpu, memory int64 }

func (s size) strings() (cpu, memory string) {
	return strconv.FormatInt(s.cpu, 10), strconv.FormatInt(s.memory, 10)
}

// fargateSize is the smallest size of Fargate that holds a need, the smallest
// CPU first; false when there is none.
func fargateSize(need size) (size, bool) {
	for cpu := int64(defaultUnits); cpu <= mostUnits; cpu *= 2 {
		if cpu < need.cpu {
			continue
		}
		for memory := int64(memoryStep); memory <= mostMemory; memory += memoryStep {
			if memory >= need.memory && taskspec.FargateSizeExists(cpu, memory) {
				return size{cpu, memory}, true
			}
		}
	}
	return size{mostUnits, mostMemory}, false
}

// needOf is what a service asks for: its limits, else its reservations, else
// zero.
func needOf(s *types.ServiceConfig) size {
	cpus, memory := float64(s.CPUS), int64(s.MemLimit)
	if s.Deploy != nil {
		for _, r := range []*types.Resource{s.Deploy.Resources.Limits, s.Deploy.Resources.Reservations} {
			if r == nil {
				continue
			}
			if cpus == 0 {
				cpus = float64(r.NanoCPUs)
			}
			if memory == 0 {
				memory = int64(r.MemoryBytes)
			}
		}
	}
	if memory == 0 {
		memory = int64(s.MemReservation)
	}
	// CPUs are float32 in compose-go: 0.1 is a little more, and must not cost a unit.
	return size{int64(math.Ceil(cpus*unitsPerCPU - 1e-3)), mebibytes(memory)}
}

// reservedOf is the memory that a service reserves, in MiB; zero is none.
func reservedOf(s *types.ServiceConfig) int64 {
	if s.MemReservation > 0 {
		return mebibytes(int64(s.MemReservation))
	}
	if s.Deploy != nil && s.Deploy.Resources.Reservations != nil {
		return mebibytes(int64(s.Deploy.Resources.Reservations.MemoryBytes))
	}
	return 0
}

// mebibytes rounds up.
func mebibytes(bytes int64) int64 { return (bytes + mib - 1) / mib }

// secondsOf rounds a duration up to seconds.
func secondsOf(d types.Duration) int64 {
	return int64((time.Duration(d) + time.Second - 1) / time.Second)
}

// within is the nearest number in a range.
func within(n, low, high int64) int64 { return min(max(n, low), high) }
