package compose

import (
	"cmp"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/compose-spec/compose-go/v2/types"
)

// Unmapped is something in a compose file that ECS gets not at all, or not as
// it is written there.
type Unmapped struct {
	// Path is where it is, such as services.web.ports[0].host_ip.
	Path string `json:"path"`
	// Reason says why, and what happens instead.
	Reason string `json:"reason"`
}

func (u Unmapped) String() string { return u.Path + ": " + u.Reason }

// What the table says of a member when it is no reason.
const (
	// mapped: a function of this package reads it, and reports what of it has
	// no counterpart.
	mapped = "mapped"
	// members: each of its members has a row of its own.
	members = "members"
	// meaningless: it is for other tools, or acts before the file is read.
	meaningless = "meaningless"
)

// fields is what becomes of every member of a compose file. Rows are reasons,
// unless they are one of the words above. Lists and maps are written [] and *.
var fields = map[string]string{ //nolint:gochecknoglobals // a constant table
	"project.name": mapped, "project.services": mapped, "project.networks": mapped, "project.volumes": mapped,
	"project.secrets": mapped, "project.configs": mapped, "project.#extensions": mapped,
	"project.jobs":   "jobs are not mapped: write a service with restart: \"no\"",
	"project.models": "AI models are not run; give the service the address of one by its environment",

	"network.name": meaningless, "network.labels": meaningless, "network.#extensions": meaningless, "network.attachable": meaningless,
	"network.driver":      "the network is a VPC's, whose driver cannot be chosen",
	"network.driver_opts": "the network is a VPC's, which has no such options",
	"network.ipam":        "tasks have addresses of their subnet; make a VPC with the range that is wanted and name its subnets with x-ecs",
	"network.external":    "tasks are in the default VPC; name another network's subnets with x-ecs: {service: {networkConfiguration: ...}}",
	"network.internal":    "tasks reach the internet as their subnet's route table says; name a private subnet with x-ecs",
	"network.enable_ipv4": mapped,
	"network.enable_ipv6": mapped,

	"volume.name": mapped, "volume.driver": mapped, "volume.driver_opts": mapped, "volume.external": mapped,
	"volume.labels": mapped, "volume.#extensions": meaningless,

	"object.name": mapped, "object.file": mapped, "object.environment": mapped, "object.content": mapped, "object.external": mapped,
	"object.#extensions":     meaningless,
	"object.labels":          "a secret of Secrets Manager gets no labels",
	"object.driver":          "Secrets Manager keeps it; there are no other drivers",
	"object.driver_opts":     "Secrets Manager keeps it; there are no other drivers",
	"object.template_driver": "the value is used as it is, without a template",

	"service.name": mapped, "service.profiles": meaningless, "service.deploy": members, "service.restart": mapped, "service.scale": mapped,
	"service.container_name": "tasks have ids; the container has the service's name",
	"service.develop":        "watching files is for docker compose; deploy again with berth compose up",
	"service.attach":         "output goes to the logs: berth logs",
	"service.provider":       "providers are programs of docker compose and are not run",
	"service.extends":        meaningless, // resolved when the file is loaded
	"service.external_links": "name the other task by its name in Cloud Map",
	"service.links":          mapped,
	"service.net":            "replaced by network_mode, which has no counterpart: a task has an address of its own (awsvpc)",
	"service.pre_start":      "add an init container with x-ecs: {taskDefinition: {containerDefinitions: [...]}} and dependsOn",
	"service.post_start":     "ECS runs nothing after a start; berth exec does",
	"service.pre_stop":       "ECS runs nothing before a stop; the program gets its stop signal",
	"service.#extensions":    mapped,

	"service.annotations":         "ECS has no annotations; use labels",
	"service.blkio_config":        "ECS does not limit block I/O",
	"service.cap_add":             mapped,
	"service.cap_drop":            mapped,
	"service.cgroup_parent":       "a task's cgroup is ECS's to choose",
	"service.cgroup":              "a task's cgroup namespace is ECS's to choose",
	"service.cpu_count":           "use deploy.resources.limits.cpus",
	"service.cpu_percent":         "use deploy.resources.limits.cpus",
	"service.cpu_period":          "use deploy.resources.limits.cpus",
	"service.cpu_quota":           "use deploy.resources.limits.cpus",
	"service.cpu_rt_period":       "ECS does not schedule in real time",
	"service.cpu_rt_runtime":      "ECS does not schedule in real time",
	"service.cpus":                mapped,
	"service.cpuset":              "ECS does not pin tasks to cores",
	"service.cpu_shares":          "a task has its CPU for itself; use deploy.resources.limits.cpus",
	"service.command":             mapped,
	"service.configs":             mapped,
	"service.credential_spec":     "it is for Windows containers",
	"service.device_cgroup_rules": "ECS gives devices by their paths; use devices",
	"service.devices":             mapped,
	"service.dns":                 noDNS,
	"service.dns_opt":             noDNS,
	"service.dns_search":          noDNS,
	"service.domainname":          "a task's host name is that of its address",
	"service.entrypoint":          mapped,
	"service.environment":         mapped,
	"service.env_file":            meaningless, // in environment, when the file is loaded
	"service.extra_hosts":         "ECS refuses extraHosts in network mode awsvpc; give the name to Cloud Map",
	"service.group_add":           "ECS gives no supplementary groups; user may name one group, USER:GROUP",
	"service.gpus":                noGPU,
	"service.hostname":            "a task's host name is that of its address",
	"service.image":               mapped,
	"service.init":                mapped,
	"service.ipc":                 "containers do not share IPC namespaces",
	"service.isolation":           "it is for Windows containers",
	"service.labels":              mapped,
	"service.label_file":          meaningless, // in labels, when the file is loaded
	"service.logging":             mapped,
	"service.log_driver":          "use logging.driver",
	"service.log_opt":             "use logging.options",
	"service.mem_limit":           mapped,
	"service.mem_reservation":     mapped,
	"service.memswap_limit":       noSwap,
	"service.mem_swappiness":      noSwap,
	"service.mac_address":         "a network interface's MAC address is the VPC's to choose",
	"service.models":              "AI models are not run; give the service the address of one by its environment",
	"service.network_mode":        mapped,
	"service.networks":            members,
	"service.networks.*":          members,
	"service.oom_kill_disable":    "ECS cannot switch the OOM killer off",
	"service.oom_score_adj":       "ECS does not set it",
	"service.pid":                 "containers do not share process namespaces",
	"service.pids_limit":          noPIDs,
	"service.platform":            mapped,
	"service.privileged":          mapped,
	"service.pull_policy":         mapped,
	"service.pull_refresh_after":  "images are pulled when their name leads to another digest",
	"service.read_only":           mapped,
	"service.runtime":             "ECS has one runtime",
	"service.secrets":             mapped,
	"service.security_opt":        "SELinux, AppArmor and seccomp profiles cannot be chosen; Docker's default seccomp profile applies",
	"service.shm_size":            mapped,
	"service.stop_grace_period":   mapped,
	"service.stop_signal":         mapped,
	"service.storage_opt":         "ECS does not limit a container's own file system; x-ecs: {taskDefinition: {ephemeralStorage: ...}} is the task's",
	"service.sysctls":             mapped,
	"service.tmpfs":               mapped,
	"service.ulimits":             mapped,
	"service.umask":               "ECS does not set it",
	"service.use_api_socket":      "tasks do not get Docker's socket",
	"service.user":                mapped,
	"service.userns_mode":         "ECS does not choose user namespaces",
	"service.uts":                 "containers do not share the host's UTS namespace",
	"service.volume_driver":       "name the driver at the volume",
	"service.volumes":             members,
	"service.volumes[]":           members,
	"service.volumes_from":        "services are tasks of their own; name the same volume in both",
	"service.working_dir":         mapped,
	"service.build":               mapped,
	"service.depends_on":          members,
	"service.depends_on.*":        members,
	"service.dockerfile":          "use build.dockerfile",
	"service.expose":              mapped,
	"service.healthcheck":         members,
	"service.ports":               members,
	"service.ports[]":             members,
	"service.stdin_open":          "Berth does not keep a container's standard input open; berth exec -it opens a terminal",
	"service.tty":                 mapped,

	"service.depends_on.*.condition": mapped, "service.depends_on.*.required": mapped, "service.depends_on.*.#extensions": meaningless,
	"service.depends_on.*.restart": "a service is not restarted when another one is",

	"service.healthcheck.test": mapped, "service.healthcheck.timeout": mapped, "service.healthcheck.interval": mapped,
	"service.healthcheck.retries": mapped, "service.healthcheck.start_period": mapped, "service.healthcheck.disable": mapped,
	"service.healthcheck.#extensions":    meaningless,
	"service.healthcheck.start_interval": "ECS checks at the interval from the start on",

	"service.ports[].name": mapped, "service.ports[].mode": mapped, "service.ports[].target": mapped, "service.ports[].published": mapped,
	"service.ports[].protocol": mapped, "service.ports[].app_protocol": mapped, "service.ports[].#extensions": meaningless,
	"service.ports[].host_ip": "the load balancer has an address of its own, which is not the host's",

	"service.volumes[].type": mapped, "service.volumes[].source": mapped, "service.volumes[].target": mapped, "service.volumes[].read_only": mapped,
	"service.volumes[].bind": members, "service.volumes[].volume": members, "service.volumes[].tmpfs": members, "service.volumes[].#extensions": meaningless,
	"service.volumes[].consistency":           "it is for Docker Desktop",
	"service.volumes[].image":                 "ECS does not mount images",
	"service.volumes[].bind.create_host_path": mapped, "service.volumes[].bind.#extensions": meaningless,
	"service.volumes[].bind.selinux":       "files are not relabelled for SELinux",
	"service.volumes[].bind.propagation":   "ECS does not set mount propagation",
	"service.volumes[].bind.recursive":     "mounts below it are there too, as they are",
	"service.volumes[].volume.#extensions": meaningless,
	"service.volumes[].volume.labels":      "use the volume's labels",
	"service.volumes[].volume.nocopy":      "ECS cannot choose whether the image's files are copied to a new volume",
	"service.volumes[].volume.subpath":     "ECS mounts whole volumes",
	"service.volumes[].tmpfs.size":         mapped, "service.volumes[].tmpfs.mode": mapped, "service.volumes[].tmpfs.#extensions": meaningless,

	"service.networks.*.aliases": mapped, "service.networks.*.#extensions": meaningless,
	"service.networks.*.driver_opts":            noInterface,
	"service.networks.*.gw_priority":            noInterface,
	"service.networks.*.interface_name":         noInterface,
	"service.networks.*.ipv4_address":           "a task's address is its subnet's to choose",
	"service.networks.*.ipv6_address":           "a task's address is its subnet's to choose",
	"service.networks.*.link_local_ips":         noInterface,
	"service.networks.*.mac_address":            "a network interface's MAC address is the VPC's to choose",
	"service.networks.*.priority":               noInterface,
	"service.networks.*.use_service_name_alias": "the service is found by its name in the project's namespace, whatever network it is in",

	"service.deploy.mode": mapped, "service.deploy.replicas": mapped, "service.deploy.labels": mapped, "service.deploy.update_config": members,
	"service.deploy.rollback_config": "ECS rolls back as it deploys: see update_config",
	"service.deploy.resources":       members, "service.deploy.restart_policy": members, "service.deploy.placement": members,
	"service.deploy.endpoint_mode": "a service is found by the addresses of its tasks (dnsrr)",
	"service.deploy.#extensions":   meaningless,

	"service.deploy.update_config.parallelism": mapped, "service.deploy.update_config.failure_action": mapped,
	"service.deploy.update_config.order": mapped, "service.deploy.update_config.#extensions": meaningless,
	"service.deploy.update_config.delay":             "ECS goes on as soon as new tasks are healthy",
	"service.deploy.update_config.monitor":           "ECS watches new tasks until the deployment is complete; x-ecs: {service: {deploymentConfiguration: {bakeTimeInMinutes: ...}}} is longer",
	"service.deploy.update_config.max_failure_ratio": "ECS's circuit breaker has its own threshold",

	"service.deploy.resources.limits": members, "service.deploy.resources.reservations": members, "service.deploy.resources.#extensions": meaningless,
	"service.deploy.resources.limits.cpus": mapped, "service.deploy.resources.limits.memory": mapped,
	"service.deploy.resources.limits.pids": noPIDs, "service.deploy.resources.limits.devices": noGPU,
	"service.deploy.resources.limits.generic_resources": noGeneric, "service.deploy.resources.limits.#extensions": meaningless,
	"service.deploy.resources.reservations.cpus": mapped, "service.deploy.resources.reservations.memory": mapped,
	"service.deploy.resources.reservations.pids": noPIDs, "service.deploy.resources.reservations.devices": noGPU,
	"service.deploy.resources.reservations.generic_resources": noGeneric, "service.deploy.resources.reservations.#extensions": meaningless,

	"service.deploy.restart_policy.condition": mapped, "service.deploy.restart_policy.window": mapped, "service.deploy.restart_policy.#extensions": meaningless,
	"service.deploy.restart_policy.delay":        "ECS restarts at once, and waits longer when tasks fail again and again",
	"service.deploy.restart_policy.max_attempts": "ECS goes on trying; its circuit breaker ends a deployment that does not succeed",

	"service.deploy.placement.constraints":           "use x-ecs: {service: {placementConstraints: ...}}, which EC2 tasks have",
	"service.deploy.placement.preferences":           "use x-ecs: {service: {placementStrategy: ...}}, which EC2 tasks have",
	"service.deploy.placement.max_replicas_per_node": "use x-ecs: {service: {placementConstraints: [{type: distinctInstance}]}}, which EC2 tasks have",
	"service.deploy.placement.#extensions":           meaningless,
}

