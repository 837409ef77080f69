package ecs

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"berth.dev/berth/internal/data/records"
	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/rules/taskspec"
	"berth.dev/berth/internal/wire/api/ecsapi"
)

const maxDefinitionsDeleted = 10

// RegisterTaskDefinition implements ecsapi.Service.
func (p *Provider) RegisterTaskDefinition(ctx context.Context, in *ecsapi.RegisterTaskDefinitionInput) (*ecsapi.RegisterTaskDefinitionOutput, error) {
	if in.Tags != nil && len(in.Tags) == 0 {
		return nil, clientError("Tags can not be empty.")
	}
	def := definitionIn(in)
	if err := checkTags(def.Tags); err != nil {
		return nil, err
	}
	def, err := p.complete(ctx, def)
	if err != nil {
		return nil, err
	}
	if _, err := p.store.Update(ctx, func(tx *store.Tx) error {
		p.number(tx, &def)
		return nil
	}); err != nil {
		return nil, err
	}
	return &ecsapi.RegisterTaskDefinitionOutput{TaskDefinition: definitionOut(&def), Tags: each(def.Tags, tagOut)}, nil
}

// complete checks what a user says of a definition, and adds what follows from
// it.
func (p *Provider) complete(ctx context.Context, def model.TaskDefinition) (model.TaskDefinition, error) {
	if err := taskspec.Validate(def); err != nil {
		return def, specError(err)
	}
	def = taskspec.Normalize(def)
	def.Compatibilities = taskspec.Compatibilities(def)
	def.RequiresAttributes = taskspec.RequiresAttributes(def)
	def.Status = model.TaskDefinitionActive
	def.RegisteredBy = p.principal(ctx)
	return def, nil
}

// number stores a definition as the next revision of its family.
func (p *Provider) number(tx *store.Tx, def *model.TaskDefinition) {
	family := model.Family{Name: def.Family}
	if known, found := records.Families.Get(tx, def.Family); found {
		family = *known
	}
	family.LastRevision++
	records.Families.Put(tx, &family)
	def.Revision = family.LastRevision
	def.ARN = p.scope.TaskDefinition(def.Family, def.Revision)
	def.RegisteredAt = tx.Now()
	records.TaskDefinitions.Put(tx, def)
}

// reference is what a task definition is named by: a family and a revision,
// which is 0 for the newest that is ACTIVE.
type reference struct {
	family   string
	revision int
	text     string // the revision as it was given
}

func (p *Provider) reference(ref string) (reference, error) {
	path, err := p.resource("task-definition", ref)
	if err != nil {
		return reference{}, err
	}
	family, text, found := strings.Cut(path[len(path)-1], ":")
	r := reference{family: family, text: text}
	if !found {
		return r, nil
	}
	r.revision, err = strconv.Atoi(text)
	if err != nil || r.revision < 1 {
		return reference{}, parameterError("Invalid revision number. Number: %s", text)
	}
	return r, nil
}

// definition finds the task definition that ref means: nil when there is none,
// an error when ref cannot name one. named tells whether ref had a revision.
func (p *Provider) definition(r store.Reader, ref string) (def *model.TaskDefinition, named bool, err error) {
	name, err := p.reference(ref)
	if err != nil {
		return nil, false, err
	}
	if name.revision > 0 {
		d, _ := records.TaskDefinitions.Get(r, model.TaskDefinitionKey(name.family, name.revision))
		return d, true, nil
	}
	family, found := records.Families.Get(r, name.family)
	if !found {
		return nil, false, nil
	}
	for revision := family.LastRevision; revision > 0; revision-- {
		d, found := records.TaskDefinitions.Get(r, model.TaskDefinitionKey(name.family, revision))
		if found && d.Status == model.TaskDefinitionActive {
			return d, false, nil
		}
	}
	return nil, false, nil
}

