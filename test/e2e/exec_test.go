package e2e_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/creack/pty"
)

// much is output that nothing on the way can keep in a buffer.
const much = 50 << 20

// flooded is the hash of what `probe flood` writes, made by the program itself on this host.
func flooded(t *testing.T, bytes int) [sha256.Size]byte {
	t.Helper()
	s := converse(t, execProbe("flood", fmt.Sprint(bytes)), false)
	sum := sha256.New()
	if n, err := io.Copy(sum, s.out); err != nil || n != int64(bytes) {
		t.Fatalf("%d bytes, %v", n, err)
	}
	return [sha256.Size]byte(sum.Sum(nil))
}

// AWS's own client works as on AWS: a shell in a terminal whose size changes, keys, exit; 50 MB of output arrive whole; several
// sessions do not mind each other.
func TestExecuteCommandWithAWSsPlugin(t *testing.T) {
	t.Parallel()
	k := shared.executable(t, nil, container("app", "answer", "3000", "0"), with(container("side", "sleep"), func(c *types.ContainerDefinition) { c.User = aws.String("app") }))

	t.Run("shell", func(t *testing.T) {
		t.Parallel()
		s := k.execute(t, true, "side", "/probe shell")
		s.until(t, "Starting session with SessionId: "+s.id)
		s.until(t, "probe# ")
		s.say(t, "id\r") // root, whoever the container's user is
		s.until(t, "0 0")
		s.say(t, "size\r")
		s.until(t, "size is 33x99")
		if err := pty.Setsize(s.tty, &pty.Winsize{Rows: 44, Cols: 111}); err != nil {
			t.Fatal(err)
		}
		// The plugin looks twice a second.
		for seen := ""; !strings.Contains(seen, "44x111"); seen = s.until(t, "probe# ") {
			s.say(t, "size\r")
			s.until(t, "size is ")
		}
		s.say(t, "\x03")
		s.until(t, "interrupted")
		s.say(t, "exit 0\r")
		if rest, code := s.rest(t); code != 0 || !strings.Contains(string(rest), "Exiting session with sessionId: "+s.id+".") {
			t.Errorf("at the end: %q, exit %d", rest, code)
		}
	})
	t.Run("large output", func(t *testing.T) {
		t.Parallel()
		s := k.execute(t, false, "app", fmt.Sprint("/probe raw flood ", much))
		out, _ := s.rest(t)
		out, head := bytes.CutPrefix(out, fmt.Appendf(nil, "\nStarting session with SessionId: %s\n", s.id))
		out, tail := bytes.CutSuffix(out, fmt.Appendf(nil, "\n\nExiting session with sessionId: %s.\n\n", s.id))
		if !head || !tail || sha256.Sum256(out) != flooded(t, much) {
			t.Errorf("%d bytes came out, not the same %d", len(out), much)
		}
	})
	t.Run("several at once", func(t *testing.T) {
		t.Parallel()
		var group sync.WaitGroup
		for i := range 4 {
			s := k.execute(t, false, "app", "/probe shell")
			// A plugin that is given input while it still tells its size may number both the same, and hangs.
			s.until(t, "probe# ")
			group.Go(func() {
				fmt.Fprintf(s.in, "say this is %d\rexit 0\r", i) //nolint:errcheck // what is heard says it
				if out, _ := s.rest(t); strings.Count(string(out), "this is") != 2 || strings.Count(string(out), fmt.Sprint("this is ", i)) != 2 {
					t.Errorf("session %d: %q", i, out) // the terminal's echo, and the program's
				}
			})
		}
		group.Wait()
	})
}

