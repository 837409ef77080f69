package metadata

import "time"

// statsResponse is the Docker engine's statistics JSON, which programs that read this endpoint were written for, with
// the rates that ECS adds.
type statsResponse struct {
	Read         time.Time                 `json:"read"`
	PreRead      time.Time                 `json:"preread"`
	PIDs         pidsStats                 `json:"pids_stats"`
	BlockIO      blkioStats                `json:"blkio_stats"`
	NumProcs     uint32                    `json:"num_procs"` // only ever set on Windows
	Storage      struct{}                  `json:"storage_stats"`
	CPU          cpuStats                  `json:"cpu_stats"`
	PreCPU       cpuStats                  `json:"precpu_stats"`
	Memory       memoryStats               `json:"memory_stats"`
	Name         string                    `json:"name"`
	ID           string                    `json:"id"`
	Networks     map[string]interfaceStats `json:"networks,omitempty"`
	NetworkRates *networkRates             `json:"network_rate_stats,omitempty"`
}

type pidsStats struct {
	Current uint64 `json:"current,omitempty"`
	Limit   uint64 `json:"limit,omitempty"`
}

type blkioStats struct {
	ServiceBytes []blkioEntry `json:"io_service_bytes_recursive"`
	Serviced     []blkioEntry `json:"io_serviced_recursive"`
	Queue        []blkioEntry `json:"io_queue_recursive"`
	ServiceTime  []blkioEntry `json:"io_service_time_recursive"`
	WaitTime     []blkioEntry `json:"io_wait_time_recursive"`
	Merged       []blkioEntry `json:"io_merged_recursive"`
	Time         []blkioEntry `json:"io_time_recursive"`
	Sectors      []blkioEntry `json:"sectors_recursive"`
}

type blkioEntry struct {
	Major uint64 `json:"major"`
	Minor uint64 `json:"minor"`
	Op    string `json:"op"`
	Value uint64 `json:"value"`
}

type cpuStats struct {
	Usage struct {
		Total  uint64   `json:"total_usage"`
		PerCPU []uint64 `json:"percpu_usage,omitempty"`
		Kernel uint64   `json:"usage_in_kernelmode"`
		User   uint64   `json:"usage_in_usermode"`
	} `json:"cpu_usage"`
	System     uint64 `json:"system_cpu_usage,omitempty"`
	Online     uint32 `json:"online_cpus,omitempty"`
	Throttling struct {
		Periods          uint64 `json:"periods"`
		ThrottledPeriods uint64 `json:"throttled_periods"`
		ThrottledTime    uint64 `json:"throttled_time"`
	} `json:"throttling_data"`
}

type memoryStats struct {
	Usage uint64            `json:"usage,omitempty"`
	Max   uint64            `json:"max_usage,omitempty"`
	Stats map[string]uint64 `json:"stats,omitempty"`
	Limit uint64            `json:"limit,omitempty"`
}

type interfaceStats struct {
	RxBytes   uint64 `json:"rx_bytes"`
	RxPackets uint64 `json:"rx_packets"`
	RxErrors  uint64 `json:"rx_errors"`
	RxDropped uint64 `json:"rx_dropped"`
	TxBytes   uint64 `json:"tx_bytes"`
	TxPackets uint64 `json:"tx_packets"`
	TxErrors  uint64 `json:"tx_errors"`
	TxDropped uint64 `json:"tx_dropped"`
}

type networkRates struct {
	Rx float64 `json:"rx_bytes_per_sec"`
	Tx float64 `json:"tx_bytes_per_sec"`
}

func statsOf(c ContainerView, s Stats) *statsResponse {
	r := &statsResponse{
		Read: s.Current.Read.UTC(), PreRead: s.Previous.Read.UTC(), Name: c.DockerName, ID: c.ID,
		PIDs: pidsStats{Current: s.Current.PIDs, Limit: s.Current.PIDsLimit}, BlockIO: blkioOf(s.Current.BlockIO),
		CPU: cpuOf(s.Current), PreCPU: cpuOf(s.Previous),
		Memory:       memoryStats{Usage: s.Current.MemoryUsage, Max: s.Current.MemoryMax, Stats: s.Current.MemoryStats, Limit: s.Current.MemLimit},
		NetworkRates: ratesOf(s),
	}
	if r.Name == "" {
		r.Name = c.Name
	}
	for name, i := range s.Current.Networks {
		if r.Networks == nil {
			r.Networks = map[string]interfaceStats{}
		}
		r.Networks[name] = interfaceStats(i)
	}
	return r
}

func cpuOf(s Sample) (r cpuStats) {
	r.Usage.Total, r.Usage.PerCPU, r.Usage.Kernel, r.Usage.User = s.CPUTotal, s.CPUPerCPU, s.CPUKernel, s.CPUUser
	r.System, r.Online = s.SystemCPU, s.OnlineCPUs
	r.Throttling.Periods, r.Throttling.ThrottledPeriods, r.Throttling.ThrottledTime = s.Periods, s.ThrottledPeriods, s.ThrottledTime
	return r
}

// blkioOf has an empty list, not null, for what is not measured.
func blkioOf(entries []BlockIO) blkioStats {
	none := []blkioEntry{}
	r := blkioStats{ServiceBytes: none, Serviced: none, Queue: none, ServiceTime: none, WaitTime: none, Merged: none, Time: none, Sectors: none}
	for _, e := range entries {
		r.ServiceBytes = append(r.ServiceBytes, blkioEntry{e.Major, e.Minor, e.Op, e.Bytes})
		r.Serviced = append(r.Serviced, blkioEntry{e.Major, e.Minor, e.Op, e.Count})
	}
	return r
}

// ratesOf is bytes a second between the two samples over all interfaces, or nil when there are not two, or when a counter
// went back because the interface is another.
func ratesOf(s Stats) *networkRates {
	seconds := s.Current.Read.Sub(s.Previous.Read).Seconds()
	if s.Previous.Read.IsZero() || seconds <= 0 || len(s.Current.Networks) == 0 {
		return nil
	}
	var before, now Interface
	for _, i := range s.Previous.Networks {
		before.RxBytes, before.TxBytes = before.RxBytes+i.RxBytes, before.TxBytes+i.TxBytes
	}
	for _, i := range s.Current.Networks {
		now.RxBytes, now.TxBytes = now.RxBytes+i.RxBytes, now.TxBytes+i.TxBytes
	}
	if now.RxBytes < before.RxBytes || now.TxBytes < before.TxBytes {
		return nil
	}
	return &networkRates{Rx: float64(now.RxBytes-before.RxBytes) / seconds, Tx: float64(now.TxBytes-before.TxBytes) / seconds}
}
