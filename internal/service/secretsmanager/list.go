package secretsmanager

import (
	"cmp"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"berth.dev/berth/internal/base/fault"
	"berth.dev/berth/internal/data/records"
	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/wire/api/secretsmanagerapi"
	"berth.dev/berth/internal/wire/caller"
	"berth.dev/berth/internal/wire/smithy"
)

// ListSecrets implements secretsmanagerapi.Service.
func (p *Provider) ListSecrets(_ context.Context, in *secretsmanagerapi.ListSecretsInput) (*secretsmanagerapi.ListSecretsOutput, error) {
	key := sortKey(in.SortBy)
	all := p.matching(in.Filters, value(in.IncludePlannedDeletion))
	down := in.SortOrder == secretsmanagerapi.SortOrderTypeDesc
	page, next, err := pageOf("secrets "+string(in.SortBy), all, key, down, in.NextToken, in.MaxResults)
	if err != nil {
		return nil, err
	}
	out := &secretsmanagerapi.ListSecretsOutput{SecretList: []secretsmanagerapi.SecretListEntry{}, NextToken: next}
	for _, s := range page {
		r := rotationOf(s)
		out.SecretList = append(out.SecretList, secretsmanagerapi.SecretListEntry{
			ARN: &s.ARN, Name: &s.Name, Description: optional(s.Description), KmsKeyId: optional(s.KMSKeyID), CreatedDate: &s.CreatedAt,
			LastChangedDate: &s.ChangedAt, LastAccessedDate: s.AccessedOn, DeletedDate: s.DeletedAt, Tags: tagsOut(s.Tags), SecretVersionsToStages: stagesOut(s),
			RotationEnabled: r.enabled, RotationLambdaARN: r.task, RotationRules: r.rules, LastRotatedDate: r.last, NextRotationDate: r.next,
		})
	}
	return out, nil
}

// matching are the secrets that pass all filters.
func (p *Provider) matching(filters []secretsmanagerapi.Filter, deleted bool) []*model.Secret {
	var all []*model.Secret
	for s := range records.Secrets.All(p.store.Snapshot()) {
		if (deleted || s.DeletedAt == nil) && !slices.ContainsFunc(filters, func(f secretsmanagerapi.Filter) bool { return !passes(s, f) }) {
			all = append(all, s)
		}
	}
	return all
}

// sortKey is what secrets are ordered by; the name makes it unique.
func sortKey(by secretsmanagerapi.SortByType) func(*model.Secret) string {
	return func(s *model.Secret) string {
		switch by {
		case secretsmanagerapi.SortByTypeName:
			return s.Name
		case secretsmanagerapi.SortByTypeLastChangedDate:
			return orderOf(s.ChangedAt, s.Name)
		case secretsmanagerapi.SortByTypeLastAccessedDate:
			return orderOf(value(s.AccessedOn), s.Name)
		}
		return orderOf(s.CreatedAt, s.Name)
	}
}

// orderOf sorts as the time does, what has none first.
func orderOf(t time.Time, id string) string {
	if t.IsZero() {
		return fmt.Sprintf("%020d %s", 0, id)
	}
	return fmt.Sprintf("%020d %s", t.UnixNano(), id)
}

// passes reports whether one of a filter's values matches; values that begin
// with an exclamation mark must not, any of them.
func passes(s *model.Secret, f secretsmanagerapi.Filter) bool {
	wanted, found := false, false
	for _, v := range f.Values {
		if unwanted, negated := strings.CutPrefix(v, "!"); negated {
			if has(s, f.Key, unwanted) {
				return false
			}
			continue
		}
		wanted = true
		found = found || has(s, f.Key, v)
	}
	return found || !wanted
}

// has reports whether an attribute begins with the text.
func has(s *model.Secret, key secretsmanagerapi.FilterNameStringType, text string) bool {
	switch key {
	case secretsmanagerapi.FilterNameStringTypeName:
		return strings.HasPrefix(s.Name, text)
	case secretsmanagerapi.FilterNameStringTypeDescription:
		return prefixFold(s.Description, text)
	case secretsmanagerapi.FilterNameStringTypeTagKey:
		return slices.ContainsFunc(s.Tags, func(t model.Tag) bool { return strings.HasPrefix(t.Key, text) })
	case secretsmanagerapi.FilterNameStringTypeTagValue:
		return slices.ContainsFunc(s.Tags, func(t model.Tag) bool { return strings.HasPrefix(t.Value, text) })
	case secretsmanagerapi.FilterNameStringTypeAll:
		return everyWord(s, text)
	}
	return false // of replicas and of other services' secrets, which there are none of
}

func prefixFold(s, prefix string) bool {
	return strings.HasPrefix(strings.ToLower(s), strings.ToLower(prefix))
}

// everyWord reports whether each word of the text begins a word of one of the
// secret's attributes.
func everyWord(s *model.Secret, text string) bool {
	attributes := []string{s.Name, s.Description}
	for _, t := range s.Tags {
		attributes = append(attributes, t.Key, t.Value)
	}
	var words []string
	for _, a := range attributes {
		words = append(append(words, a), splitWords(a)...)
	}
	for want := range strings.FieldsSeq(text) {
		if !slices.ContainsFunc(words, func(word string) bool { return prefixFold(word, want) }) {
			return false
		}
	}
	return true
}

