package metadata_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"flag"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"berth.dev/berth/internal/agent/credentials"
	"berth.dev/berth/internal/agent/metadata"
	"berth.dev/berth/internal/agent/network"
)

var update = flag.Bool("update", false, "write the golden files")

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A source has tasks by id and statistics by container id.
type source struct {
	tasks map[string]metadata.TaskView
	stats map[string]metadata.Stats
	// credentials by the id under which its task asks; nil while there are none.
	credentials map[string]map[string]*credentials.Credentials
}

func (s source) Credentials(taskID, id string) (*credentials.Credentials, bool) {
	c, ok := s.credentials[taskID][id]
	return c, ok
}

func (s source) Task(id string) (metadata.TaskView, bool) { t, ok := s.tasks[id]; return t, ok }

func (s source) Stats(_ context.Context, id string) (metadata.Stats, error) {
	if st, ok := s.stats[id]; ok {
		return st, nil
	}
	return metadata.Stats{}, errors.New("no sample yet")
}

func at(second int) time.Time {
	// In another zone than UTC, which answers must be in.
	return time.Date(2026, 11, 22, 11, 0, second, 123456789, time.FixedZone("here", 3600))
}

const (
	task1 = "cd189a933e5849daa93386466019ab50"
	task2 = "ee000000000000000000000000000002"
	app   = task1 + "-2495160603"
	setup = task1 + "-0000000001"
	other = task2 + "-0000000009"
)

func example() source {
	zero, two := 0, 2
	cluster, arn := "arn:aws:ecs:us-east-1:123456789012:cluster/default", "arn:aws:ecs:us-east-1:123456789012:task/default/"
	task := metadata.TaskView{
		Cluster: cluster, ARN: arn + task1, Family: "my-app", Revision: "3", ServiceName: "web", DesiredStatus: "RUNNING",
		KnownStatus: "RUNNING", CPU: 0.25, Memory: 512, LaunchType: "FARGATE", AvailabilityZone: "us-east-1a", VPCID: "vpc-0a",
		PullStartedAt: at(1), PullStoppedAt: at(2), EphemeralStorageReserved: 20496, EphemeralStorageUsed: 17,
		Tags: map[string]string{"team": "blue"},
		Network: &metadata.NetworkView{
			Mode: "awsvpc", Address: netip.MustParseAddr("172.31.16.5"), Subnet: netip.MustParsePrefix("172.31.16.0/20"),
			MAC: "0a:de:f6:10:51:e5", PrivateDNSName: "ip-172-31-16-5.ec2.internal", DomainNameServer: []string{"169.254.169.253"}, SearchDomains: []string{"ec2.internal"},
		},
		Containers: []metadata.ContainerView{
			{
				ID: app, ARN: "arn:aws:ecs:us-east-1:123456789012:container/default/" + task1 + "/05966557-f16c-49cb-9352-24b3a0dcd0e1", Name: "app", Image: "my-app:1", ImageID: "sha256:25f3695bedfb454a50f12d127839a68ad3caf91e451c1da073db34c542c4d2cb",
				Labels: map[string]string{"tier": "web", "com.amazonaws.ecs.cluster": "forged"}, DesiredStatus: "RUNNING", KnownStatus: "RUNNING", CPU: 10, Memory: 128,
				Ports: []metadata.PortView{{ContainerPort: 3000, HostPort: 3000, Protocol: "tcp"}}, CreatedAt: at(3), StartedAt: at(4), RestartCount: &two,
				Health:    &metadata.HealthView{Status: "HEALTHY", Since: at(9), Output: "ok\n"},
				Volumes:   []metadata.VolumeView{{Source: "/data/v", Destination: "/mnt"}},
				LogDriver: "awslogs", LogOptions: map[string]string{"awslogs-group": "/ecs/my-app", "awslogs-region": "us-east-1", "awslogs-stream": "ecs/app/" + task1}, Snapshotter: "overlayfs",
			},
			{
				ID: setup, Name: "init", DockerName: "ecs-my-app-3-init", Image: "my-app:1", ImageID: "sha256:25f3", DesiredStatus: "STOPPED", KnownStatus: "STOPPED", ExitCode: &zero,
				CreatedAt: at(3), StartedAt: at(3), FinishedAt: at(4),
			},
		},
	}
	before := metadata.Sample{
		Read: at(10), CPUTotal: 100, CPUKernel: 40, CPUUser: 60, SystemCPU: 5000, OnlineCPUs: 2,
		Networks: map[string]metadata.Interface{"eth0": {RxBytes: 1000, TxBytes: 500}},
	}
	now := metadata.Sample{
		Read: at(12), CPUTotal: 300, CPUKernel: 140, CPUUser: 160, CPUPerCPU: []uint64{200, 100}, SystemCPU: 9000, OnlineCPUs: 2,
		Periods: 5, ThrottledPeriods: 1, ThrottledTime: 7, MemoryUsage: 6504448, MemoryMax: 8458240, MemLimit: 134217728, MemoryStats: map[string]uint64{"cache": 651264},
		PIDs: 3, PIDsLimit: 1024, BlockIO: []metadata.BlockIO{{Major: 8, Op: "Read", Bytes: 638976, Count: 12}},
		Networks: map[string]metadata.Interface{"eth0": {RxBytes: 4000, RxPackets: 36, TxBytes: 1501, TxPackets: 42}},
	}
	return source{
		tasks: map[string]metadata.TaskView{task1: task, task2: {ARN: arn + task2, KnownStatus: "RUNNING", Containers: []metadata.ContainerView{{ID: other, Name: "other"}}}},
		stats: map[string]metadata.Stats{app: {Previous: before, Current: now}, other: {Current: now}},
	}
}

