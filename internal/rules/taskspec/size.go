package taskspec

import (
	"math"
	"strconv"
	"strings"
)

const (
	unitsPerVCPU = 1024
	mibPerGB     = 1024

	minTaskCPU = 128    // units, EC2 and EXTERNAL
	maxTaskCPU = 196608 // units, EC2 and EXTERNAL
	// minContainerMemory is the least that ECS accepts for a Linux container, in MiB.
	minContainerMemory = 6
)

// fargateSize is one row of Fargate's table: a CPU size and the memory sizes
// that go with it, from the first to the last in steps, all in MiB.
type fargateSize struct {
	cpu               int64
	first, last, step int64
}

// fargateSizes is the whole table for Linux; 256 units are an exception
// because 1536 MiB does not exist for them.
var fargateSizes = [...]fargateSize{
	{256, 512, 1024, 512},
	{256, 2048, 2048, 1024},
	{512, 1024, 4096, 1024},
	{1024, 2048, 8192, 1024},
	{2048, 4096, 16384, 1024},
	{4096, 8192, 30720, 1024},
	{8192, 16384, 61440, 4096},
	{16384, 32768, 122880, 8192},
}

// FargateSizeExists reports whether Fargate offers tasks with cpu units and
// memory MiB.
func FargateSizeExists(cpu, memory int64) bool {
	for _, size := range fargateSizes {
		if size.cpu == cpu && memory >= size.first && memory <= size.last && (memory-size.first)%size.step == 0 {
			return true
		}
	}
	return false
}

// normalizeCPU turns "1 vCPU" into "1024" and leaves what it cannot read.
func normalizeCPU(s string) string { return normalizeSize(s, "vcpu", unitsPerVCPU) }

// normalizeMemory turns "0.5GB" into "512" and leaves what it cannot read.
func normalizeMemory(s string) string { return normalizeSize(s, "gb", mibPerGB) }

func normalizeSize(s, unit string, factor float64) string {
	trimmed := strings.TrimSpace(s)
	number, found := strings.CutSuffix(strings.ToLower(trimmed), unit)
	if !found {
		if n, ok := parseSize(trimmed); ok {
			return strconv.FormatInt(n, 10)
		}
		return s
	}
	value, err := strconv.ParseFloat(strings.TrimSpace(number), 64)
	if err != nil || value <= 0 || value*factor > math.MaxInt32 || value*factor != math.Trunc(value*factor) {
		return s
	}
	return strconv.FormatInt(int64(value*factor), 10)
}

// parseSize reads a normalized size, which is a decimal number.
func parseSize(s string) (int64, bool) {
	n, err := strconv.ParseInt(s, 10, 32)
	return n, err == nil && n >= 0
}
