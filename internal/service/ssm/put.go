package ssm

import (
	"context"
	"fmt"
	"regexp"
	"time"

	"berth.dev/berth/internal/data/keys"
	"berth.dev/berth/internal/data/records"
	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/wire/api/ssmapi"
	"berth.dev/berth/internal/wire/caller"
)

const (
	standardBytes = 4096
	advancedBytes = 8192
	maxVersions   = 100
	maxStandard   = 10_000 // parameters of an account
	maxAdvanced   = 100_000
)

// PutParameter implements ssmapi.Service. What a new version does not say is
// as it was in the version before.
func (p *Provider) PutParameter(ctx context.Context, in *ssmapi.PutParameterInput) (*ssmapi.PutParameterOutput, error) {
	tags, err := p.checkPut(in)
	if err != nil {
		return nil, err
	}
	// Sealing has transactions of its own, so it comes first; what it depends
	// on is looked at again below.
	kind, keyName, err := p.secure(p.store.Snapshot(), in)
	if err != nil {
		return nil, err
	}
	var sealed []byte
	if kind == model.ParameterSecureString {
		if sealed, err = p.seal(ctx, keyName, p.arn(*in.Name), *in.Value); err != nil {
			return nil, err
		}
	}
	who, _ := caller.From(ctx)
	var made *model.ParameterVersion
	_, err = p.store.Update(ctx, func(tx *store.Tx) error {
		if k, name, err := p.secure(tx, in); err != nil || k != kind || name != keyName {
			return orConflict(err)
		}
		previous, err := p.previous(tx, in)
		if err != nil {
			return err
		}
		v, expires, err := next(previous, in, tx.Now())
		if err != nil {
			return err
		}
		v.Type, v.ModifiedAt, v.ModifiedBy, v.Value = kind, tx.Now(), who.ARN, *in.Value
		if kind == model.ParameterSecureString {
			v.Value, v.Sealed, v.KMSKeyID = "", sealed, keyName
		}
		made = v
		return p.write(tx, v, expires, tags)
	})
	if err != nil {
		return nil, err
	}
	return &ssmapi.PutParameterOutput{Version: &made.Version, Tier: ssmapi.ParameterTier(made.Tier)}, nil
}

func orConflict(err error) error {
	if err != nil {
		return err
	}
	return &ssmapi.TooManyUpdates{Message: new("There are concurrent updates for a resource that supports one update at a time.")}
}

// checkPut checks what a request says by itself.
func (p *Provider) checkPut(in *ssmapi.PutParameterInput) ([]model.Tag, error) {
	switch {
	case *in.Value == "":
		return nil, invalid("1 validation error detected: Value '' at 'value' failed to satisfy constraint: Member must have length greater than or equal to 1.")
	case value(in.Overwrite) && len(in.Tags) > 0:
		return nil, invalid("Invalid request: tags and overwrite can't be used together. To create a parameter with tags, please remove overwrite flag. " +
			"To update tags for an existing parameter, please use AddTagsToResource or RemoveTagsFromResource.")
	}
	if err := p.checkName(*in.Name); err != nil {
		return nil, err
	}
	switch kind := value(in.DataType); kind {
	case "", "text":
	case "aws:ec2:image":
		return nil, invalid("The data type aws:ec2:image is not supported: this server has no machine images to check the value against.")
	default:
		return nil, invalid("The following data type is not supported: %s (Data type names are all lowercase.)", kind)
	}
	return mergeTags(nil, in.Tags)
}

// secure says of which type the new version is, and by which key it is sealed
// if it is secure.
func (p *Provider) secure(r store.Reader, in *ssmapi.PutParameterInput) (kind, keyName string, err error) {
	kind = string(in.Type)
	old, exists := records.Parameters.Get(r, *in.Name)
	var before *model.ParameterVersion
	if exists {
		if !value(in.Overwrite) {
			return "", "", &ssmapi.ParameterAlreadyExists{Message: new("The parameter already exists. To overwrite this value, set the overwrite option in the request to true.")}
		}
		if before, err = newest(r, old); err != nil {
			return "", "", err
		}
		if kind == "" {
			kind = before.Type
		}
	}
	switch {
	case kind == "":
		return "", "", invalid("A parameter type is required when you create a parameter.")
	case kind != model.ParameterSecureString && in.KeyId != nil:
		return "", "", invalid("KeyId is required for SecureString type parameter only.")
	case kind != model.ParameterSecureString:
		return kind, "", nil
	case in.KeyId != nil:
		return kind, *in.KeyId, nil
	case before != nil && before.KMSKeyID != "":
		return kind, before.KMSKeyID, nil
	}
	return kind, keys.SSM, nil
}

// previous is the version before the one to be made; for a new parameter, one
// with the number 0 that has what parameters have by default.
func (p *Provider) previous(r store.Reader, in *ssmapi.PutParameterInput) (*model.ParameterVersion, error) {
	if old, ok := records.Parameters.Get(r, *in.Name); ok {
		return newest(r, old)
	}
	return &model.ParameterVersion{ParameterName: *in.Name, DataType: "text"}, nil
}

