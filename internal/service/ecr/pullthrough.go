package ecr

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"berth.dev/berth/internal/base/arn"
	"berth.dev/berth/internal/data/records"
	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/wire/api/ecrapi"
)

// upstream is a registry that AWS knows by name.
type upstream struct {
	kind   ecrapi.UpstreamRegistry
	host   string // or what it ends in, with a dot in front
	secret bool   // nobody is let in without
}

var upstreams = []upstream{
	{ecrapi.UpstreamRegistryEcrPublic, "public.ecr.aws", false},
	{ecrapi.UpstreamRegistryQuay, "quay.io", false},
	{ecrapi.UpstreamRegistryK8s, "registry.k8s.io", false},
	{ecrapi.UpstreamRegistryDockerHub, "registry-1.docker.io", true},
	{ecrapi.UpstreamRegistryGithubContainerRegistry, "ghcr.io", true},
	{ecrapi.UpstreamRegistryAzureContainerRegistry, ".azurecr.io", true},
	{ecrapi.UpstreamRegistryGitlabContainerRegistry, "registry.gitlab.com", true},
	{ecrapi.UpstreamRegistryChainguard, "cgr.dev", true},
}

// upstreamOf is the registry at a host: one that AWS knows, or any other, which
// is an offer of Berth's.
func upstreamOf(host string) upstream {
	for _, u := range upstreams {
		if host == u.host || strings.HasPrefix(u.host, ".") && strings.HasSuffix(host, u.host) {
			return u
		}
	}
	return upstream{}
}

// checkUpstream refuses hosts that are none, and registries of AWS's that
// nobody is let into here.
func checkUpstream(in *ecrapi.CreatePullThroughCacheRuleInput) (upstream, error) {
	host := *in.UpstreamRegistryUrl
	u := upstreamOf(host)
	unsupported := func(format string, args ...any) (upstream, error) {
		return u, &ecrapi.UnsupportedUpstreamRegistryException{Message: new(fmt.Sprintf(format, args...))}
	}
	_, err := name.NewRegistry(host, name.StrictValidation)
	switch {
	case err != nil || strings.Contains(host, "/"), in.UpstreamRegistry != "" && in.UpstreamRegistry != u.kind && in.UpstreamRegistry != ecrapi.UpstreamRegistryEcr:
		return unsupported("The upstream registry URL %s is invalid. Specify a valid upstream registry URL and try again", host)
	case in.UpstreamRegistry == ecrapi.UpstreamRegistryEcr, strings.Contains(host, ".dkr.ecr."), in.CustomRoleArn != nil:
		return unsupported("A private registry of Amazon ECR cannot be an upstream registry here")
	case u.secret && in.CredentialArn == nil:
		return unsupported("The specified upstream registry requires authentication. Specify a valid Secrets Manager ARN and try again.")
	case in.UpstreamRepositoryPrefix != nil && *in.UpstreamRepositoryPrefix != rootPrefix:
		return unsupported("An upstream repository prefix can only be specified for a private registry of Amazon ECR")
	}
	return u, nil
}

// probeLimit is how long an upstream registry may take to answer.
const probeLimit = 10 * time.Second

// rootPrefix is the prefix that all names have.
const rootPrefix = "ROOT"

// checkSecret refuses what is no secret of this account.
func checkSecret(r store.Reader, secretARN *string) error {
	if secretARN == nil {
		return nil
	}
	secret, ok := records.FindSecret(r, *secretARN)
	if _, err := arn.Parse(*secretARN); err != nil || !ok || secret.PurgeAt != nil {
		return &ecrapi.SecretNotFoundException{
			Message: new("The ARN of the secret specified in the pull through cache rule was not found. Update the pull through cache rule with a valid secret ARN and try again."),
		}
	}
	return nil
}