func get(t *testing.T, h http.Handler, path string) *http.Response {
	t.Helper()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
	return w.Result()
}

func body(t *testing.T, r *http.Response) string {
	t.Helper()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestGolden(t *testing.T) {
	s := metadata.New(metadata.Config{Source: example()})
	for name, path := range map[string]string{
		"v4-container":      "/v4/" + app,
		"v4-container-done": "/v4/" + setup,
		"v4-task":           "/v4/" + app + "/task",
		"v4-task-tags":      "/v4/" + app + "/taskWithTags",
		"v4-stats":          "/v4/" + app + "/stats",
		"v4-task-stats":     "/v4/" + app + "/task/stats",
		"v3-container":      "/v3/" + app,
		"v3-task":           "/v3/" + app + "/task",
		"v2-task":           "/v2/metadata",
		"v2-container":      "/v2/metadata/" + app,
		"v2-stats":          "/v2/stats/" + app,
	} {
		t.Run(name, func(t *testing.T) {
			r := get(t, s.Handler(task1), path)
			if r.StatusCode != http.StatusOK || r.Header.Get("Content-Type") != "application/json" {
				t.Fatalf("%s, %s", r.Status, r.Header.Get("Content-Type"))
			}
			var pretty bytes.Buffer
			if err := json.Indent(&pretty, []byte(body(t, r)), "", "  "); err != nil {
				t.Fatal(err)
			}
			pretty.WriteByte('\n')
			file := filepath.Join("testdata", name+".json")
			if *update {
				if err := os.WriteFile(file, pretty.Bytes(), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), pretty.String()); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestASlashAtTheEndChangesNothing(t *testing.T) {
	h := metadata.New(metadata.Config{Source: example()}).Handler(task1)
	for _, path := range []string{"/v4/" + app, "/v4/" + app + "/task", "/v4/" + app + "/task/stats", "/v2/metadata", "/v2/stats/" + app} {
		if a, b := body(t, get(t, h, path)), body(t, get(t, h, path+"/")); a != b {
			t.Errorf("%s and %s/ differ", path, path)
		}
	}
}

func TestErrors(t *testing.T) {
	s := metadata.New(metadata.Config{Source: example()})
	const noDocker, noTask = "unable to get container ID from request: unable to get docker ID from v3 endpoint ID: ", "unable to get task arn from request: unable to get task Arn from v3 endpoint ID: "
	for _, test := range []struct {
		task, path string
		status     int
		body       string
	}{
		{task1, "/v4/bad", 404, `"V4 container metadata handler: ` + noDocker + `bad"`},
		{task1, "/v4/", 404, `"V4 container metadata handler: ` + noDocker + `"`},
		{task1, "/v4/bad/task", 404, `"V4 task metadata handler: ` + noTask + `bad"`},
		{task1, "/v4/bad/taskWithTags", 404, `"V4 task metadata handler: ` + noTask + `bad"`},
		{task1, "/v4/bad/stats", 404, `"V4 container handler: ` + noTask + `bad"`},
		{task1, "/v4/bad/task/stats", 404, `"V4 task stats handler: ` + noTask + `bad"`},
		{task1, "/v3/bad", 404, `"V3 container metadata handler: ` + noDocker + `bad"`},
		{task1, "/v2/metadata/bad", 404, `"unable to get metadata for the request: not found"`},

		// Another task's container is not this task's to know, and a task that ended knows nothing.
		{task1, "/v4/" + other, 404, `"V4 container metadata handler: ` + noDocker + other + `"`},
		{task1, "/v4/" + other + "/stats", 404, `"V4 container handler: ` + noTask + other + `"`},
		{task1, "/v2/stats/" + other, 404, `"unable to get stats for the request: not found"`},
		{"gone", "/v4/" + app, 404, `"V4 container metadata handler: ` + noDocker + app + `"`},
		{"gone", "/v2/metadata", 404, `"unable to get metadata for the request: not found"`},

		{task1, "/v4/" + setup + "/stats", 500, `"failed to get stats"`},
		{task1, "/v2/credentials", 400, `{"code":"NoIdInRequest","message":"CredentialsV2Request: No Credential ID in the request"}`},
		{task1, "/v2/credentials/", 400, `{"code":"NoIdInRequest","message":"CredentialsV2Request: No Credential ID in the request"}`},
		{task1, "/v2/credentials/5fd1", 400, `{"code":"InvalidIdInRequest","message":"CredentialsV2Request: Credentials not found"}`},
		{task1, "/v1/credentials?id=5fd1", 400, `{"code":"InvalidIdInRequest","message":"CredentialsV1Request: Credentials not found"}`},
		{task1, "/v1/credentials", 400, `{"code":"NoIdInRequest","message":"CredentialsV1Request: No Credential ID in the request"}`},
		{task1, "/", 404, "404 page not found\n"},
		{task1, "/v4/" + app + "/secrets", 404, "404 page not found\n"},
		{task1, "/v4", 404, `"V4 container metadata handler: ` + noDocker + `"`},
		{task1, "/v2/other", 404, "404 page not found\n"},
		{task1, "/v1/other", 404, "404 page not found\n"},
	} {
		r := get(t, s.Handler(test.task), test.path)
		if got := body(t, r); r.StatusCode != test.status || got != test.body {
			t.Errorf("%s of %s: %d %s\nwant %d %s", test.path, test.task, r.StatusCode, got, test.status, test.body)
		}
	}
}

func TestOnlyGet(t *testing.T) {
	w := httptest.NewRecorder()
	metadata.New(metadata.Config{Source: example()}).Handler(task1).ServeHTTP(w, httptest.NewRequest(http.MethodPut, "/v4/"+app, nil))
	if w.Code != http.StatusMethodNotAllowed {
		t.Errorf("PUT: %d", w.Code)
	}
}

func TestTooManyRequests(t *testing.T) {
	s := metadata.New(metadata.Config{Source: example()})
	h := s.Handler(task1)
	refused := 0
	for range 10_000 { // many more than any machine could let through at 40 a second
		if r := get(t, h, "/v2/credentials"); r.StatusCode == http.StatusTooManyRequests {
			refused++
		}
	}
	if refused == 0 || refused > 10_000-60 {
		t.Errorf("%d of 10000 were refused, want most but not the first 60", refused)
	}
	if r := get(t, s.Handler(task2), "/v2/metadata"); r.StatusCode != http.StatusOK {
		t.Errorf("another task is refused as well: %s", r.Status)
	}
}

func TestRatesNeedTwoSamplesOfOneInterface(t *testing.T) {
	src := example()
	h := metadata.New(metadata.Config{Source: src}).Handler(task2)
	if got := body(t, get(t, h, "/v4/"+other+"/stats")); strings.Contains(got, "network_rate_stats") || !strings.Contains(got, `"preread":"0001-01-01T00:00:00Z"`) {
		t.Errorf("rates from one sample: %s", got)
	}
	st := src.stats[app]
	st.Current.Networks = map[string]metadata.Interface{"eth0": {RxBytes: 1}}
	src.stats[other] = st
	if got := body(t, get(t, h, "/v4/"+other+"/stats")); strings.Contains(got, "network_rate_stats") {
		t.Errorf("rates from a counter that went back: %s", got)
	}
}

// TestATaskAsksInItsNamespace serves two tasks in two namespaces at the same address and asks from within.
func TestATaskAsksInItsNamespace(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root: makes a network namespace")
	}
	if _, err := exec.LookPath("ip"); err != nil {
		t.Skip("needs iproute2")
	}
	s := metadata.New(metadata.Config{Source: example()})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	done := make(chan error, 2)
	paths := map[string]string{}
	for _, task := range []string{task1, task2} {
		paths[task] = namespace(t)
		e, err := s.Open(ctx, paths[task], task)
		if err != nil {
			t.Fatal(err)
		}
		go func() { done <- e.Run(ctx) }()
	}
	for _, test := range []struct {
		in, uri string
		status  int
	}{
		{task1, metadata.ContainerURI(app), 200},
		{task1, metadata.ContainerURIv3(app) + "/task", 200},
		{task1, metadata.ContainerURI(other), 404},
		{task2, metadata.ContainerURI(other), 200},
		{task2, metadata.ContainerURI(app) + "/task", 404},
	} {
		transport := &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, proto, addr string) (conn net.Conn, err error) {
			err = network.In(paths[test.in], func() (err error) {
				conn, err = new(net.Dialer).DialContext(ctx, proto, addr)
				return err
			})
			return conn, err
		}}
		r, err := (&http.Client{Transport: transport}).Get(test.uri)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, r.Body)
		r.Body.Close()
		if r.StatusCode != test.status {
			t.Errorf("%s in the namespace of %s: %s, want %d", test.uri, test.in, r.Status, test.status)
		}
	}
	cancel()
	for range 2 {
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("Run: %v", err)
		}
	}
}

