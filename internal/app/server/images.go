package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"berth.dev/berth/internal/base/fault"
	"berth.dev/berth/internal/base/telemetry"
	"berth.dev/berth/internal/data/records"
	"berth.dev/berth/internal/edge/gateway"
	"berth.dev/berth/internal/edge/registry"
	"berth.dev/berth/internal/wire/caller"
)

// layerURLLife is how long the address of a layer can be used, as on AWS.
const layerURLLife = time.Hour

// openRegistry builds the door of the image registry.
func (p *controlPlane) openRegistry() (err error) {
	p.registry, err = registry.New(registry.Config{
		Images: p.images, Store: p.store, Scope: p.cfg.Scope, Authenticate: p.registryUser, Guard: p.guard, Auditor: p.audit,
		Ring: p.ring, Logins: upstreamLogins{p}, Logger: room(p.cfg.Log, "edge/registry"),
	})
	return err
}

// registryUser says whose a password of the registry is. The credentials that
// it was made with must still be worth something.
func (p *controlPlane) registryUser(_ context.Context, password string) (caller.Identity, error) {
	who, err := p.sessions.OpenRegistry(password, time.Now())
	if err != nil {
		return caller.Identity{}, err
	}
	gone := fault.New(fault.Denied, "the credentials that the password was made with are not valid any more")
	r := p.store.Snapshot()
	if who.Session == nil {
		key, ok := records.AccessKeys.Get(r, who.AccessKeyID)
		if !ok || key.Inactive {
			return caller.Identity{}, gone
		}
	}
	if _, _, ok := records.Holder(r, &who); !ok {
		return caller.Identity{}, gone
	}
	return who, nil
}

// layerURL is where a layer can be read without credentials for a while.
func (p *controlPlane) layerURL(repository, digest, base string) string {
	url, err := registry.SignLayerURL(p.ring, base, repository, digest, time.Now().Add(layerURLLife))
	if err != nil { // the ring seals whatever it is given
		p.cfg.Log.Error("the address of a layer could not be signed", telemetry.Error, err)
		return ""
	}
	return url
}

// upstreamLogins reads the logins of registries that are cached, as ECR does
// for them: through the API, authorised and recorded.
type upstreamLogins struct{ p *controlPlane }

// Login finds user name and password in a secret.
func (l upstreamLogins) Login(ctx context.Context, secretARN string) (username, password string, err error) {
	who := caller.Identity{
		AccountID: l.p.cfg.Scope.AccountID, ARN: l.p.cfg.Scope.Root(), UserID: l.p.cfg.Scope.AccountID,
		Region: l.p.cfg.Scope.Region, Service: "pullthroughcache.ecr.amazonaws.com",
	}
	value, err := innerDoor{l.p.gateway}.GetSecretValue(ctx, who, secretARN, "", "")
	if err != nil {
		return "", "", err
	}
	var login struct{ Username, AccessToken string }
	if err := json.Unmarshal([]byte(value.Text), &login); err != nil || login.Username == "" || login.AccessToken == "" {
		return "", "", fmt.Errorf("the secret %s does not have the form {\"username\": …, \"accessToken\": …}", secretARN)
	}
	return login.Username, login.AccessToken, nil
}

// registryHosts are the hosts of image names that mean this registry: what the
// operator calls it, and where the API answers.
func (p *controlPlane) registryHosts() []string {
	var hosts []string
	add := func(url string) {
		if _, host, found := strings.Cut(url, "://"); found {
			url = host
		}
		if url != "" {
			hosts = append(hosts, url)
		}
	}
	add(p.cfg.RegistryEndpoint)
	add(p.endpoint)
	_, port, err := net.SplitHostPort(strings.TrimPrefix(strings.TrimPrefix(p.endpoint, "https://"), "http://"))
	if err == nil {
		add("localhost:" + port)
		add("127.0.0.1:" + port)
	}
	return hosts
}

// pulling is a connection of a node that pulls from one repository.
type pulling struct {
	net.Conn
	repository string
	once       sync.Once
	closed     chan struct{}
}

// ReadFrom lets the connection choose in what pieces a layer goes.
func (c *pulling) ReadFrom(r io.Reader) (int64, error) { return io.Copy(c.Conn, r) }

// Close closes the connection and ends servePull.
func (c *pulling) Close() error {
	defer c.once.Do(func() { close(c.closed) })
	return c.Conn.Close()
}

type repositoryKey struct{}

// servePull takes a node's connection to the registry, for one repository that
// the node's task may pull from, and returns when it is closed.
func (p *controlPlane) servePull(ctx context.Context, conn net.Conn, repository string) {
	c := &pulling{Conn: conn, repository: repository, closed: make(chan struct{})}
	p.pulls.give(ctx, c)
	<-c.closed // the server closes it: conn fails when ctx ends
}

// runPulls serves the registry to nodes until ctx ends.
func (p *controlPlane) runPulls(ctx context.Context) error {
	server := gateway.Server("pulls", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		repository, _ := r.Context().Value(repositoryKey{}).(string)
		p.registry.ForRepository(repository).ServeHTTP(w, r)
	}), p.cfg.Log)
	server.ConnContext = func(ctx context.Context, c net.Conn) context.Context {
		if n, ok := c.(*pulling); ok {
			return context.WithValue(ctx, repositoryKey{}, n.repository)
		}
		return ctx
	}
	// A pull that is cut off goes on where it was: nobody waits for it.
	defer context.AfterFunc(ctx, func() { server.Close() })() //nolint:errcheck,gosec // as above
	if err := server.Serve(p.pulls); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