// next is the version that follows previous, without its value, and when it
// expires.
func next(previous *model.ParameterVersion, in *ssmapi.PutParameterInput, now time.Time) (*model.ParameterVersion, *time.Time, error) {
	v := &model.ParameterVersion{
		ParameterName: previous.ParameterName, Version: previous.Version + 1, DataType: previous.DataType,
		Description: previous.Description, AllowedPattern: previous.AllowedPattern, Policies: previous.Policies,
	}
	if in.Description != nil {
		v.Description = *in.Description
	}
	if in.AllowedPattern != nil {
		v.AllowedPattern = *in.AllowedPattern
	}
	if err := checkPattern(v.AllowedPattern, *in.Value); err != nil {
		return nil, nil, err
	}
	var expires *time.Time
	if in.Policies != nil {
		v.Policies = *in.Policies
	}
	if v.Policies != "" {
		policies, err := parsePolicies(v.Policies)
		if err != nil {
			return nil, nil, err
		}
		if in.Policies == nil {
			now = time.Time{} // what was accepted once is not judged again
		}
		if expires, err = check(policies, now); err != nil {
			return nil, nil, err
		}
		if len(policies) == 0 {
			v.Policies = ""
		}
	}
	var err error
	v.Tier, err = tier(string(in.Tier), previous.Tier, len(*in.Value), v.Policies != "")
	return v, expires, err
}

// tier is the tier of a new version, which must have room for it.
func tier(asked, before string, bytes int, policies bool) (string, error) {
	const standard, advanced = string(ssmapi.ParameterTierStandard), string(ssmapi.ParameterTierAdvanced)
	got := asked
	switch {
	case asked == string(ssmapi.ParameterTierIntelligentTiering):
		got = standard
		if before == advanced || policies || bytes > standardBytes {
			got = advanced
		}
	case asked == "" && before != "":
		got = before
	case asked == "":
		got = standard
	}
	switch {
	case got == standard && before == advanced:
		return "", invalid("This parameter uses the advanced-parameter tier. You can't downgrade a parameter from the advanced-parameter tier to the standard-parameter tier. " +
			"If necessary, you can delete the advanced parameter and recreate it as a standard parameter.")
	case got == standard && bytes > standardBytes:
		return "", invalid("Standard tier parameters support a maximum parameter value of %d characters. To create a larger parameter value, upgrade the parameter to use the advanced-parameter tier. "+
			"For more information, see https://docs.aws.amazon.com/systems-manager/latest/userguide/parameter-store-advanced-parameters.html", standardBytes)
	case bytes > advancedBytes:
		return "", invalid("Advanced tier parameters support a maximum parameter value of %d characters.", advancedBytes)
	case got == standard && policies:
		return "", invalid("Parameter policies are supported for parameters that use the advanced-parameter tier only.")
	}
	return got, nil
}

// checkPattern checks a value against a pattern, which it must match as a
// whole only where the pattern says so. The value is never repeated.
func checkPattern(pattern, text string) error {
	if pattern == "" {
		return nil
	}
	re, err := regexp.Compile(pattern)
	if err != nil {
		return &ssmapi.InvalidAllowedPatternException{Message: new("The request does not meet the regular expression requirement: " + err.Error())}
	}
	if !re.MatchString(text) {
		return &ssmapi.ParameterPatternMismatchException{Message: new("Parameter value, cannot be validated against allowedPattern: " + pattern)}
	}
	return nil
}

// write stores a version that is now the newest. Of more than a hundred, the
// oldest goes, unless it has a label that somebody relies on.
func (p *Provider) write(tx *store.Tx, v *model.ParameterVersion, expires *time.Time, tags []model.Tag) error {
	parameter := &model.Parameter{Name: v.ParameterName, ARN: p.arn(v.ParameterName), CreatedAt: tx.Now(), Tags: tags}
	if old, ok := records.Parameters.Get(tx, v.ParameterName); ok {
		parameter.CreatedAt, parameter.Tags = old.CreatedAt, old.Tags
	} else if err := room(tx, v.Tier); err != nil {
		return err
	}
	count := 0
	var oldest *model.ParameterVersion
	for old := range records.ParameterVersions.Prefix(tx, versionsPrefix(v.ParameterName)) {
		if oldest == nil {
			oldest = old
		}
		count++
	}
	if count >= maxVersions {
		// A label may be on its way to it.
		records.ParameterVersions.Guard(tx, oldest.Key())
		if len(oldest.Labels) > 0 {
			return &ssmapi.ParameterMaxVersionLimitExceeded{Message: new(fmt.Sprintf("You attempted to create a new version of %s by calling the PutParameter API with the overwrite flag. "+
				"Version %d, the oldest version, can't be deleted because it has a label associated with it. Move the label to another version of the parameter, and try again.", v.ParameterName, oldest.Version))}
		}
		records.ParameterVersions.Delete(tx, oldest.Key())
	}
	parameter.Version, parameter.ExpiresAt = v.Version, expires
	records.Parameters.Put(tx, parameter)
	records.ParameterVersions.Put(tx, v)
	return nil
}

// room says whether the account may have one more parameter. The lower quota
// counts parameters of both tiers.
func room(r store.Reader, tier string) error {
	limit := maxStandard
	if tier == string(ssmapi.ParameterTierAdvanced) {
		limit = maxAdvanced
	}
	if records.Parameters.Len(r) >= limit {
		return &ssmapi.ParameterLimitExceeded{Message: new("You have exceeded the number of parameters for this Amazon Web Services account. Delete one or more parameters and try again.")}
	}
	return nil
}
