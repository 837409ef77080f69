package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"runtime"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"golang.org/x/sync/errgroup"

	"berth.dev/berth/internal/base/arn"
	"berth.dev/berth/internal/base/fault"
	"berth.dev/berth/internal/base/ident"
	"berth.dev/berth/internal/data/keyring"
	"berth.dev/berth/internal/data/kv/memkv"
	"berth.dev/berth/internal/data/logstore"
	"berth.dev/berth/internal/data/records"
	"berth.dev/berth/internal/data/sessions"
	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/edge/audit"
	"berth.dev/berth/internal/edge/authority"
	"berth.dev/berth/internal/edge/gateway"
	"berth.dev/berth/internal/model"
	ecsservice "berth.dev/berth/internal/service/ecs"
	"berth.dev/berth/internal/wire/api/ecsapi"
	"berth.dev/berth/internal/wire/caller"
	"berth.dev/berth/internal/wire/sigv4"
)

// markAuthorised is of issue "Identity and secrets": so many authorised
// DescribeTasks of one task a second on two cores.
const markAuthorised = 15_000

const (
	gatewayRoles    = 100
	gatewayPolicies = 300
)

// door is a gateway as the server builds it, with one task to describe and a
// role's session that may.
type door struct {
	store    *store.Store
	ring     *keyring.Keyring
	sessions *sessions.Sessions
	logs     *logstore.Store
	recorder *audit.Recorder
	guard    *authority.Authority
	scope    arn.Scope
	taskID   string
	who      caller.Identity
}

// gatewayCost measures what a call costs inside the gateway: the signature of
// temporary credentials, the decision over a realistic set of policies, the
// provider, and the record.
func (b *bench) gatewayCost(ctx context.Context) (err error) {
	ctx, end := context.WithCancel(ctx)
	g, ctx := errgroup.WithContext(ctx)
	defer func() {
		end()
		if ran := g.Wait(); !errors.Is(ran, context.Canceled) {
			err = errors.Join(err, ran)
		}
	}()
	d, err := newDoor(ctx, g, filepath.Join(b.dir, "gateway-logs"))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.logs.Close()) }()
	// Each way has one step more than the one before it.
	ways := []struct {
		name string
		cfg  gateway.Config
	}{
		{"signature, decoding, provider, encoding", gateway.Config{Authorizer: anybody{}}},
		{"… and the decision", gateway.Config{Authorizer: d.guard}},
		{"… and the rate limit", gateway.Config{Authorizer: d.guard, RateLimit: 1e9, RateBurst: 1e9}},
		{"… and the audit's record: all of it", gateway.Config{Authorizer: d.guard, RateLimit: 1e9, RateBurst: 1e9, Auditor: d.recorder}},
	}
	rounds, each := 5, 2*time.Second
	if b.quick {
		rounds, each = 1, 200*time.Millisecond
	}
	costs := make([][]callCost, len(ways))
	for round := range rounds {
		for i := range ways {
			at := (i + round) % len(ways)
			b.say("gateway: round %d of %d, %s", round+1, rounds, ways[at].name)
			cost, err := d.drive(ctx, ways[at].cfg, each)
			if err != nil {
				return fmt.Errorf("%s: %w", ways[at].name, err)
			}
			costs[at] = append(costs[at], cost)
		}
	}
	b.reportGateway(func(yield func(string, callCost) bool) {
		for i, w := range ways {
			if !yield(w.name, medianCost(costs[i])) {
				return
			}
		}
	})
	return nil
}

// callCost is what one call takes.
type callCost struct {
	took   time.Duration // of one core
	allocs float64
	rate   float64 // calls a second, of all cores together
}

func medianCost(all []callCost) callCost {
	var took, rate []time.Duration
	for _, c := range all {
		took, rate = append(took, c.took), append(rate, time.Duration(c.rate))
	}
	return callCost{took: median(took), allocs: all[0].allocs, rate: float64(median(rate))}
}

func (b *bench) reportGateway(all func(func(string, callCost) bool)) {
	out := b.report.section("gateway")
	fmt.Fprintf(out, "## A call in the gateway\n\nDescribeTasks of one task by a role's session, in an account with %d roles and %d managed policies, three and an inline policy to a role; "+
		"in this process, without a network, on %d cores at once. The signature is that of temporary credentials, whose token is opened at each call.\n\n", gatewayRoles, gatewayPolicies, runtime.GOMAXPROCS(0))
	var rows [][]string
	var before, whole callCost
	for name, cost := range all {
		rows = append(rows, []string{name, us(cost.took), us(cost.took - before.took), fmt.Sprintf("%.0f", cost.allocs), fmt.Sprintf("%.0f", cost.rate)})
		before, whole = cost, cost
	}
	table(out, []string{"steps", "core time a call", "the step", "allocations a call", "calls/s"}, rows)
	kept := "kept"
	if whole.rate < markAuthorised {
		kept = "missed"
	}
	fmt.Fprintf(out, "- authorised calls a second, all steps: %.0f (mark: at least %d, %s)\n", whole.rate, markAuthorised, kept)
}