// A session ends with its container, and says so.
func TestSessionsEndWithTheirContainer(t *testing.T) {
	t.Parallel()
	k := shared.executable(t, nil, container("app", "trap", "0"))
	s := k.execute(t, false, "app", "/probe shell")
	s.until(t, "probe# ")
	mine := shared.cli(t, false, "exec", k.id, "-T", "--", "/probe", "copy")
	mine.say(t, "hello\n")
	mine.until(t, "hello\n")
	k.stop(t, "over")
	// What the client hears first, the end of the container or that of the program in it, is chance.
	if out, _ := s.rest(t); !strings.HasSuffix(string(out), "\n\nSessionId: "+s.id+" : Received Container Stopped event\n\n") && !strings.HasSuffix(string(out), "\n\nExiting session with sessionId: "+s.id+".\n\n") {
		t.Errorf("the plugin says %q", out)
	}
	if _, code := mine.rest(t); code == 0 {
		t.Error("berth exec ends well")
	}
	if _, err := shared.ecs.ExecuteCommand(t.Context(), &ecs.ExecuteCommandInput{Task: &k.arn, Command: aws.String("/probe id"), Interactive: true}); !isA[*types.InvalidParameterException](err) {
		t.Errorf("executing in a stopped task: %v", err)
	}
}

// Only tasks that were started for it let anybody in, and only who may.
func TestSessionsAreAuthorised(t *testing.T) {
	t.Parallel()
	b, ctx := shared, t.Context()
	closed := b.run(t, fargate(container("app", "sleep")))
	open := b.executable(t, nil, container("app", "sleep"), container("side", "sleep"))
	if _, err := b.ecs.ExecuteCommand(ctx, &ecs.ExecuteCommandInput{Task: &closed.arn, Command: aws.String("/probe id"), Interactive: true}); !isA[*types.InvalidParameterException](err) ||
		!strings.Contains(err.Error(), "The execute command failed because execute command was not enabled when the task was run or the execute command agent isn’t running. Wait and try again or run a new task with execute command enabled and try again.") {
		t.Errorf("a task without enableExecuteCommand: %v", err)
	}

	user := "e2e-" + random()
	must(b.iam.CreateUser(ctx, &iam.CreateUserInput{UserName: &user}))(t)
	key := must(b.iam.CreateAccessKey(ctx, &iam.CreateAccessKeyInput{UserName: &user}))(t).AccessKey
	policy := must(json.Marshal(map[string]any{"Version": "2012-10-17", "Statement": []any{
		map[string]any{"Effect": "Allow", "Action": "ecs:ExecuteCommand", "Resource": "*", "Condition": map[string]any{"StringEquals": map[string]string{"ecs:container-name": "app"}}},
	}}))(t)
	must(b.iam.PutUserPolicy(ctx, &iam.PutUserPolicyInput{UserName: &user, PolicyName: aws.String("p"), PolicyDocument: aws.String(string(policy))}))(t)
	as := b.as(t, *key.AccessKeyId, *key.SecretAccessKey, "")
	in := func(container string) *ecs.ExecuteCommandInput {
		return &ecs.ExecuteCommandInput{Task: &open.arn, Container: &container, Command: aws.String("/probe id"), Interactive: true}
	}
	must(as.ecs.ExecuteCommand(ctx, in("app")))(t)
	if _, err := as.ecs.ExecuteCommand(ctx, in("side")); !hasCode(err, "AccessDeniedException") || !strings.Contains(err.Error(), ":user/"+user+" is not authorized to perform: ecs:ExecuteCommand on resource: ") {
		t.Errorf("another container: %v", err)
	}
	target := open.target(t, "app")
	if _, err := as.parameters.StartSession(ctx, &ssm.StartSessionInput{
		Target: &target, DocumentName: aws.String("AWS-StartPortForwardingSession"), Parameters: map[string][]string{"portNumber": {"3000"}},
	}); !hasCode(err, "AccessDeniedException") || !strings.Contains(err.Error(), "is not authorized to perform: ssm:StartSession on resource: ") {
		t.Errorf("forwarding a port: %v", err)
	}
}

