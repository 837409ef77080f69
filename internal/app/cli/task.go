package cli

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
)

// Task statuses that the verbs wait for.
const (
	running = "RUNNING"
	stopped = "STOPPED"
)

// shortLength is how much of a task's id people see and type.
const shortLength = 8

// lastPart is the name or id at the end of an ARN.
func lastPart(arn string) string { return arn[strings.LastIndexByte(arn, '/')+1:] }

func taskID(t *types.Task) string { return lastPart(aws.ToString(t.TaskArn)) }

func short(id string) string { return id[:min(len(id), shortLength)] }

// clusterOf is the name of the task's cluster.
func clusterOf(t *types.Task) string { return lastPart(aws.ToString(t.ClusterArn)) }

// address is the private address of the task's network interface, empty while
// there is none.
func address(t *types.Task) string {
	for _, a := range t.Attachments {
		for _, d := range a.Details {
			if aws.ToString(d.Name) == "privateIPv4Address" {
				return aws.ToString(d.Value)
			}
		}
	}
	return ""
}

// ports lists what the containers of a definition listen on, such as 3000 or
// 53/udp.
func ports(def *types.TaskDefinition) []string {
	var all []string
	if def == nil {
		return nil
	}
	for _, c := range def.ContainerDefinitions {
		for _, m := range c.PortMappings {
			switch port := aws.ToInt32(m.ContainerPort); {
			case port == 0:
			case m.Protocol == types.TransportProtocolUdp:
				all = append(all, fmt.Sprintf("%d/udp", port))
			default:
				all = append(all, strconv.Itoa(int(port)))
			}
		}
	}
	return all
}

// urls are where the task answers, guessed from its TCP ports.
func urls(t *types.Task, def *types.TaskDefinition) []string {
	ip := address(t)
	if ip == "" {
		return nil
	}
	var all []string
	for _, port := range ports(def) {
		if !strings.HasSuffix(port, "/udp") {
			all = append(all, "http://"+ip+":"+port)
		}
	}
	return all
}

// containerWord says in a few words how a container is.
func containerWord(c types.Container) string {
	word := strings.ToLower(aws.ToString(c.LastStatus))
	if c.ExitCode != nil {
		word = fmt.Sprintf("exit %d", *c.ExitCode)
	}
	if c.HealthStatus == types.HealthStatusUnhealthy {
		word += " unhealthy"
	}
	if text := pullWord(&c); text != "" {
		word = text
	}
	return aws.ToString(c.Name) + " " + word
}

// pullWord says how far a container's image has come while it is pulled, as
// Berth tells it in the reason of a container that has not started.
func pullWord(c *types.Container) string {
	text, ok := strings.CutPrefix(aws.ToString(c.Reason), "Pulling image")
	if !ok || aws.ToString(c.LastStatus) != "PENDING" {
		return ""
	}
	return "pulling" + strings.Replace(text, ":", "", 1)
}

// imagesRan are the images of a task's containers, with the beginnings of
// their digests once they are known.
func imagesRan(t *types.Task) string {
	var all []string
	for _, c := range t.Containers {
		image, _, _ := strings.Cut(aws.ToString(c.Image), "@")
		if _, hex, ok := strings.Cut(aws.ToString(c.ImageDigest), ":"); ok {
			image += "@" + hex[:min(len(hex), 7)]
		}
		if image != "" && !slices.Contains(all, image) {
			all = append(all, image)
		}
	}
	return strings.Join(all, ", ")
}