func us(d time.Duration) string { return fmt.Sprintf("%.1f µs", float64(d.Nanoseconds())/1000) }

// drive calls the gateway from every core for a while.
func (d *door) drive(ctx context.Context, cfg gateway.Config, long time.Duration) (callCost, error) {
	cfg.Services = []gateway.Service{{API: ecsapi.API, Provider: ecsservice.New(ecsservice.Config{Store: d.store, Scope: d.scope, Logger: slog.New(slog.DiscardHandler)})}}
	cfg.Credentials, cfg.Region, cfg.Logger = d, d.scope.Region, slog.New(slog.DiscardHandler)
	g, err := gateway.New(cfg)
	if err != nil {
		return callCost{}, err
	}
	request, body, err := d.request(ctx)
	if err != nil {
		return callCost{}, err
	}
	cores := runtime.GOMAXPROCS(0)
	counts := make([]int, cores)
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	begun := time.Now()
	var group errgroup.Group
	for core := range cores {
		group.Go(func() error {
			again, out, reader := *request, &forgetful{header: http.Header{}}, bytes.NewReader(nil)
			for time.Since(begun) < long {
				reader.Reset(body)
				again.Body = io.NopCloser(reader)
				clear(out.header)
				out.status = 0
				g.ServeHTTP(out, &again)
				if out.status != 0 && out.status != http.StatusOK {
					return fmt.Errorf("status %d", out.status)
				}
				counts[core]++
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return callCost{}, err
	}
	took := time.Since(begun)
	runtime.ReadMemStats(&after)
	calls := 0
	for _, n := range counts {
		calls += n
	}
	return callCost{
		took:   took * time.Duration(cores) / time.Duration(calls),
		allocs: float64(after.Mallocs-before.Mallocs) / float64(calls),
		rate:   float64(calls) / took.Seconds(),
	}, nil
}

// request is a signed DescribeTasks. It may be sent again and again for as long
// as its signature is good.
func (d *door) request(ctx context.Context) (*http.Request, []byte, error) {
	keys, err := d.sessions.Issue(d.who)
	if err != nil {
		return nil, nil, err
	}
	body := fmt.Appendf(nil, `{"cluster":"prod","tasks":[%q]}`, d.taskID)
	r := httptest.NewRequestWithContext(ctx, http.MethodPost, "http://127.0.0.1:8577/", bytes.NewReader(body))
	r.Header.Set("Content-Type", "application/x-amz-json-1.1")
	r.Header.Set("X-Amz-Target", ecsapi.API.TargetPrefix+".DescribeTasks")
	r.Header.Set("User-Agent", "aws-sdk-go-v2/1.47.7 ua/2.1 os/linux lang/go#1.26 api/ecs#1.104.1")
	sum := sha256.Sum256(body)
	credentials := aws.Credentials{AccessKeyID: keys.AccessKeyID, SecretAccessKey: keys.SecretAccessKey, SessionToken: keys.SessionToken}
	return r, body, v4.NewSigner().SignHTTP(ctx, credentials, r, hex.EncodeToString(sum[:]), "ecs", d.scope.Region, time.Now())
}

// Credentials opens the token, as the server does.
func (d *door) Credentials(_ context.Context, accessKeyID, token string) (sigv4.Credential, caller.Identity, error) {
	secret, who, err := d.sessions.Open(accessKeyID, token)
	if err != nil {
		return sigv4.Credential{}, caller.Identity{}, err
	}
	if _, _, ok := records.Holder(d.store.Snapshot(), &who); !ok {
		return sigv4.Credential{}, caller.Identity{}, fault.New(fault.NotFound, "the role is gone")
	}
	return sigv4.Credential{SecretAccessKey: secret, SessionToken: token, Expires: who.Session.Expires}, who, nil
}

// anybody may do everything.
type anybody struct{}

func (anybody) Authorize(context.Context, gateway.Access) error { return nil }
func (anybody) Check(context.Context, string, string, map[string][]string) error {
	return nil
}

// forgetful takes an answer and forgets it.
type forgetful struct {
	header http.Header
	status int
}

func (f *forgetful) Header() http.Header         { return f.header }
func (f *forgetful) WriteHeader(status int)      { f.status = status }
func (f *forgetful) Write(b []byte) (int, error) { return len(b), nil }

func newDoor(ctx context.Context, g *errgroup.Group, logs string) (*door, error) {
	d := &door{scope: arn.Scope{Partition: "aws", Region: "us-east-1", AccountID: "123456789012"}, taskID: ident.Task()}
	var err error
	if d.ring, err = keyring.Ephemeral(); err != nil {
		return nil, err
	}
	if d.store, err = store.Open(memkv.New(0), "/bench/", store.Options{}, records.All()...); err != nil {
		return nil, err
	}
	g.Go(func() error { return d.store.Run(ctx) })
	select {
	case <-d.store.Ready():
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if d.logs, err = logstore.Open(logs, logstore.Options{}); err != nil {
		return nil, err
	}
	d.sessions = sessions.New(d.ring)
	d.recorder = audit.New(audit.Config{Logs: d.logs, AccountID: d.scope.AccountID, Region: d.scope.Region, Logger: slog.New(slog.DiscardHandler)})
	g.Go(func() error { return d.recorder.Run(ctx) })
	if d.guard, err = authority.New(authority.Config{Store: d.store, Scope: d.scope, Logs: d.logs}); err != nil {
		return nil, err
	}
	if err := d.crowd(ctx); err != nil {
		return nil, err
	}
	now := time.Now()
	d.who = caller.Identity{
		AccountID: d.scope.AccountID, ARN: "arn:aws:sts::123456789012:assumed-role/role050/" + d.taskID, UserID: "AROA050:" + d.taskID,
		Session: &caller.Session{RoleARN: d.scope.IAM("role", "/", "role050"), RoleID: "AROA050", Name: d.taskID, IssuedAt: now, Expires: now.Add(time.Hour)},
	}
	return d, nil
}

// crowd makes roles and policies as an account has them after some years, and
// the task.
func (d *door) crowd(ctx context.Context) error {
	name := func(i int) string { return fmt.Sprintf("arn:aws:iam::123456789012:policy/p%03d", i) }
	for i := range gatewayPolicies {
		document := fmt.Sprintf(`{"Version":"2012-10-17","Statement":[
{"Sid":"Buckets","Effect":"Allow","Action":["s3:GetObject","s3:PutObject","s3:ListBucket"],"Resource":["arn:aws:s3:::bucket-%[1]d","arn:aws:s3:::bucket-%[1]d/*"]},
{"Sid":"Tables","Effect":"Allow","Action":"dynamodb:*","Resource":"arn:aws:dynamodb:*:*:table/t-%[1]d","Condition":{"StringEquals":{"aws:PrincipalTag/Team":"team-%[1]d"}}},
{"Sid":"Tasks","Effect":"Allow","Action":["ecs:Describe*","ecs:List*","ecs:RunTask"],"Resource":"*","Condition":{"ArnLike":{"ecs:cluster":"arn:aws:ecs:*:*:cluster/c-%[1]d"}}}]}`, i)
		if _, err := d.store.Update(ctx, func(tx *store.Tx) error {
			records.Policies.Put(tx, &model.Policy{ID: ident.Hex(21), ARN: name(i), Name: fmt.Sprintf("p%03d", i), Path: "/", DefaultID: "v1", Versions: []model.PolicyVersion{{ID: "v1", Document: document}}})
			return nil
		}); err != nil {
			return err
		}
	}
	for i := range gatewayRoles {
		if _, err := d.store.Update(ctx, func(tx *store.Tx) error {
			records.Roles.Put(tx, &model.Role{
				ID: fmt.Sprintf("AROA%03d", i), Name: fmt.Sprintf("role%03d", i), Path: "/", MaxSessionDuration: 3600,
				Attached: []string{name(3 * i), name(3*i + 1), name(3*i + 2)},
				Inline: []model.InlinePolicy{{Name: "own", Document: `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"ecs:DescribeTasks",` +
					`"Resource":"arn:aws:ecs:*:123456789012:task/prod/*","Condition":{"ArnEquals":{"ecs:cluster":"arn:aws:ecs:us-east-1:123456789012:cluster/prod"}}}]}`}},
			})
			return nil
		}); err != nil {
			return err
		}
	}
	_, err := d.store.Update(ctx, func(tx *store.Tx) error {
		records.Clusters.Put(tx, &model.Cluster{Name: "prod", Status: "ACTIVE"})
		records.Tasks.Put(tx, &model.Task{
			ID: d.taskID, ARN: d.scope.Task("prod", d.taskID), ClusterName: "prod", CreatedAt: tx.Now(), Family: "app", Revision: 1,
			TaskDefinitionARN: d.scope.TaskDefinition("app", 1), LaunchType: model.LaunchFargate, DesiredStatus: model.TaskRunning, Version: 3,
			Containers: []model.TaskContainer{{Name: "app", ID: ident.UUID(), Image: "app:1", Essential: true}},
			Observed:   model.TaskObserved{Status: model.TaskRunning, Containers: []model.ContainerObserved{{Name: "app", Status: model.ContainerRunning}}},
		})
		return nil
	})
	return err
}