// What a session prints is in the log group that the cluster names, or else in the container's.
func TestSessionsAreLogged(t *testing.T) {
	t.Parallel()
	b, ctx := shared, t.Context()
	cluster, group := "e2e-"+random(), "/e2e/exec-"+random()
	b.logGroup(t, group)
	must(b.ecs.CreateCluster(ctx, &ecs.CreateClusterInput{ClusterName: &cluster, Configuration: &types.ClusterConfiguration{ExecuteCommandConfiguration: &types.ExecuteCommandConfiguration{
		Logging: types.ExecuteCommandLoggingOverride, LogConfiguration: &types.ExecuteCommandLogConfiguration{CloudWatchLogGroupName: &group},
	}}}))(t)
	plain := b.executable(t, nil, container("app", "sleep"))
	b.sessionLogged(t, plain, plain.group)
	// Its task is known in its cluster only.
	if err := b.ensureRole(ctx, "e2eTaskRole", taskTrust, allow("*", "ssmmessages:*")); err != nil {
		t.Fatal(err)
	}
	def := fargate(container("app", "sleep"))
	def.TaskRoleArn = aws.String("arn:aws:iam::123456789012:role/e2eTaskRole")
	in := b.request(t, def)
	in.Cluster, in.EnableExecuteCommand = &cluster, true
	arn := must(b.ecs.RunTask(ctx, in))(t).Tasks[0].TaskArn
	t.Cleanup(func() {
		b.ecs.StopTask(ctx, &ecs.StopTaskInput{Cluster: &cluster, Task: arn}) //nolint:errcheck,gosec // purge is what cleans up
	})
	var out *ecs.ExecuteCommandOutput
	eventually(t, "that commands can be executed", func() (err error) {
		out, err = b.ecs.ExecuteCommand(ctx, &ecs.ExecuteCommandInput{Cluster: &cluster, Task: arn, Command: aws.String("/probe echo kept elsewhere"), Interactive: true})
		return err
	})
	k := &task{b: b}
	k.plugin(t, false, out.Session, *out.Session.SessionId, map[string]any{"Target": "ecs:unused"}).rest(t)
	b.hasEvent(t, group, *out.Session.SessionId, "kept elsewhere")
}

func (b *berth) sessionLogged(t *testing.T, k *task, group string) {
	t.Helper()
	s := k.execute(t, false, "app", "/probe echo kept for later")
	s.rest(t)
	b.hasEvent(t, group, s.id, "kept for later")
}

// hasEvent waits for a line in a stream.
func (b *berth) hasEvent(t *testing.T, group, stream, text string) {
	t.Helper()
	eventually(t, text+" in "+group, func() error {
		out, err := b.logs.GetLogEvents(t.Context(), &cloudwatchlogs.GetLogEventsInput{LogGroupName: &group, LogStreamName: &stream, StartFromHead: aws.Bool(true)})
		if err != nil {
			return err
		}
		for _, e := range out.Events {
			if strings.Contains(*e.Message, text) {
				return nil
			}
		}
		return fmt.Errorf("%d lines", len(out.Events))
	})
}

// `berth exec` needs no plugin: a terminal when there is one, else every byte as it is, both streams apart, and the exit code.
func TestBerthExec(t *testing.T) {
	t.Parallel()
	b := shared
	k := b.executable(t, nil, container("app", "answer", "3000", "0"))

	t.Run("exit code and streams", func(t *testing.T) {
		t.Parallel()
		if r := b.cliRun(t, nil, "exec", k.id, "--", "/probe", "exit", "7"); r.code != 7 || len(r.out) > 0 {
			t.Errorf("exit %d, %q, %q", r.code, r.out, r.err)
		}
		if r := b.cliRun(t, nil, "exec", k.id, "--", "/probe", "stderr", "a  b"); r.code != 0 || len(r.out) > 0 || !bytes.HasSuffix(r.err, []byte("a  b\n")) {
			t.Errorf("exit %d, %q, %q", r.code, r.out, r.err)
		}
		r := b.cliRun(t, nil, "exec", k.id)
		if r.code == 0 || !strings.Contains(string(r.err), "berth debug "+k.id+" --image") {
			t.Errorf("without a shell in the image: exit %d, %s", r.code, r.err)
		}
	})
	t.Run("every byte", func(t *testing.T) {
		t.Parallel()
		data := bytes.Repeat([]byte{0, 1, 2, 3, 4, 0x1a, 0x1c, '\r', '\n', 0x7f, 0x80, 0xff}, 300_000)
		r := b.cliRun(t, data, "exec", k.id, "-T", "--", "/probe", "copy")
		if r.code != 0 || !bytes.Equal(r.out, data) || strings.TrimSpace(string(r.err)) != fmt.Sprint(len(data)) {
			t.Errorf("exit %d, %d bytes of %d, %q", r.code, len(r.out), len(data), r.err)
		}
	})
	t.Run("large output", func(t *testing.T) {
		t.Parallel()
		r := b.cliRun(t, nil, "exec", k.id, "-T", "--", "/probe", "flood", fmt.Sprint(much))
		if r.code != 0 || sha256.Sum256(r.out) != flooded(t, much) {
			t.Errorf("exit %d, %d bytes, not the same %d; %s", r.code, len(r.out), much, r.err)
		}
	})
	t.Run("terminal", func(t *testing.T) {
		t.Parallel()
		s := b.cli(t, true, "exec", k.id, "--", "/probe", "shell")
		s.until(t, "probe# ")
		s.say(t, "size\r")
		s.until(t, "size is 33x99")
		if err := pty.Setsize(s.tty, &pty.Winsize{Rows: 44, Cols: 111}); err != nil {
			t.Fatal(err)
		}
		for seen := ""; !strings.Contains(seen, "44x111"); seen = s.until(t, "probe# ") {
			s.say(t, "size\r")
			s.until(t, "size is ")
		}
		s.say(t, "\x03")
		s.until(t, "interrupted")
		s.say(t, "exit 5\r")
		if rest, code := s.rest(t); code != 5 {
			t.Errorf("exit %d, %q", code, rest)
		}
	})
}

