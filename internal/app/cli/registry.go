package cli

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecr"
	"github.com/aws/aws-sdk-go-v2/service/ecr/types"
	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/spf13/cobra"
)

// registry is the image registry of a Berth as this host reaches it: at the
// address of the API, whatever the name that task definitions have for it.
type registry struct {
	host     string
	plain    bool // without TLS
	login    *authn.Basic
	requests http.RoundTripper
}

// registry logs in to the registry.
func (c *clients) registry(ctx context.Context) (*registry, error) {
	at, err := url.Parse(c.endpoint)
	if err != nil || at.Host == "" {
		return nil, errors.New("images go to a Berth, and none is named: eval \"$(berth env)\"")
	}
	out, err := c.ecr.GetAuthorizationToken(ctx, &ecr.GetAuthorizationTokenInput{})
	if err != nil {
		return nil, fmt.Errorf("logging in to the registry: %w", explained(err))
	}
	if len(out.AuthorizationData) == 0 {
		return nil, errors.New("logging in to the registry: it gave no password")
	}
	text, err := base64.StdEncoding.DecodeString(aws.ToString(out.AuthorizationData[0].AuthorizationToken))
	user, password, ok := strings.Cut(string(text), ":")
	if err != nil || !ok {
		return nil, errors.New("logging in to the registry: the password that it gave cannot be read")
	}
	requests := c.http.Transport
	if requests == nil {
		requests = http.DefaultTransport
	}
	return &registry{at.Host, at.Scheme == "http", &authn.Basic{Username: user, Password: password}, requests}, nil
}

// tag names an image of the registry by the address that this host reaches.
func (r *registry) tag(repository, tag string) (name.Tag, error) {
	var options []name.Option
	if r.plain {
		options = append(options, name.Insecure)
	}
	return name.NewTag(r.host+"/"+repository+":"+tag, options...)
}

func (r *registry) options(ctx context.Context) []remote.Option {
	return []remote.Option{remote.WithContext(ctx), remote.WithAuth(r.login), remote.WithTransport(r.requests), remote.WithUserAgent("berth-cli")}
}

// registryHost is how task definitions name the registry of an account:
// <account>.dkr.ecr.<region>.amazonaws.com.
func isRegistryHost(host string) bool {
	fields := strings.Split(host, ".")
	return len(fields) >= 6 && len(fields[0]) == 12 && fields[1] == "dkr" && fields[2] == "ecr" && fields[4] == "amazonaws"
}

// repository finds a repository; nil when there is none.
func (c *clients) repository(ctx context.Context, name string) (*types.Repository, error) {
	out, err := c.ecr.DescribeRepositories(ctx, &ecr.DescribeRepositoriesInput{RepositoryNames: []string{name}})
	if _, none := errors.AsType[*types.RepositoryNotFoundException](err); none {
		return nil, nil //nolint:nilnil // there is none
	}
	if err != nil {
		return nil, fmt.Errorf("looking for the repository %s: %w", name, explained(err))
	}
	if len(out.Repositories) == 0 {
		return nil, nil //nolint:nilnil // there is none
	}
	return &out.Repositories[0], nil
}

// ensureRepository finds a repository, or makes it when it may.
func (c *clients) ensureRepository(ctx context.Context, p *printer, name string, create bool) (*types.Repository, error) {
	found, err := c.repository(ctx, name)
	if err != nil || found != nil {
		return found, err
	}
	if !create {
		return nil, fmt.Errorf("there is no repository %s; without --create=false it is made", name)
	}
	made, err := c.ecr.CreateRepository(ctx, &ecr.CreateRepositoryInput{RepositoryName: &name})
	if _, raced := errors.AsType[*types.RepositoryAlreadyExistsException](err); raced {
		return c.repository(ctx, name)
	}
	if err != nil {
		return nil, fmt.Errorf("creating the repository %s: %w", name, explained(err))
	}
	p.say("%s", step{true, "Repository", name + " created", 0}.line(p, ""))
	return made.Repository, nil
}

// repositories are all of the registry, or one, in the order of their names.
func (c *clients) repositories(ctx context.Context, only string) ([]types.Repository, error) {
	in := &ecr.DescribeRepositoriesInput{}
	if only != "" {
		in.RepositoryNames = []string{only}
	}
	var all []types.Repository
	for pages := ecr.NewDescribeRepositoriesPaginator(c.ecr, in); pages.HasMorePages(); {
		page, err := pages.NextPage(ctx)
		if _, none := errors.AsType[*types.RepositoryNotFoundException](err); none {
			return nil, fmt.Errorf("there is no repository %q; `berth images` lists them, and `berth push` makes them", only)
		}
		if err != nil {
			return nil, explained(err)
		}
		all = append(all, page.Repositories...)
	}
	slices.SortFunc(all, func(a, b types.Repository) int {
		return strings.Compare(aws.ToString(a.RepositoryName), aws.ToString(b.RepositoryName))
	})
	return all, nil
}

func (e *environment) completeRepositories(cmd *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return e.complete(cmd, func(ctx context.Context, c *clients) ([]string, error) {
		all, err := c.repositories(ctx, "")
		var names []string
		for _, r := range all {
			if name := aws.ToString(r.RepositoryName); strings.HasPrefix(name, typed) {
				names = append(names, name)
			}
		}
		return names, err
	})
}
