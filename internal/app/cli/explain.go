package cli

import (
	"fmt"
	"regexp"
	"strings"
)

// advice says in plain words what a reason of ECS means, and what to do.
type advice struct {
	Meaning string   `json:"meaning"`
	Do      []string `json:"do"`
}

// reasons maps what ECS says to advice. The first that matches is used, so
// what is particular stands before what is general. The words on the left are
// AWS's (behaviour/task-lifecycle.md §3 to §5).
var reasons = []struct { //nolint:gochecknoglobals // a constant table
	words  *regexp.Regexp
	advice advice
}{
	{match(`CannotPull.*(insufficient_scope|access denied|unauthorized|authorization failed|401|403)|CannotPullContainerAuthError`), advice{
		"The registry does not give this image to whom asked: it is private, or it does not exist.",
		[]string{"check the spelling of the image", "for a private registry, set repositoryCredentials", "or have it here: berth push IMAGE"},
	}},
	{match(`CannotPull.*(not found|404|manifest unknown|does not exist)`), advice{
		"The image or its tag is not in the registry, nor on this host.",
		[]string{"check the name and the tag", "an image of this host: berth push IMAGE, and name it as that prints it"},
	}},
	{match(`CannotPull.*(platform|architecture)`), advice{
		"The image was not built for the architecture of the node.",
		[]string{"build it for this one: docker build --platform linux/amd64, or linux/arm64"},
	}},
	{match(`CannotPull`), advice{
		"The image could not be fetched. The registry may be out of reach.",
		[]string{"check that the node reaches the registry", "without a network, have it here: berth push IMAGE"},
	}},
	{match(`OutOfMemory`), advice{
		"The kernel killed a process because the container had used all of its memory.",
		[]string{"raise memory of the container, or of the task", "look for what grows: the last log lines are below"},
	}},
	{match(`DockerTimeoutError|ContainerRuntimeTimeoutError|timed out after waiting`), advice{
		"A container did not get ready within its startTimeout, or what it depends on did not.",
		[]string{"look at the health check of what it depends on", "raise startTimeout if the start is slow by nature"},
	}},
	{match(`(?i)dependenc|TaskDependencyError`), advice{
		"A container waits (dependsOn) for another that can no longer get there: it ended, failed or never got healthy.",
		[]string{"look at the exit code of the other container below", "check the condition: SUCCESS needs exit code 0, COMPLETE any, HEALTHY a healthCheck"},
	}},
	{match(`exec format error`), advice{
		"The program is for another architecture, or is a script without a first line such as #!/bin/sh.",
		[]string{"build the image for this node's architecture", "check the entry point's file"},
	}},
	{match(`CannotStartContainerError|ContainerRuntimeError`), advice{
		"The container was made, but its command could not be started. Mostly the command is not in the image.",
		[]string{"check command, entryPoint and workingDirectory", "check that the file is there and may be executed"},
	}},
	{match(`CannotCreateContainerError|CannotCreateVolumeError`), advice{
		"The container could not be made from its definition.",
		[]string{"read the reason to its end: it names the field", "check user, volumes and mount points"},
	}},
	{match(`ResourceInitializationError.*(logger|log)`), advice{
		"The container's log could not be prepared.",
		[]string{"check awslogs-group and awslogs-region", "let the group be made: awslogs-create-group true"},
	}},
	{match(`ResourceInitializationError.*(secret|registry auth)`), advice{
		"A secret or a login for the registry could not be read.",
		[]string{"check the ARN of the secret and that it exists here"},
	}},
	{match(`ResourceInitializationError|ContainerNetworkingError|network interface`), advice{
		"What the task needs before its containers could not be prepared.",
		[]string{"read the reason to its end", "berth doctor", "the agent's log is agent/agent.log in the data directory"},
	}},
	{match(`RESOURCE:FARGATE|Capacity is unavailable`), advice{
		"No node has room for a FARGATE task of this size.",
		[]string{"ask for less cpu and memory", "stop a task: berth ps, berth stop TASK", "add a node: berth agent --server … --join-token …"},
	}},
	{match(`RESOURCE:(CPU|MEMORY)`), advice{
		"No container instance has as much CPU or memory left as the task asks for.",
		[]string{"ask for less", "stop a task: berth ps, berth stop TASK", "add a node"},
	}},
	{match(`RESOURCE:PORTS`), advice{
		"The host port is taken on every container instance.",
		[]string{"use awsvpc, or no hostPort"},
	}},
	{match(`RESOURCE:`), advice{
		"No container instance has enough of this resource left.",
		[]string{"ask for less, or add a node"},
	}},
	{match(`^AGENT|: AGENT|agent.*disconnected|(?i)agent lost|(?i)host .*terminated|(?i)out of reach`), advice{
		"The node's agent was not connected, or was lost: nobody could see or steer the task.",
		[]string{"berth doctor", "see that `berth up` or `berth agent` runs on the node"},
	}},
	{match(`^ATTRIBUTE|: ATTRIBUTE`), advice{
		"No container instance has an attribute that the task requires.",
		[]string{"look at requiresAttributes: aws ecs describe-task-definition"},
	}},
	{match(`(?i)placement constraint|memberof`), advice{
		"The placement constraints leave no container instance.",
		[]string{"look at placementConstraints of the task definition and of the request"},
	}},
	{match(`LOCATION`), advice{
		"The subnets given are in other zones than the nodes.",
		[]string{"give subnets of the node's zone, or none"},
	}},
	{match(`EMPTY CAPACITY|NO ACTIVE INSTANCES|INACTIVE|No Container Instances`), advice{
		"The cluster has no active node.",
		[]string{"start one: berth up, or berth agent --cluster …"},
	}},
	{match(`(?i)failed container health checks|unhealthy`), advice{
		"The container's health check failed as often in a row as retries allows.",
		[]string{"run the check's command by hand", "raise startPeriod if the start is slow"},
	}},
	{match(`MISSING`), advice{
		"There is no such task, or it stopped so long ago that it is forgotten.",
		[]string{"berth ps -a"},
	}},
}