// Ports of a task are forwarded by AWS's plugin and by `berth port-forward`, to the task itself and through it to others.
func TestPortsAreForwarded(t *testing.T) {
	t.Parallel()
	b := shared
	k := b.executable(t, nil, with(container("app", "answer", "3000", "0"), func(c *types.ContainerDefinition) {
		c.Environment = []types.KeyValuePair{{Name: aws.String("WHO"), Value: aws.String("the task")}}
	}))
	other := b.run(t, fargate(with(container("app", "answer", "3000", "0"), func(c *types.ContainerDefinition) {
		c.Environment = []types.KeyValuePair{{Name: aws.String("WHO"), Value: aws.String("another task")}}
	})))
	for _, one := range []*task{k, other} {
		one.awaitStatus(t, "RUNNING")
		one.hears(t, 3000, "/")
	}
	who := func(t *testing.T, address, want string) {
		t.Helper()
		client := &http.Client{Timeout: patience, Transport: &http.Transport{}}
		defer client.CloseIdleConnections()
		var group sync.WaitGroup
		for range 8 {
			group.Go(func() {
				reply, err := client.Get("http://" + address + "/env?name=WHO") //nolint:noctx // the client has a timeout
				if err != nil {
					t.Error(err)
					return
				}
				defer reply.Body.Close() //nolint:errcheck // it was read
				if body, err := io.ReadAll(reply.Body); err != nil || string(body) != want {
					t.Errorf("%s says %q, %v", address, body, err)
				}
			})
		}
		group.Wait()
	}
	for name, test := range map[string]struct {
		document, want string
		parameters     map[string][]string
		args           []string
	}{
		"itself": {"AWS-StartPortForwardingSession", "the task", map[string][]string{"portNumber": {"3000"}}, nil},
		"remote host": {
			"AWS-StartPortForwardingSessionToRemoteHost", "another task",
			map[string][]string{"portNumber": {"3000"}, "host": {other.address}},
			[]string{"--host", other.address},
		},
	} {
		t.Run("plugin "+name, func(t *testing.T) {
			t.Parallel()
			port := fmt.Sprint(freePort(t))
			test.parameters["localPortNumber"] = []string{port}
			s := k.forward(t, "app", test.document, test.parameters)
			s.until(t, "Waiting for connections...")
			who(t, "127.0.0.1:"+port, test.want)
		})
		t.Run("berth "+name, func(t *testing.T) {
			t.Parallel()
			s := b.cli(t, false, append([]string{"port-forward", k.id, "0:3000"}, test.args...)...)
			said := regexp.MustCompile(`Forwarding from (127\.0\.0\.1:\d+) -> $`).FindStringSubmatch(s.until(t, "-> "))
			if said == nil {
				t.Fatal("it does not say which port")
			}
			who(t, said[1], test.want)
			s.interrupt(t)
			s.rest(t)
			if _, err := http.Get("http://" + said[1]); err == nil { //nolint:noctx,bodyclose // nobody is there
				t.Error("the port is still forwarded")
			}
		})
	}
}

