package e2e_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/creack/pty"
)

// smplugin builds AWS's session-manager-plugin, unmodified, when the first test needs it.
var smplugin = sync.OnceValues(func() (string, error) {
	path := filepath.Join(filepath.Dir(archive), "session-manager-plugin")
	cmd := exec.Command("go", "build", "-o", path, "github.com/aws/session-manager-plugin/src/sessionmanagerplugin-main")
	cmd.Dir = "../../tools/smplugin"
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("building the session-manager-plugin: %w: %s", err, out)
	}
	return path, nil
})

// executable runs a task that people may look into.
func (b *berth) executable(t *testing.T, change func(*ecs.RunTaskInput), containers ...types.ContainerDefinition) *task {
	t.Helper()
	if err := b.ensureRole(t.Context(), "e2eTaskRole", taskTrust, allow("*", "ssmmessages:*")); err != nil {
		t.Fatal(err)
	}
	def := fargate(containers...)
	def.TaskRoleArn = aws.String("arn:aws:iam::123456789012:role/e2eTaskRole")
	k := b.runIn(t, def, func(in *ecs.RunTaskInput) {
		in.EnableExecuteCommand = true
		if change != nil {
			change(in)
		}
	})
	k.group = def.ContainerDefinitions[0].LogConfiguration.Options["awslogs-group"]
	k.await(t, "that commands can be executed", func(got types.Task) bool {
		for _, c := range got.Containers {
			if len(c.ManagedAgents) != 1 || c.ManagedAgents[0].Name != types.ManagedAgentNameExecuteCommandAgent || aws.ToString(c.ManagedAgents[0].LastStatus) != "RUNNING" {
				return false
			}
		}
		return *got.LastStatus == "RUNNING"
	})
	return k
}

// target is a container as Session Manager names it.
func (k *task) target(t *testing.T, container string) string {
	t.Helper()
	got := must(k.describe(t.Context()))(t)
	return fmt.Sprintf("ecs:%s_%s_%s", last(*got.ClusterArn), k.id, aws.ToString(find(t, got, container).RuntimeId))
}

// session is a run of a client of sessions.
type session struct {
	id  string
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Reader
	tty *os.File // or nil

	problems bytes.Buffer // standard error of one without a terminal
}

// execute calls ExecuteCommand and joins the plugin to it, as `aws ecs execute-command` does.
func (k *task) execute(t *testing.T, tty bool, container, command string) *session {
	t.Helper()
	out := must(k.b.ecs.ExecuteCommand(t.Context(), &ecs.ExecuteCommandInput{
		Task: &k.arn, Cluster: k.cluster(t), Container: &container, Command: &command, Interactive: true,
	}))(t)
	return k.plugin(t, tty, out.Session, *out.Session.SessionId, map[string]any{"Target": k.target(t, container)})
}

func (k *task) cluster(t *testing.T) *string {
	t.Helper()
	return must(k.describe(t.Context()))(t).ClusterArn
}

// forward calls StartSession with a document about ports, as `aws ssm start-session` does.
func (k *task) forward(t *testing.T, container, document string, parameters map[string][]string) *session {
	t.Helper()
	target := k.target(t, container)
	out := must(k.b.parameters.StartSession(t.Context(), &ssm.StartSessionInput{Target: &target, DocumentName: &document, Parameters: parameters}))(t)
	answer := map[string]*string{"SessionId": out.SessionId, "StreamUrl": out.StreamUrl, "TokenValue": out.TokenValue}
	return k.plugin(t, false, answer, *out.SessionId, map[string]any{"Target": target, "DocumentName": document, "Parameters": parameters})
}

func (k *task) plugin(t *testing.T, tty bool, answer any, id string, parameters map[string]any) *session {
	t.Helper()
	path := must(smplugin())(t)
	response, request := must(json.Marshal(answer))(t), must(json.Marshal(parameters))(t)
	cmd := exec.Command(path, string(response), "us-east-1", "StartSession", "", string(request), "http://"+k.b.listen)
	home := t.TempDir()
	cmd.Env = append(os.Environ(), "HOME="+home, "TMPDIR="+home, "AWS_SHARED_CREDENTIALS_FILE="+k.b.path("credentials"), "AWS_EC2_METADATA_DISABLED=true")
	s := converse(t, cmd, tty)
	s.id = id
	return s
}

