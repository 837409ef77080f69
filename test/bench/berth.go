package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"berth.dev/berth/internal/app/instance"
)

// berth is a whole Berth: `berth up`, driven by the AWS SDK.
type berth struct {
	b        *bench
	instance instance.Instance
	listen   string
	cmd      *exec.Cmd
	aws      aws.Config
	ecs      *ecs.Client
	subnets  []string
	startup  time.Duration // of the last start
}

// capacity lets many tasks of the smallest size run: reserved is not used.
var capacity = []string{"--cpu-units", "65536", "--memory-mib", "65536"}

func startBerth(ctx context.Context, b *bench) (*berth, error) {
	w := &berth{b: b}
	var err error
	if w.listen, err = freeAddress(); err != nil {
		return nil, err
	}
	dir := filepath.Join(b.dir, "berth")
	if err := w.start(ctx, dir); err != nil {
		return nil, errors.Join(err, w.down(dir))
	}
	if w.instance, err = instance.Existing(dir); err != nil {
		return nil, errors.Join(err, w.down(dir))
	}
	return w, nil
}

// start runs `berth up` and returns when /readyz says 200.
func (w *berth) start(ctx context.Context, dir string) error {
	// Its own containerd, so that the run neither uses nor changes the host's.
	w.cmd = exec.Command(w.b.binary, append([]string{"up", "--data-dir", dir, "--listen", w.listen, "--containerd", "private"}, capacity...)...)
	var words strings.Builder
	w.cmd.Stdout, w.cmd.Stderr = &words, &words
	begun := time.Now()
	if err := w.cmd.Start(); err != nil {
		return err
	}
	deadline := begun.Add(time.Minute)
	for !isReady(ctx, w.listen) {
		if ctx.Err() != nil || time.Now().After(deadline) {
			return errors.Join(fmt.Errorf("berth up is not ready: %s", words.String()), w.stop())
		}
		time.Sleep(2 * time.Millisecond)
	}
	w.startup = time.Since(begun)
	return nil
}

// stop ends server and agent; tasks and containerd go on.
func (w *berth) stop() error {
	if w.cmd == nil {
		return nil
	}
	if err := w.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	err := w.cmd.Wait()
	w.cmd = nil
	return err
}

// purge ends it and removes everything that it made.
func (w *berth) purge() error {
	w.b.say("removing everything")
	return errors.Join(w.stop(), w.down(w.instance.DataDir))
}

func (w *berth) down(dir string) error {
	out, err := exec.Command(w.b.binary, "down", "--purge", "--data-dir", dir, "--containerd", "private").CombinedOutput()
	if err != nil {
		return fmt.Errorf("berth down: %w: %s", err, out)
	}
	return nil
}

func isReady(ctx context.Context, listen string) bool {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+listen+"/readyz", nil)
	if err != nil {
		return false
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return false
	}
	defer answer.Body.Close()
	return answer.StatusCode == http.StatusOK
}

func freeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

// awsConfig is what a user's SDK finds in `berth env`.
func awsConfig(ctx context.Context, inst instance.Instance, listen string) (aws.Config, error) {
	shared, err := config.LoadSharedConfigProfile(ctx, "default", func(o *config.LoadSharedConfigOptions) {
		o.CredentialsFiles, o.ConfigFiles = []string{inst.CredentialsFile()}, []string{}
	})
	if err != nil {
		return aws.Config{}, err
	}
	key := shared.Credentials
	return aws.Config{
		Region: "us-east-1", BaseEndpoint: aws.String("http://" + listen),
		HTTPClient:  &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}},
		Credentials: credentials.NewStaticCredentialsProvider(key.AccessKeyID, key.SecretAccessKey, ""),
	}, nil
}

// The families of the two task definitions: without a log configuration and
// with awslogs, of which the rest is the same.
const (
	silentFamily = "bench-silent"
	loggedFamily = "bench-logged"
	secretFamily = "bench-secret" // silent, with three secrets
	imageName    = "berth-bench:latest"
	logGroup     = "/bench"
)

// prepare imports the image and registers the task definitions.
func (w *berth) prepare(ctx context.Context, archive string) error {
	out, err := exec.CommandContext(ctx, w.b.binary, "image", "import", archive, "--data-dir", w.instance.DataDir).CombinedOutput()
	if err != nil {
		return fmt.Errorf("berth image import: %w: %s", err, out)
	}
	cfg, err := awsConfig(ctx, w.instance, w.listen)
	if err != nil {
		return err
	}
	w.aws, w.ecs = cfg, ecs.NewFromConfig(cfg)
	if w.subnets, err = subnetIDs(ctx, cfg); err != nil {
		return err
	}
	if err := w.furnish(ctx); err != nil {
		return err
	}
	return register(ctx, w.ecs)
}