func match(words string) *regexp.Regexp { return regexp.MustCompile(words) }

// explain finds advice for a reason; without any its Meaning is empty.
func explain(reason string) advice {
	for _, r := range reasons {
		if r.words.MatchString(reason) {
			return r.advice
		}
	}
	return advice{}
}

// explainExit says what an exit code means by the conventions of shells and
// kernels.
func explainExit(code int32) advice {
	switch {
	case code == 0:
		return advice{"It ended by itself, without an error.", []string{"a service must not end; a job may: this is success"}}
	case code == 125 || code == 126:
		return advice{"The command was found but may not be executed.", []string{"chmod +x it in the image", "check the container's user"}}
	case code == 127:
		return advice{"The command was not found in the image.", []string{"check command, entryPoint and PATH"}}
	case code == 137:
		return advice{"It was killed with SIGKILL: it did not end within stopTimeout after SIGTERM, or used too much memory.", []string{"let the program end at SIGTERM", "raise stopTimeout", "if nobody stopped it, raise memory"}}
	case code == 139:
		return advice{"It crashed: segmentation fault.", []string{"read the last log lines"}}
	case code == 143:
		return advice{"It ended at SIGTERM, as it should when it is stopped.", nil}
	case code > 128 && code < 160:
		return advice{fmt.Sprintf("It was ended by signal %d.", code-128), []string{"read the last log lines"}}
	case code == 255:
		return advice{"It ended with an error, or the node lost sight of it.", []string{"read the last log lines"}}
	}
	return advice{"The program ended by itself with an error.", []string{"read the last log lines"}}
}

// advise prints advice below what it is about.
func (p *printer) advise(a advice) {
	if a.Meaning == "" {
		return
	}
	p.say("   %s", a.Meaning)
	for _, do := range a.Do {
		p.say("   %s %s", p.paint("36", "·"), do)
	}
}

// firstLine is the beginning of a text that may have many lines.
func firstLine(s string) string {
	line, _, _ := strings.Cut(s, "\n")
	return line
}