// cli starts a command of the binary with a terminal or without.
func (b *berth) cli(t *testing.T, tty bool, args ...string) *session {
	t.Helper()
	return converse(t, exec.Command(binary, args...), tty, "BERTH_DATA_DIR="+b.dir)
}

// converse starts a client. It ends with the test whatever happens.
func converse(t *testing.T, cmd *exec.Cmd, tty bool, env ...string) *session {
	t.Helper()
	s := &session{cmd: cmd}
	if cmd.Env == nil {
		cmd.Env = os.Environ()
	}
	cmd.Env = append(cmd.Env, env...)
	var err error
	if tty {
		s.tty, err = pty.StartWithSize(cmd, &pty.Winsize{Rows: 33, Cols: 99})
		s.in, s.out = s.tty, bufio.NewReader(s.tty)
	} else {
		s.in, s.out = must(cmd.StdinPipe())(t), bufio.NewReader(must(cmd.StdoutPipe())(t))
		cmd.Stderr = &s.problems
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	// Nothing that these clients do takes longer than it may take anything to happen.
	stuck := time.AfterFunc(3*patience, func() { cmd.Process.Kill() }) //nolint:errcheck // it may have ended
	t.Cleanup(func() {
		stuck.Stop()
		cmd.Process.Kill() //nolint:errcheck,gosec // it may have ended
		s.in.Close()       //nolint:errcheck,gosec // as above
		cmd.Wait()         //nolint:errcheck,gosec // as above
	})
	return s
}

// say types something.
func (s *session) say(t *testing.T, text string) {
	t.Helper()
	if _, err := io.WriteString(s.in, text); err != nil {
		t.Fatal(err)
	}
}

// until reads output until it has what is looked for, and returns what came up to there.
func (s *session) until(t *testing.T, want string) string {
	t.Helper()
	var seen []byte
	for !bytes.HasSuffix(seen, []byte(want)) {
		c, err := s.out.ReadByte()
		if err != nil {
			t.Fatalf("%v after %q, waiting for %q", err, seen, want)
		}
		seen = append(seen, c)
	}
	return string(seen)
}

// rest reads to the end and returns it with the exit code.
func (s *session) rest(t *testing.T) ([]byte, int) {
	t.Helper()
	out, _ := io.ReadAll(s.out) // a terminal's end is an error
	s.cmd.Wait()                //nolint:errcheck,gosec // the state says it
	return out, s.cmd.ProcessState.ExitCode()
}

// interrupt ends the client as Ctrl-C does.
func (s *session) interrupt(t *testing.T) {
	t.Helper()
	if err := s.cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
}

// ran is how a command of the binary ended.
type ran struct {
	out, err []byte
	code     int
}

// cliRun runs a command of the binary to its end.
func (b *berth) cliRun(t *testing.T, in []byte, args ...string) ran {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 3*patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, binary, args...)
	cmd.Env = append(os.Environ(), "BERTH_DATA_DIR="+b.dir)
	var out, problems bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(in), &out, &problems
	if err := cmd.Run(); err != nil && cmd.ProcessState == nil {
		t.Fatalf("berth %s: %v", strings.Join(args, " "), err)
	}
	return ran{out.Bytes(), problems.Bytes(), cmd.ProcessState.ExitCode()}
}

// well is cliRun for what must succeed.
func (b *berth) well(t *testing.T, in []byte, args ...string) string {
	t.Helper()
	r := b.cliRun(t, in, args...)
	if r.code != 0 {
		t.Fatalf("berth %s: exit %d: %s", strings.Join(args, " "), r.code, r.err)
	}
	return string(r.out)
}

// execProbe is the probe on this host.
func execProbe(args ...string) *exec.Cmd {
	return exec.Command(filepath.Join(filepath.Dir(archive), "probe"), args...)
}