func subnetIDs(ctx context.Context, cfg aws.Config) ([]string, error) {
	out, err := ec2.NewFromConfig(cfg).DescribeSubnets(ctx, &ec2.DescribeSubnetsInput{})
	if err != nil {
		return nil, err
	}
	var ids []string
	for _, s := range out.Subnets {
		ids = append(ids, *s.SubnetId)
	}
	return ids, nil
}

func register(ctx context.Context, client *ecs.Client) error {
	for _, family := range []string{silentFamily, loggedFamily, secretFamily} {
		app := types.ContainerDefinition{
			Name: aws.String("app"), Image: aws.String(imageName), Command: []string{"sleep"}, Essential: aws.Bool(true), StopTimeout: aws.Int32(2),
			PortMappings: []types.PortMapping{{ContainerPort: aws.Int32(80)}},
		}
		if family == loggedFamily {
			app.LogConfiguration = &types.LogConfiguration{LogDriver: types.LogDriverAwslogs, Options: map[string]string{
				"awslogs-group": logGroup, "awslogs-region": "us-east-1", "awslogs-stream-prefix": "ecs", "awslogs-create-group": "true",
			}}
		}
		if family == secretFamily {
			for i, from := range secretNames {
				app.Secrets = append(app.Secrets, types.Secret{Name: aws.String(fmt.Sprint("SECRET_", i)), ValueFrom: aws.String(from)})
			}
		}
		_, err := client.RegisterTaskDefinition(ctx, &ecs.RegisterTaskDefinitionInput{
			Family: &family, NetworkMode: types.NetworkModeAwsvpc, Cpu: aws.String("256"), Memory: aws.String("512"),
			RequiresCompatibilities: []types.Compatibility{types.CompatibilityFargate},
			ExecutionRoleArn:        aws.String("arn:aws:iam::123456789012:role/ecsTaskExecutionRole"),
			ContainerDefinitions:    []types.ContainerDefinition{app},
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// runTask calls RunTask once and returns the tasks' ARNs.
func runTask(ctx context.Context, client *ecs.Client, family string, count int32, subnets []string) ([]string, error) {
	out, err := client.RunTask(ctx, &ecs.RunTaskInput{
		TaskDefinition: &family, Count: &count, LaunchType: types.LaunchTypeFargate,
		NetworkConfiguration: &types.NetworkConfiguration{AwsvpcConfiguration: &types.AwsVpcConfiguration{Subnets: subnets}},
	})
	if err != nil {
		return nil, err
	}
	if len(out.Failures) > 0 {
		return nil, fmt.Errorf("RunTask did not place a task: %s %s", aws.ToString(out.Failures[0].Reason), aws.ToString(out.Failures[0].Detail))
	}
	var arns []string
	for _, t := range out.Tasks {
		arns = append(arns, *t.TaskArn)
	}
	return arns, nil
}

// pollEvery is how long a client that waits pauses between two calls of
// DescribeTasks, each of which takes about half a millisecond.
const pollEvery = 4 * time.Millisecond

// await polls until all tasks have a status, and returns them.
func (w *berth) await(ctx context.Context, arns []string, status string, every time.Duration) ([]types.Task, error) {
	for {
		out, err := w.ecs.DescribeTasks(ctx, &ecs.DescribeTasksInput{Tasks: arns})
		if err != nil {
			return nil, err
		}
		there := 0
		for _, t := range out.Tasks {
			switch *t.LastStatus {
			case status:
				there++
			case "STOPPED":
				return nil, fmt.Errorf("task %s stopped: %s: %s", *t.TaskArn, t.StopCode, aws.ToString(t.StoppedReason))
			}
		}
		if there == len(arns) {
			return out.Tasks, nil
		}
		time.Sleep(every)
	}
}

// stopTasks stops tasks and returns when the node is idle again.
func (w *berth) stopTasks(ctx context.Context, arns []string) error {
	for _, arn := range arns {
		if _, err := w.ecs.StopTask(ctx, &ecs.StopTaskInput{Task: &arn}); err != nil {
			return err
		}
	}
	_, err := w.await(ctx, arns, "STOPPED", 20*time.Millisecond)
	return err
}

// wholeLaunch is what a user waits for: RunTask, and DescribeTasks until the
// task is RUNNING.
func (w *berth) wholeLaunch(ctx context.Context, family string) (took time.Duration, task types.Task, err error) {
	begun := time.Now()
	arns, err := runTask(ctx, w.ecs, family, 1, w.subnets)
	if err != nil {
		return 0, types.Task{}, err
	}
	tasks, err := w.await(ctx, arns, "RUNNING", pollEvery)
	if err != nil {
		return 0, types.Task{}, err
	}
	took = time.Since(begun)
	return took, tasks[0], w.stopTasks(ctx, arns)
}