const (
	noDNS       = "ECS refuses dnsServers and dnsSearchDomains in network mode awsvpc"
	noGPU       = "Berth cannot give GPUs to containers yet"
	noSwap      = "containers have no swap of their own"
	noPIDs      = "ECS does not limit the number of processes; ulimits.nproc limits a user's"
	noGeneric   = "ECS has no generic resources"
	noInterface = "a task has one network interface, which the VPC makes"
)

// survey lists what a value sets that the table gives a reason for.
func survey(found *[]Unmapped, path, row string, v reflect.Value) {
	for v.Kind() == reflect.Pointer {
		if v.IsNil() {
			return
		}
		v = v.Elem()
	}
	switch v.Kind() {
	case reflect.Slice:
		for i := range v.Len() {
			survey(found, fmt.Sprintf("%s[%d]", path, i), row+"[]", v.Index(i))
		}
	case reflect.Map:
		for entries := v.MapRange(); entries.Next(); {
			survey(found, path+"."+entries.Key().String(), row+".*", entries.Value())
		}
	case reflect.Struct:
		for name, field := range membersOf(v) {
			if field.IsZero() {
				continue
			}
			switch said := fields[row+"."+name]; said {
			case mapped, meaningless:
			case members:
				survey(found, path+"."+name, row+"."+name, field)
			case "":
				*found = append(*found, Unmapped{path + "." + name, "this version of Berth does not know it"})
			default:
				*found = append(*found, Unmapped{path + "." + name, said})
			}
		}
	}
}

