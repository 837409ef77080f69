package routing

import (
	"fmt"
	"strings"
)

// A Slot is what is in one server slot of a pool when a process starts.
type Slot struct {
	Address string
	Port    int32
	// Up says that the target is healthy; one that is not, or not yet, gets no requests.
	Up bool
	// Checked says that it is known how the target is: it may then be used when no target is healthy.
	Checked bool
}

// States makes the file from which a process knows, when it starts, what is in its slots, in HAProxy's own format (version
// 1, "show servers state"): so a reload, and a start after a crash, serve from the first moment. Every slot is in it,
// because one that is not would be up, and lead nowhere.
//
// Servers have a host name in the configuration, of which nothing is looked up, because HAProxy takes addresses from the
// file for such servers only; and they are not "disabled" there, because one that leaves that state is presumed well.
func States(pools []Pool, slot func(p Pool, number int) (Slot, bool)) string {
	const running, stopped, free, inUse = 2, 0, 1, 0
	var w strings.Builder
	w.WriteString("1\n# be_id be_name srv_id srv_name srv_addr srv_op_state srv_admin_state srv_uweight srv_iweight srv_time_since_last_change " +
		"srv_check_status srv_check_result srv_check_health srv_check_state srv_agent_state bk_f_forced_id srv_f_forced_id srv_fqdn srv_port " +
		"srvrecord srv_use_ssl srv_check_port srv_check_addr srv_agent_addr srv_agent_port\n")
	for i, p := range pools {
		ssl := 0
		if p.tls {
			ssl = 1
		}
		for n := 1; n <= p.Slots; n++ {
			s, used := slot(p, n)
			write := func(id int, backend string, used, up bool, checkState, checkPort int) {
				address, port, op, admin := "0.0.0.0", int32(1), stopped, free
				if used {
					address, port, admin = s.Address, s.Port, inUse
				}
				if up {
					op = running
				}
				fmt.Fprintf(&w, "%d %s %d %s %s %d %d 1 1 0 1 0 0 %d 0 0 0 %s %d - %d %d - - 0\n",
					id, backend, n, Server(n), address, op, admin, checkState, hostName, port, ssl, checkPort)
			}
			// 6 is a check that is configured and enabled, 14 one that is paused, 8 none.
			checkState := 14
			if used {
				checkState = 6
			}
			write(2*i+2, p.Backend, used, used && s.Up, checkState, p.checkPort)
			write(2*i+3, p.Open, used && s.Checked, used && s.Checked, 8, 0)
		}
	}
	return w.String()
}

// hostName stands for an address that is not in the configuration. It is never looked up: the top-level domain is reserved.
const hostName = "target.invalid"