// age says how long ago, or how long, in the largest fitting units.
func age(d time.Duration) string {
	switch {
	case d < 0:
		return "0s"
	case d < 2*time.Minute:
		return fmt.Sprintf("%ds", int(d.Seconds()))
	case d < 2*time.Hour:
		return fmt.Sprintf("%dm", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh", int(d.Hours()))
	default:
		return fmt.Sprintf("%dd", int(d.Hours()/24))
	}
}

// describeLimit is how many tasks one DescribeTasks takes.
const describeLimit = 100

// describe returns tasks of one cluster in the order of their ARNs or ids.
func (c *clients) describe(ctx context.Context, cluster string, tasks []string) ([]types.Task, []types.Failure, error) {
	var all []types.Task
	var failures []types.Failure
	for some := range slices.Chunk(tasks, describeLimit) {
		out, err := c.ecs.DescribeTasks(ctx, &ecs.DescribeTasksInput{
			Cluster: &cluster, Tasks: some, Include: []types.TaskField{types.TaskFieldTags},
		})
		if err != nil {
			return nil, nil, explained(err)
		}
		all, failures = append(all, out.Tasks...), append(failures, out.Failures...)
	}
	place := map[string]int{}
	for i, t := range tasks {
		place[lastPart(t)] = i
	}
	slices.SortStableFunc(all, func(a, b types.Task) int { return place[taskID(&a)] - place[taskID(&b)] })
	return all, failures, nil
}

// list returns the ARNs of a cluster's tasks with one desired status, of one
// family unless it is empty.
func (c *clients) list(ctx context.Context, cluster, family string, desired types.DesiredStatus) ([]string, error) {
	in := &ecs.ListTasksInput{Cluster: &cluster, DesiredStatus: desired}
	if family != "" {
		in.Family = &family
	}
	var all []string
	for pages := ecs.NewListTasksPaginator(c.ecs, in); pages.HasMorePages(); {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, explained(err)
		}
		all = append(all, page.TaskArns...)
	}
	return all, nil
}

// everyTask lists tasks whether they run or are stopped.
func (c *clients) everyTask(ctx context.Context, cluster, family string) ([]string, error) {
	live, err := c.list(ctx, cluster, family, types.DesiredStatusRunning)
	if err != nil {
		return nil, err
	}
	gone, err := c.list(ctx, cluster, family, types.DesiredStatusStopped)
	return append(live, gone...), err
}

// fullID is how long a whole task id is.
const fullID = 32

// resolve turns what a person typed into the ARN or id of one task: an ARN, an
// id, or the beginning of an id that only one task has.
func (c *clients) resolve(ctx context.Context, cluster, typed string) (string, error) {
	if strings.HasPrefix(typed, "arn:") || len(typed) == fullID {
		return typed, nil
	}
	all, err := c.everyTask(ctx, cluster, "")
	if err != nil {
		return "", err
	}
	return oneWithPrefix(all, cluster, typed)
}

// noTask says that nothing begins with what was typed.
type noTask struct{ cluster, typed string }

func (n *noTask) Error() string {
	return fmt.Sprintf("no task of cluster %s begins with %q; `berth ps -a` lists them", n.cluster, n.typed)
}

func oneWithPrefix(arns []string, cluster, prefix string) (string, error) {
	var found []string
	for _, arn := range arns {
		if strings.HasPrefix(lastPart(arn), prefix) {
			found = append(found, arn)
		}
	}
	switch len(found) {
	case 0:
		return "", &noTask{cluster, prefix}
	case 1:
		return found[0], nil
	}
	for i := range found {
		found[i] = lastPart(found[i])
	}
	slices.Sort(found)
	return "", misuse("%q is the beginning of %d tasks; type more of one of: %s", prefix, len(found), strings.Join(found[:min(len(found), 5)], " "))
}

// definitions remembers task definitions, which never change.
type definitions map[string]*types.TaskDefinition

func (d definitions) get(ctx context.Context, c *clients, name string) (*types.TaskDefinition, error) {
	if def, ok := d[name]; ok {
		return def, nil
	}
	out, err := c.ecs.DescribeTaskDefinition(ctx, &ecs.DescribeTaskDefinitionInput{TaskDefinition: &name})
	if err != nil {
		return nil, explained(err)
	}
	d[name] = out.TaskDefinition
	return out.TaskDefinition, nil
}