// membersOf are the members of a struct of compose-go by their names in the
// file, those of embedded structs too.
func membersOf(v reflect.Value) func(yield func(string, reflect.Value) bool) {
	return func(yield func(string, reflect.Value) bool) {
		for i := range v.NumField() {
			f := v.Type().Field(i)
			name, _, _ := strings.Cut(f.Tag.Get("yaml"), ",")
			switch {
			case f.Anonymous:
				for name, value := range membersOf(v.Field(i)) {
					if !yield(name, value) {
						return
					}
				}
			case !f.IsExported() || name == "-":
			default:
				if !yield(name, v.Field(i)) {
					return
				}
			}
		}
	}
}

// listed is everything of a project that the table gives a reason for.
func listed(p *types.Project) []Unmapped {
	var found []Unmapped
	survey(&found, "", "project", reflect.ValueOf(*p))
	for i := range found {
		found[i].Path = strings.TrimPrefix(found[i].Path, ".")
	}
	for name, s := range p.Services {
		survey(&found, "services."+name, "service", reflect.ValueOf(s))
	}
	for name, n := range p.Networks {
		survey(&found, "networks."+name, "network", reflect.ValueOf(n))
	}
	for name, s := range p.Secrets {
		survey(&found, "secrets."+name, "object", reflect.ValueOf(s))
	}
	for name, s := range p.Configs {
		survey(&found, "configs."+name, "object", reflect.ValueOf(s))
	}
	return found
}

// sorted orders a list by paths, and drops what is in it twice.
func sorted(list []Unmapped) []Unmapped {
	slices.SortFunc(list, func(a, b Unmapped) int {
		return cmp.Or(strings.Compare(a.Path, b.Path), strings.Compare(a.Reason, b.Reason))
	})
	return slices.Compact(list)
}