// CreatePullThroughCacheRule implements ecrapi.Service.
func (p *Provider) CreatePullThroughCacheRule(ctx context.Context, in *ecrapi.CreatePullThroughCacheRuleInput) (*ecrapi.CreatePullThroughCacheRuleOutput, error) {
	if !p.ours(in.RegistryId) {
		return nil, invalid("registryId", "A rule can only be created in the registry with id %s", p.scope.AccountID)
	}
	u, err := checkUpstream(in)
	if err != nil {
		return nil, err
	}
	rule := &model.PullThroughCacheRule{
		Prefix: *in.EcrRepositoryPrefix, UpstreamURL: *in.UpstreamRegistryUrl, UpstreamRegistry: string(u.kind),
		UpstreamPrefix: value(in.UpstreamRepositoryPrefix), CredentialARN: value(in.CredentialArn),
	}
	_, err = p.store.Update(ctx, func(tx *store.Tx) error {
		if records.PullThroughCacheRules.Has(tx, rule.Prefix) {
			return &ecrapi.PullThroughCacheRuleAlreadyExistsException{
				Message: new("The pull through cache rule with Amazon ECR repository prefix '" + rule.Prefix + "' already exists in the registry with id '" + p.scope.AccountID + "'"),
			}
		}
		if err := checkSecret(tx, in.CredentialArn); err != nil {
			return err
		}
		rule.CreatedAt, rule.UpdatedAt = tx.Now(), tx.Now()
		records.PullThroughCacheRules.Put(tx, rule)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &ecrapi.CreatePullThroughCacheRuleOutput{
		EcrRepositoryPrefix: &rule.Prefix, UpstreamRegistryUrl: &rule.UpstreamURL, CreatedAt: &rule.CreatedAt, RegistryId: &p.scope.AccountID,
		UpstreamRegistry: u.kind, CredentialArn: in.CredentialArn, UpstreamRepositoryPrefix: in.UpstreamRepositoryPrefix,
	}, nil
}

// rule finds a rule of the registry that a call may name.
func (p *Provider) rule(r store.Reader, registry, prefix *string) (*model.PullThroughCacheRule, error) {
	rule, ok := records.PullThroughCacheRules.Get(r, *prefix)
	if ok && p.ours(registry) {
		return rule, nil
	}
	id := p.scope.AccountID
	if registry != nil {
		id = *registry
	}
	return nil, &ecrapi.PullThroughCacheRuleNotFoundException{
		Message: new("The pull through cache rule with Amazon ECR repository prefix '" + *prefix + "' does not exist in the registry with id '" + id + "'"),
	}
}

// DescribePullThroughCacheRules implements ecrapi.Service.
func (p *Provider) DescribePullThroughCacheRules(_ context.Context, in *ecrapi.DescribePullThroughCacheRulesInput) (*ecrapi.DescribePullThroughCacheRulesOutput, error) {
	if err := unpaged("ecrRepositoryPrefixes", len(in.EcrRepositoryPrefixes) > 0, in.NextToken, in.MaxResults); err != nil {
		return nil, err
	}
	snap := p.store.Snapshot()
	var rules []*model.PullThroughCacheRule
	for _, prefix := range in.EcrRepositoryPrefixes {
		rule, err := p.rule(snap, in.RegistryId, &prefix)
		if err != nil {
			return nil, err
		}
		if !slices.Contains(rules, rule) {
			rules = append(rules, rule)
		}
	}
	out := &ecrapi.DescribePullThroughCacheRulesOutput{PullThroughCacheRules: []ecrapi.PullThroughCacheRule{}}
	if len(in.EcrRepositoryPrefixes) == 0 && p.ours(in.RegistryId) {
		var err error
		all := slices.Collect(records.PullThroughCacheRules.All(snap))
		if rules, out.NextToken, err = pageOf("DescribePullThroughCacheRules", all, (*model.PullThroughCacheRule).Key, in.NextToken, in.MaxResults); err != nil {
			return nil, err
		}
	}
	for _, rule := range rules {
		out.PullThroughCacheRules = append(out.PullThroughCacheRules, ecrapi.PullThroughCacheRule{
			EcrRepositoryPrefix: &rule.Prefix, UpstreamRegistryUrl: &rule.UpstreamURL, CreatedAt: &rule.CreatedAt, UpdatedAt: &rule.UpdatedAt,
			RegistryId: &p.scope.AccountID, UpstreamRegistry: ecrapi.UpstreamRegistry(rule.UpstreamRegistry),
			CredentialArn: optional(rule.CredentialARN), UpstreamRepositoryPrefix: optional(rule.UpstreamPrefix),
		})
	}
	return out, nil
}

// UpdatePullThroughCacheRule implements ecrapi.Service.
func (p *Provider) UpdatePullThroughCacheRule(ctx context.Context, in *ecrapi.UpdatePullThroughCacheRuleInput) (*ecrapi.UpdatePullThroughCacheRuleOutput, error) {
	if in.CustomRoleArn != nil {
		return nil, invalid("customRoleArn", "A role can only be specified for a private registry of Amazon ECR")
	}
	if in.CredentialArn == nil {
		return nil, invalid("credentialArn", "Member must not be null")
	}
	out := &ecrapi.UpdatePullThroughCacheRuleOutput{EcrRepositoryPrefix: in.EcrRepositoryPrefix, RegistryId: &p.scope.AccountID, CredentialArn: in.CredentialArn}
	_, err := p.store.Update(ctx, func(tx *store.Tx) error {
		rule, err := p.rule(tx, in.RegistryId, in.EcrRepositoryPrefix)
		if err != nil {
			return err
		}
		if err := checkSecret(tx, in.CredentialArn); err != nil {
			return err
		}
		out.UpdatedAt, out.UpstreamRepositoryPrefix = new(tx.Now()), optional(rule.UpstreamPrefix)
		return records.PullThroughCacheRules.Edit(tx, rule.Prefix, func(rule *model.PullThroughCacheRule) error {
			rule.CredentialARN, rule.UpdatedAt = *in.CredentialArn, tx.Now()
			return nil
		})
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// DeletePullThroughCacheRule implements ecrapi.Service. The repositories that
// it filled stay.
func (p *Provider) DeletePullThroughCacheRule(ctx context.Context, in *ecrapi.DeletePullThroughCacheRuleInput) (*ecrapi.DeletePullThroughCacheRuleOutput, error) {
	var rule *model.PullThroughCacheRule
	_, err := p.store.Update(ctx, func(tx *store.Tx) (err error) {
		if rule, err = p.rule(tx, in.RegistryId, in.EcrRepositoryPrefix); err != nil {
			return err
		}
		records.PullThroughCacheRules.Delete(tx, rule.Prefix)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &ecrapi.DeletePullThroughCacheRuleOutput{
		EcrRepositoryPrefix: &rule.Prefix, UpstreamRegistryUrl: &rule.UpstreamURL, CreatedAt: &rule.CreatedAt, RegistryId: &p.scope.AccountID,
		CredentialArn: optional(rule.CredentialARN), UpstreamRepositoryPrefix: optional(rule.UpstreamPrefix),
	}, nil
}

// ValidatePullThroughCacheRule implements ecrapi.Service: it asks the upstream
// registry.
func (p *Provider) ValidatePullThroughCacheRule(ctx context.Context, in *ecrapi.ValidatePullThroughCacheRuleInput) (*ecrapi.ValidatePullThroughCacheRuleOutput, error) {
	rule, err := p.rule(p.store.Snapshot(), in.RegistryId, in.EcrRepositoryPrefix)
	if err != nil {
		return nil, err
	}
	out := &ecrapi.ValidatePullThroughCacheRuleOutput{
		EcrRepositoryPrefix: &rule.Prefix, RegistryId: &p.scope.AccountID, UpstreamRegistryUrl: &rule.UpstreamURL,
		CredentialArn: optional(rule.CredentialARN), UpstreamRepositoryPrefix: optional(rule.UpstreamPrefix),
	}
	failure := p.probe(ctx, rule)
	out.IsValid, out.Failure = new(failure == ""), optional(failure)
	return out, nil
}

// probe asks a rule's registry for the front page of its API, and returns what
// is wrong; "" for nothing.
func (p *Provider) probe(ctx context.Context, rule *model.PullThroughCacheRule) string {
	registry, err := name.NewRegistry(rule.UpstreamURL)
	if err != nil {
		return "The upstream registry URL is invalid: " + err.Error()
	}
	who := authn.Anonymous
	if rule.CredentialARN != "" {
		username, password, err := p.cfg.Credentials(ctx, rule.CredentialARN)
		if err != nil {
			return "The secret cannot be used: " + err.Error()
		}
		who = authn.FromConfig(authn.AuthConfig{Username: username, Password: password})
	}
	ctx, cancel := context.WithTimeout(ctx, probeLimit)
	defer cancel()
	signed, err := transport.NewWithContext(ctx, registry, who, p.cfg.Transport, nil)
	if err != nil {
		return "The upstream registry cannot be used: " + err.Error()
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, registry.Scheme()+"://"+registry.RegistryStr()+"/v2/", nil)
	if err != nil {
		return "The upstream registry URL is invalid: " + err.Error()
	}
	answer, err := signed.RoundTrip(request)
	if err != nil {
		return "The upstream registry cannot be reached: " + err.Error()
	}
	defer answer.Body.Close()
	accepted := []int{http.StatusOK}
	if rule.CredentialARN == "" {
		// Registries that let everybody pull need not show him this page.
		accepted = append(accepted, http.StatusUnauthorized)
	}
	if err := transport.CheckError(answer, accepted...); err != nil {
		return "The upstream registry refuses: " + err.Error()
	}
	return ""
}
