package compose

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	ecstypes "github.com/aws/aws-sdk-go-v2/service/ecs/types"
	"github.com/compose-spec/compose-go/v2/types"
)

// container is the service's container.
func (w *work) container() (*ecstypes.ContainerDefinition, error) {
	s := w.s
	out := &ecstypes.ContainerDefinition{
		Name: aws.String(s.Name), Image: aws.String(s.Image), Essential: aws.Bool(true),
		EntryPoint: s.Entrypoint, Command: s.Command, DockerLabels: maps.Clone(map[string]string(s.Labels)),
	}
	if err := w.image(out); err != nil {
		return nil, err
	}
	for member, list := range map[string]types.ShellCommand{"command": s.Command, "entrypoint": s.Entrypoint} {
		if list != nil && len(list) == 0 {
			w.not(w.at+"."+member, "ECS cannot empty what the image says; the image's stays")
		}
	}
	if s.User != "" {
		out.User = &s.User
	}
	if s.WorkingDir != "" {
		out.WorkingDirectory = &s.WorkingDir
	}
	out.Environment = w.environment()
	w.secrets(out)
	if err := w.mounts(out); err != nil {
		return nil, err
	}
	w.configs(out)
	w.ports(out)
	out.HealthCheck = w.health()
	out.LogConfiguration = w.logging()
	out.Ulimits = w.ulimits()
	out.LinuxParameters = w.linux(out)
	out.RestartPolicy = w.restart()
	for _, name := range slices.Sorted(maps.Keys(s.Sysctls)) {
		out.SystemControls = append(out.SystemControls, ecstypes.SystemControl{Namespace: aws.String(name), Value: aws.String(s.Sysctls[name])})
	}
	w.flags(out)
	w.stop(out)
	w.netModes()
	return out, nil
}

// image is the image's name; one that is built has that of docker compose.
func (w *work) image(out *ecstypes.ContainerDefinition) error {
	if w.s.Build == nil {
		if w.s.Image == "" {
			return fmt.Errorf("%s has neither image nor build", w.at)
		}
	} else {
		if w.s.Image == "" {
			out.Image = &w.full
		}
		w.not(w.at+".build", "the image %s is expected to exist: docker compose build, berth compose up --build, or berth push", *out.Image)
	}
	switch w.s.PullPolicy {
	case "", types.PullPolicyMissing, types.PullPolicyIfNotPresent:
	case types.PullPolicyBuild:
		if w.s.Build == nil {
			w.not(w.at+".pull_policy", "ECS builds no images")
		}
	default:
		w.not(w.at+".pull_policy", "images are pulled as their node does it; a deployment takes the digest that the name has then")
	}
	return nil
}

// flags are the switches of the container.
func (w *work) flags(out *ecstypes.ContainerDefinition) {
	if w.s.ReadOnly {
		out.ReadonlyRootFilesystem = aws.Bool(true)
	}
	if w.s.Tty {
		out.PseudoTerminal = aws.Bool(true)
	}
	if w.s.Privileged {
		out.Privileged = aws.Bool(true)
		w.host("privileged")
	}
}

// mostStopFargate is the longest stop timeout of Fargate, in seconds.
const mostStopFargate = 120

func (w *work) stop(out *ecstypes.ContainerDefinition) {
	if w.s.StopGracePeriod != nil {
		n := secondsOf(*w.s.StopGracePeriod)
		fits := within(n, 2, mostStopFargate)
		if len(w.ec2) > 0 {
			fits = n
		}
		if fits != n {
			w.not(w.at+".stop_grace_period", "Fargate has 2 to %d seconds: it is %d", mostStopFargate, fits)
		}
		out.StopTimeout = aws.Int32(int32(fits)) //nolint:gosec // within a range, or some seconds
	}
	if signal := strings.TrimPrefix(strings.ToUpper(w.s.StopSignal), "SIG"); signal != "" && signal != "TERM" && signal != "15" {
		w.not(w.at+".stop_signal", "ECS sends the image's stop signal (STOPSIGNAL), else SIGTERM")
	}
}

func (w *work) netModes() {
	switch mode := w.s.NetworkMode; mode {
	case "", "bridge", "default":
	case "none":
		w.not(w.at+".network_mode", "the task has a network all the same; a security group without rules closes it")
	default:
		w.not(w.at+".network_mode", "%s: a task has an address of its own (awsvpc)", mode)
	}
	for _, name := range slices.Sorted(maps.Keys(w.s.Networks)) {
		if n := w.s.Networks[name]; n != nil && len(n.Aliases) > 0 {
			w.not(w.at+".networks."+name+".aliases", "a service has one name in Cloud Map, %s.%s", w.s.Name, w.out.Namespace)
		}
	}
	for i, link := range w.s.Links {
		if service, alias, named := strings.Cut(link, ":"); named && alias != service {
			w.not(fmt.Sprintf("%s.links[%d]", w.at, i), "a service has one name in Cloud Map: %s is not another", alias)
		}
	}
}

// localDomain is the variable by which glibc's resolver searches a domain.
const localDomain = "LOCALDOMAIN"