// DescribeTaskDefinition implements ecsapi.Service.
func (p *Provider) DescribeTaskDefinition(_ context.Context, in *ecsapi.DescribeTaskDefinitionInput) (*ecsapi.DescribeTaskDefinitionOutput, error) {
	def, _, err := p.definition(p.store.Snapshot(), value(in.TaskDefinition))
	if err != nil {
		return nil, err
	}
	if def == nil {
		return nil, clientError("Unable to describe task definition.")
	}
	out := &ecsapi.DescribeTaskDefinitionOutput{TaskDefinition: definitionOut(def)}
	if slices.Contains(in.Include, ecsapi.TaskDefinitionFieldTags) {
		out.Tags = every(def.Tags, tagOut)
	}
	return out, nil
}

// DeregisterTaskDefinition implements ecsapi.Service. Doing it again changes
// nothing.
func (p *Provider) DeregisterTaskDefinition(ctx context.Context, in *ecsapi.DeregisterTaskDefinitionInput) (*ecsapi.DeregisterTaskDefinitionOutput, error) {
	name, err := p.reference(value(in.TaskDefinition))
	if err != nil {
		return nil, err
	}
	if name.revision == 0 {
		return nil, clientError("Revision is missing.")
	}
	var out *ecsapi.TaskDefinition
	if _, err := p.store.Update(ctx, func(tx *store.Tx) error {
		key := model.TaskDefinitionKey(name.family, name.revision)
		def, found := records.TaskDefinitions.Get(tx, key)
		if !found {
			return clientError("The specified task definition does not exist. Specify a valid account, family, revision and try again.")
		}
		if def.Status != model.TaskDefinitionActive {
			out = definitionOut(def)
			return nil
		}
		return records.TaskDefinitions.Edit(tx, key, func(d *model.TaskDefinition) error {
			d.Status = model.TaskDefinitionInactive
			d.DeregisteredAt = new(tx.Now())
			out = definitionOut(d)
			return nil
		})
	}); err != nil {
		return nil, err
	}
	return &ecsapi.DeregisterTaskDefinitionOutput{TaskDefinition: out}, nil
}

// DeleteTaskDefinitions implements ecsapi.Service. It asks for the deletion;
// the revision goes when no task uses it any more.
func (p *Provider) DeleteTaskDefinitions(ctx context.Context, in *ecsapi.DeleteTaskDefinitionsInput) (*ecsapi.DeleteTaskDefinitionsOutput, error) {
	if len(in.TaskDefinitions) == 0 {
		return nil, parameterError("taskDefinitions can not be empty.")
	}
	if len(in.TaskDefinitions) > maxDefinitionsDeleted {
		return nil, parameterError("Size of TaskDefinition references list cannot exceed %d", maxDefinitionsDeleted)
	}
	var out *ecsapi.DeleteTaskDefinitionsOutput
	if _, err := p.store.Update(ctx, func(tx *store.Tx) error {
		out = &ecsapi.DeleteTaskDefinitionsOutput{TaskDefinitions: []ecsapi.TaskDefinition{}, Failures: []ecsapi.Failure{}}
		for _, ref := range in.TaskDefinitions {
			def, reason, err := p.deleteDefinition(tx, ref)
			if err != nil {
				return err
			}
			if reason != "" {
				out.Failures = append(out.Failures, ecsapi.Failure{Arn: &ref, Reason: &reason})
				continue
			}
			out.TaskDefinitions = append(out.TaskDefinitions, *definitionOut(def))
		}
		return nil
	}); err != nil {
		return nil, err
	}
	return out, nil
}

func (p *Provider) deleteDefinition(tx *store.Tx, ref string) (def *model.TaskDefinition, reason string, err error) {
	name, err := p.reference(ref)
	if err != nil || name.revision == 0 {
		return nil, "The specified task definition identifier is invalid. Specify a valid name or ARN and try again.", nil
	}
	key := model.TaskDefinitionKey(name.family, name.revision)
	def, found := records.TaskDefinitions.Get(tx, key)
	switch {
	case !found:
		return nil, "The specified task definition does not exist. Specify a valid account, family, revision and try again.", nil
	case def.Status == model.TaskDefinitionActive:
		return nil, "The specified task definition is still in ACTIVE status. Please deregister the target and try again.", nil
	case def.Status == model.TaskDefinitionDeleteInProgress:
		return def, "", nil
	}
	err = records.TaskDefinitions.Edit(tx, key, func(d *model.TaskDefinition) error {
		d.Status = model.TaskDefinitionDeleteInProgress
		d.DeleteRequestedAt = new(tx.Now())
		def = d
		return nil
	})
	return def, "", err
}