// Files and directories go into a container and come out of it as they were, from an image that has no tar.
func TestFilesAreCopied(t *testing.T) {
	t.Parallel()
	b, dir := shared, t.TempDir()
	k := b.executable(t, nil, container("app", "sleep"))
	files := map[string][]byte{
		"tree/a": bytes.Repeat([]byte{0, 1, 2, 0xff}, 1<<20), "tree/sub/b with space": []byte("b"), "tree/empty": nil,
	}
	for name, data := range files {
		path := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, data, 0o640)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("sub/b with space", filepath.Join(dir, "tree", "link")); err != nil {
		t.Fatal(err)
	}
	b.well(t, nil, "cp", filepath.Join(dir, "tree"), k.id+":/tmp")
	equal(t, "a file inside", b.well(t, nil, "exec", k.id, "--", "/probe", "cat", "/tmp/tree/sub/b with space"), "b")
	b.well(t, nil, "cp", k.id+":/tmp/tree", filepath.Join(dir, "back"))
	for name, data := range files {
		got, err := os.ReadFile(filepath.Join(dir, "back", strings.TrimPrefix(name, "tree/")))
		if err != nil || !bytes.Equal(got, data) {
			t.Errorf("%s: %d bytes, %v", name, len(got), err)
		}
	}
	if to, err := os.Readlink(filepath.Join(dir, "back", "link")); err != nil || to != "sub/b with space" {
		t.Errorf("the link: %q, %v", to, err)
	}
	b.well(t, nil, "cp", k.id+":/seed/file", dir)
	if got, err := os.ReadFile(filepath.Join(dir, "file")); err != nil || string(got) != "seeded" {
		t.Errorf("a file of the image: %q, %v", got, err)
	}
	if r := b.cliRun(t, nil, "cp", k.id+":/no/such", dir); r.code == 0 || !strings.Contains(string(r.err), "/no/such") {
		t.Errorf("what is not there: exit %d, %s", r.code, r.err)
	}
}

// A container of an image without tools is looked into with another image's, and nothing of them is left.
func TestBerthDebug(t *testing.T) {
	t.Parallel()
	b := shared
	k := b.executable(t, nil, sample())
	k.hears(t, 3000, "/")
	before := k.pids(t)
	debug := func(words ...string) string {
		t.Helper()
		return b.well(t, nil, append([]string{"debug", k.id, "--image", probeImage, "--", "/probe"}, words...)...)
	}
	if got := debug("cat", "/proc/1/cmdline"); !strings.HasPrefix(got, "/app/sample-app") {
		t.Errorf("process 1 is %q", got)
	}
	if debug("cat", "/proc/1/root/app/sample-app") == "" {
		t.Error("the container's files are not there")
	}
	equal(t, "a file of the tools' image", debug("cat", "/seed/file"), "seeded")
	// Port 3000 is 0x0BB8.
	if got := debug("cat", "/proc/net/tcp", "/proc/net/tcp6"); !strings.Contains(got, ":0BB8 ") {
		t.Errorf("the task's sockets are not there: %s", got)
	}
	if r := b.cliRun(t, nil, "debug", k.id, "--image", probeImage, "--", "/probe", "exit", "9"); r.code != 9 {
		t.Errorf("exit %d: %s", r.code, r.err)
	}
	if r := b.cliRun(t, nil, "debug", k.id, "--image", ecrHost+"/e2e/none:1"); r.code == 0 || !strings.Contains(string(r.err), "CannotPullContainerError") {
		t.Errorf("an image that is not there: exit %d: %s", r.code, r.err)
	}
	if after := k.pids(t); fmt.Sprint(after) != fmt.Sprint(before) {
		t.Errorf("the task's processes were %v and are %v", before, after)
	}
}