// environment has the variables that have a value; one without is not set in
// the environment of who deploys either, and Compose leaves it out too.
func (w *work) environment() []ecstypes.KeyValuePair {
	all := map[string]string{localDomain: w.out.Namespace}
	for name, value := range w.s.Environment {
		if value != nil {
			all[name] = *value
		}
	}
	var out []ecstypes.KeyValuePair
	for _, name := range slices.Sorted(maps.Keys(all)) {
		out = append(out, ecstypes.KeyValuePair{Name: aws.String(name), Value: aws.String(all[name])})
	}
	return out
}

// ports are the ports that the container answers on, each once.
func (w *work) ports(out *ecstypes.ContainerDefinition) {
	seen := map[string]bool{}
	add := func(at string, port uint32, protocol, name, app string) {
		if protocol == "" {
			protocol = "tcp"
		}
		switch key := fmt.Sprintf("%d/%s", port, protocol); {
		case port == 0 || port > 65535:
			w.not(at, "%d is no port", port)
		case protocol != "tcp" && protocol != "udp":
			w.not(at, "ECS has tcp and udp, not %s", protocol)
		case seen[key]:
		default:
			seen[key] = true
			m := ecstypes.PortMapping{ContainerPort: aws.Int32(int32(port)), Protocol: ecstypes.TransportProtocol(protocol)} //nolint:gosec // 16 bits
			if name != "" {
				m.Name = aws.String(name)
			}
			if slices.Contains(m.AppProtocol.Values(), ecstypes.ApplicationProtocol(app)) {
				m.AppProtocol = ecstypes.ApplicationProtocol(app)
			}
			out.PortMappings = append(out.PortMappings, m)
		}
	}
	for i, p := range w.s.Ports {
		add(fmt.Sprintf("%s.ports[%d].protocol", w.at, i), p.Target, p.Protocol, p.Name, p.AppProtocol)
	}
	for i, text := range w.s.Expose {
		at := fmt.Sprintf("%s.expose[%d]", w.at, i)
		ports, protocol, _ := strings.Cut(text, "/")
		first, last, isRange := strings.Cut(ports, "-")
		if !isRange {
			last = first
		}
		low, err1 := strconv.ParseUint(first, 10, 16)
		high, err2 := strconv.ParseUint(last, 10, 16)
		if err1 != nil || err2 != nil {
			w.not(at, "%q is no port", text)
			continue
		}
		for port := low; port <= high; port++ {
			add(at, uint32(port), protocol, "", "") //nolint:gosec // 16 bits
		}
	}
}

// webPorts are those on which programs speak HTTP, by custom.
var webPorts = []uint32{80, 3000, 4000, 4200, 5000, 8000, 8080, 8081, 8088, 8888, 9000, 9090} //nolint:gochecknoglobals // a constant list

// publishedPorts are the ports of the load balancer.
func (w *work) publishedPorts() ([]Port, error) {
	var all []Port
	taken := map[int32]bool{}
	for i, p := range w.s.Ports {
		at := fmt.Sprintf("%s.ports[%d]", w.at, i)
		switch {
		case p.Protocol != "" && p.Protocol != "tcp":
			w.not(at, "only TCP ports are published by a load balancer; the task answers at its own address")
			continue
		case p.Mode == "host":
			w.not(at+".mode", "the port is published by a load balancer, not by the host")
		}
		if p.Published == "" || p.Published == "0" {
			w.not(at+".published", "no port is named, and none is chosen: the port is open inside the VPC")
			continue
		}
		n, err := strconv.ParseUint(p.Published, 10, 16)
		if err != nil {
			return nil, fmt.Errorf("%s.published: %q is not one port", at, p.Published)
		}
		port := Port{Published: int32(n), Target: int32(p.Target), HTTP: isHTTP(p)} //nolint:gosec // 16 bits
		if taken[port.Published] {
			w.not(at+".published", "port %d of the load balancer leads elsewhere already", n)
			continue
		}
		taken[port.Published] = true
		all = append(all, port)
	}
	return all, nil
}

func isHTTP(p types.ServicePortConfig) bool {
	switch p.AppProtocol {
	case "http", "http2", "grpc":
		return p.AppProtocol == "http"
	case "":
		return slices.Contains(webPorts, p.Target)
	}
	return false
}

// logging sends output to CloudWatch Logs, whatever driver it is.
func (w *work) logging() *ecstypes.LogConfiguration {
	options := map[string]string{
		"awslogs-group": "/ecs/" + w.full, "awslogs-region": w.options.Region, "awslogs-stream-prefix": "ecs", "awslogs-create-group": "true",
	}
	l := w.s.Logging
	if l == nil {
		return &ecstypes.LogConfiguration{LogDriver: ecstypes.LogDriverAwslogs, Options: options}
	}
	switch l.Driver {
	case "none":
		return nil
	case "awslogs":
		maps.Copy(options, l.Options)
		if options["awslogs-create-group"] != "true" {
			delete(options, "awslogs-create-group") // ECS refuses another value
		}
	default:
		if l.Driver != "" {
			w.not(w.at+".logging.driver", "Berth has the log driver awslogs; output goes to the log group %s", options["awslogs-group"])
		}
		for _, name := range slices.Sorted(maps.Keys(l.Options)) {
			w.not(w.at+".logging.options."+name, "it is of another log driver than awslogs")
		}
	}
	return &ecstypes.LogConfiguration{LogDriver: ecstypes.LogDriverAwslogs, Options: options}
}