func splitWords(s string) []string {
	return strings.FieldsFunc(s, func(r rune) bool { return strings.ContainsRune(" -_/+=.@!:", r) })
}

// pageLimit is the most that one call lists, and what it lists unasked.
const pageLimit = 100

// pageOf sorts what a call lists and returns the part that it asked for, with
// the token of the next page when there is more. The last key in a token need
// not exist any more when it comes back.
func pageOf[T any](call string, all []T, key func(T) string, down bool, token *string, size *int32) ([]T, *string, error) {
	order := func(a, b string) int {
		if down {
			a, b = b, a
		}
		return cmp.Compare(a, b)
	}
	slices.SortFunc(all, func(a, b T) int { return order(key(a), key(b)) })
	if token != nil {
		data, err := base64.URLEncoding.DecodeString(*token)
		owner, last, found := strings.Cut(string(data), "\x00")
		if err != nil || !found || owner != call {
			return nil, nil, badNextToken()
		}
		all = slices.DeleteFunc(all, func(v T) bool { return order(key(v), last) <= 0 })
	}
	limit := pageLimit
	if size != nil { // its bounds are in the model
		limit = int(*size)
	}
	if len(all) <= limit {
		return all, nil, nil
	}
	return all[:limit], new(base64.URLEncoding.EncodeToString([]byte(call + "\x00" + key(all[limit-1])))), nil
}

// maxBatch is how many secrets one call reads.
const maxBatch = 20

// BatchGetSecretValue implements secretsmanagerapi.Service. What the caller may
// not read, or what cannot be read, is an error of that secret alone.
func (p *Provider) BatchGetSecretValue(ctx context.Context, in *secretsmanagerapi.BatchGetSecretValueInput) (*secretsmanagerapi.BatchGetSecretValueOutput, error) {
	out := &secretsmanagerapi.BatchGetSecretValueOutput{SecretValues: []secretsmanagerapi.SecretValueEntry{}, Errors: []secretsmanagerapi.APIErrorType{}}
	ids := in.SecretIdList
	switch {
	case len(ids) > 0 && len(in.Filters) > 0:
		return nil, invalidParameter("Either 'SecretIdList' or 'Filters' must be provided, but not both.")
	case len(ids) == 0 && len(in.Filters) == 0:
		return nil, invalidParameter("Either 'SecretIdList' or 'Filters' must be provided.")
	case in.MaxResults != nil && len(in.Filters) == 0:
		return nil, invalidParameter("'Filters' not specified. 'Filters' must also be specified when 'MaxResults' is provided.")
	case len(in.Filters) > 0:
		if err := caller.Check(ctx, "secretsmanager:ListSecrets", "*", nil); err != nil {
			return nil, err
		}
		size := in.MaxResults
		if size == nil {
			size = new(int32(maxBatch))
		}
		page, next, err := pageOf("batch", p.matching(in.Filters, false), sortKey(""), false, in.NextToken, size)
		if err != nil {
			return nil, err
		}
		for _, s := range page {
			ids = append(ids, s.ARN)
		}
		out.NextToken = next
	}
	for _, id := range ids {
		v, err := p.allowed(ctx, id)
		if err == nil {
			out.SecretValues = append(out.SecretValues, secretsmanagerapi.SecretValueEntry(*v))
			continue
		}
		failed, ok := failureOf(id, err)
		if !ok {
			return nil, err
		}
		out.Errors = append(out.Errors, failed)
	}
	return out, nil
}

// allowed reads a secret that the caller of a batch may read.
func (p *Provider) allowed(ctx context.Context, id string) (*secretsmanagerapi.GetSecretValueOutput, error) {
	s, found := records.FindSecret(p.store.Snapshot(), id)
	resource := p.arn(id + "-??????")
	if found {
		resource = s.ARN
	}
	if err := caller.Check(ctx, "secretsmanager:GetSecretValue", resource, map[string][]string{"secretsmanager:VersionStage": {model.StageCurrent}}); err != nil {
		return nil, err
	}
	s, err := p.live(p.store.Snapshot(), id)
	if err != nil {
		return nil, err
	}
	return p.get(ctx, s, "", "")
}

// failureOf words one secret's error; false: it is not the caller's.
func failureOf(id string, err error) (secretsmanagerapi.APIErrorType, bool) {
	failed := secretsmanagerapi.APIErrorType{SecretId: &id}
	if api, ok := errors.AsType[smithy.APIError](err); ok {
		failed.ErrorCode_, failed.Message = new(api.ErrorCode()), new(api.ErrorMessage())
		return failed, true
	}
	if errors.Is(err, fault.Denied) {
		failed.ErrorCode_, failed.Message = new("AccessDeniedException"), new(err.Error())
		return failed, true
	}
	return failed, false
}