// ListTaskDefinitions implements ecsapi.Service. The order is by family and
// then by revision; familyPrefix is a whole family's name, as on AWS.
func (p *Provider) ListTaskDefinitions(_ context.Context, in *ecsapi.ListTaskDefinitionsInput) (*ecsapi.ListTaskDefinitionsOutput, error) {
	limit, err := pageSize(in.MaxResults, 100, 100)
	if err != nil {
		return nil, err
	}
	status := cmp.Or(string(in.Status), model.TaskDefinitionActive)
	switch status {
	case model.TaskDefinitionActive, model.TaskDefinitionInactive, model.TaskDefinitionDeleteInProgress:
	default:
		return nil, parameterError("Invalid value for status: '%s'. Valid values: ACTIVE, INACTIVE, DELETE_IN_PROGRESS.", status)
	}
	sort := cmp.Or(string(in.Sort), "ASC")
	if sort != "ASC" && sort != "DESC" {
		return nil, parameterError("Invalid value for sort: '%s'. Valid values: ASC, DESC.", sort)
	}
	snap := p.store.Snapshot()
	found := records.TaskDefinitions.By(snap, records.TaskDefinitionsByStatus, status)
	if family := value(in.FamilyPrefix); family != "" {
		found = records.TaskDefinitions.By(snap, records.TaskDefinitionsByFamily, family)
	}
	var defs []*model.TaskDefinition
	for d := range found {
		if d.Status == status {
			defs = append(defs, d)
		}
	}
	slices.SortFunc(defs, func(a, b *model.TaskDefinition) int { return cmp.Compare(listKey(a), listKey(b)) })
	after := ascending
	if sort == "DESC" {
		slices.Reverse(defs)
		after = func(key, last string) bool { return key < last }
	}
	page, next, err := pageOf("ListTaskDefinitions "+sort+status+value(in.FamilyPrefix), defs, listKey, in.NextToken, limit, after)
	if err != nil {
		return nil, err
	}
	arns := every(page, func(d *model.TaskDefinition) string { return d.ARN })
	return &ecsapi.ListTaskDefinitionsOutput{TaskDefinitionArns: arns, NextToken: next}, nil
}

// listKey orders families as words: the store's key has a slash after the
// family, behind which a hyphen of a longer name would sort.
func listKey(d *model.TaskDefinition) string { return fmt.Sprintf("%s\x00%010d", d.Family, d.Revision) }

// ListTaskDefinitionFamilies implements ecsapi.Service. A family is ACTIVE
// when one of its revisions is.
func (p *Provider) ListTaskDefinitionFamilies(_ context.Context, in *ecsapi.ListTaskDefinitionFamiliesInput) (*ecsapi.ListTaskDefinitionFamiliesOutput, error) {
	limit, err := pageSize(in.MaxResults, 100, 100)
	if err != nil {
		return nil, err
	}
	status := cmp.Or(string(in.Status), "ALL")
	if !slices.Contains([]string{"ACTIVE", "INACTIVE", "ALL"}, status) {
		return nil, parameterError("Invalid value for status: '%s'. Valid values: ACTIVE, INACTIVE, ALL.", status)
	}
	snap := p.store.Snapshot()
	names := []string{}
	for f := range records.Families.Prefix(snap, value(in.FamilyPrefix)) {
		exists, active := false, false
		for d := range records.TaskDefinitions.By(snap, records.TaskDefinitionsByFamily, f.Name) {
			exists = true
			if d.Status == model.TaskDefinitionActive {
				active = true
				break
			}
		}
		if exists && (status == "ALL" || active == (status == "ACTIVE")) {
			names = append(names, f.Name)
		}
	}
	page, next, err := pageOf("ListTaskDefinitionFamilies "+status+value(in.FamilyPrefix), names, strings.Clone, in.NextToken, limit, ascending)
	if err != nil {
		return nil, err
	}
	return &ecsapi.ListTaskDefinitionFamiliesOutput{Families: page, NextToken: next}, nil
}