// namespace makes a network namespace that has nothing but the endpoint's address.
func namespace(t *testing.T) string {
	t.Helper()
	name := "md-" + strings.ToLower(rand.Text()[:8])
	ip := func(args ...string) {
		t.Helper()
		if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
			t.Fatalf("ip %v: %v\n%s", args, err, out)
		}
	}
	ip("netns", "add", name)
	t.Cleanup(func() { ip("netns", "del", name) })
	ip("-n", name, "link", "set", "lo", "up")
	ip("-n", name, "addr", "add", network.MetadataAddress+"/32", "dev", "lo")
	return "/run/netns/" + name
}

// TestCredentialsAreTheTasksOwn: under its own id, to itself, in Amazon's form.
func TestCredentialsAreTheTasksOwn(t *testing.T) {
	const id1, id2 = "11111111-0000-4000-8000-000000000001", "22222222-0000-4000-8000-000000000002"
	from := example()
	from.credentials = map[string]map[string]*credentials.Credentials{
		task1: {id1: {RoleARN: "arn:aws:iam::123456789012:role/app", AccessKeyID: "ASIA1", SecretAccessKey: "s3cret", SessionToken: "t0ken", Expires: at(7)}},
		task2: {id2: nil},
	}
	server := metadata.New(metadata.Config{Source: from})
	whole := `{"RoleArn":"arn:aws:iam::123456789012:role/app","AccessKeyId":"ASIA1","SecretAccessKey":"s3cret","Token":"t0ken","Expiration":"2026-11-22T10:00:07Z"}`
	for _, c := range []struct {
		task, path string
		status     int
		body       string
	}{
		{task1, "/v2/credentials/" + id1, 200, whole},
		{task1, "/v2/credentials/" + id1 + "/", 200, whole},
		{task1, "/v1/credentials?id=" + id1, 200, whole},
		{task1, "/v2/credentials/" + id2, 400, `{"code":"InvalidIdInRequest","message":"CredentialsV2Request: Credentials not found"}`},
		{task2, "/v2/credentials/" + id1, 400, `{"code":"InvalidIdInRequest","message":"CredentialsV2Request: Credentials not found"}`},
		{task2, "/v2/credentials/" + id2, 503, `{"code":"CredentialsUninitialized","message":"CredentialsV2Request: Credentials uninitialized for ID"}`},
		{task2, "/v1/credentials?id=" + id2, 503, `{"code":"CredentialsUninitialized","message":"CredentialsV1Request: Credentials uninitialized for ID"}`},
	} {
		r := get(t, server.Handler(c.task), c.path)
		if got := body(t, r); r.StatusCode != c.status || got != c.body {
			t.Errorf("%s of %s: %d %s, want %d %s", c.path, c.task, r.StatusCode, got, c.status, c.body)
		}
		if r.Header.Get("Content-Type") != "application/json" {
			t.Errorf("%s: %v", c.path, r.Header)
		}
	}
}
