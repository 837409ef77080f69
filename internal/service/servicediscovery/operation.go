package servicediscovery

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"slices"
	"time"

	"berth.dev/berth/internal/base/ident"
	"berth.dev/berth/internal/data/records"
	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/wire/api/servicediscoveryapi"
)

const (
	// keptOperations are remembered, for a day at most.
	keptOperations = 1000
	operationAge   = 24 * time.Hour
	// prunedAtOnce is how many one call forgets: more than it adds, and few
	// enough for a transaction.
	prunedAtOnce = 16
)

// Targets of operations.
const (
	targetNamespace = string(servicediscoveryapi.OperationTargetTypeNamespace)
	targetService   = string(servicediscoveryapi.OperationTargetTypeService)
	targetInstance  = string(servicediscoveryapi.OperationTargetTypeInstance)
)

// begin makes the record of an operation that is done, and forgets old ones.
// The caller may turn it into a failure before it is stored.
func begin(tx *store.Tx, kind servicediscoveryapi.OperationType, targets map[string]string) *model.DiscoveryOperation {
	prune(tx)
	return &model.DiscoveryOperation{
		ID: ident.Token(32) + "-" + ident.Token(8), Type: string(kind),
		Status:  string(servicediscoveryapi.OperationStatusSuccess),
		Targets: targets, CreatedAt: tx.Now(), FinishedAt: tx.Now(),
	}
}

// succeed stores an operation that is done and returns its id.
func succeed(tx *store.Tx, kind servicediscoveryapi.OperationType, targets map[string]string) *string {
	op := begin(tx, kind, targets)
	records.DiscoveryOperations.Put(tx, op)
	return &op.ID
}

// fail stores an operation that found out what the call could not say.
func fail(tx *store.Tx, kind servicediscoveryapi.OperationType, targets map[string]string, code, message string) *string {
	op := begin(tx, kind, targets)
	op.Status, op.ErrorCode, op.Error = string(servicediscoveryapi.OperationStatusFail), code, message
	records.DiscoveryOperations.Put(tx, op)
	return &op.ID
}

// prune deletes the oldest operations if they are too old, or too many.
func prune(tx *store.Tx) {
	all := slices.SortedFunc(records.DiscoveryOperations.All(tx), func(a, b *model.DiscoveryOperation) int {
		return cmp.Or(a.CreatedAt.Compare(b.CreatedAt), cmp.Compare(a.ID, b.ID))
	})
	tooMany := len(all) + 1 - keptOperations // with the one that comes
	for i, op := range all {
		if i == prunedAtOnce || i >= tooMany && tx.Now().Sub(op.CreatedAt) <= operationAge {
			return
		}
		records.DiscoveryOperations.Delete(tx, op.ID)
	}
}

// GetOperation implements servicediscoveryapi.Service.
func (p *Provider) GetOperation(_ context.Context, in *servicediscoveryapi.GetOperationInput) (*servicediscoveryapi.GetOperationOutput, error) {
	op, ok := records.DiscoveryOperations.Get(p.store.Snapshot(), value(in.OperationId))
	if !ok || !p.owns(in.OwnerAccount) {
		return nil, &servicediscoveryapi.OperationNotFound{Message: new("Operation not found: " + value(in.OperationId))}
	}
	return &servicediscoveryapi.GetOperationOutput{Operation: &servicediscoveryapi.Operation{
		Id: &op.ID, OwnerAccount: &p.scope.AccountID, Type: servicediscoveryapi.OperationType(op.Type),
		Status: servicediscoveryapi.OperationStatus(op.Status), ErrorMessage_: optional(op.Error), ErrorCode_: optional(op.ErrorCode),
		CreateDate: &op.CreatedAt, UpdateDate: &op.FinishedAt, Targets: op.Targets,
	}}, nil
}

// owns reports whether an account that a call may name is ours.
func (p *Provider) owns(account *string) bool { return account == nil || *account == p.scope.AccountID }

// ListOperations implements servicediscoveryapi.Service. The newest are first.
func (p *Provider) ListOperations(_ context.Context, in *servicediscoveryapi.ListOperationsInput) (*servicediscoveryapi.ListOperationsOutput, error) {
	var filters []filter
	for _, f := range in.Filters {
		filters = append(filters, filter{string(f.Name), f.Condition, f.Values})
	}
	if err := checkFilters(filters, operationFilters); err != nil {
		return nil, err
	}
	var found []*model.DiscoveryOperation
	for op := range records.DiscoveryOperations.All(p.store.Snapshot()) {
		matches, err := operationMatches(op, filters)
		if err != nil {
			return nil, err
		}
		if matches {
			found = append(found, op)
		}
	}
	newestFirst := func(op *model.DiscoveryOperation) string {
		return fmt.Sprintf("%019d %s", math.MaxInt64-op.CreatedAt.UnixNano(), op.ID)
	}
	slices.SortFunc(found, func(a, b *model.DiscoveryOperation) int { return cmp.Compare(newestFirst(a), newestFirst(b)) })
	page, next, err := pageOf("ListOperations", found, newestFirst, in.NextToken, in.MaxResults)
	if err != nil {
		return nil, err
	}
	out := &servicediscoveryapi.ListOperationsOutput{Operations: []servicediscoveryapi.OperationSummary{}, NextToken: next}
	for _, op := range page {
		out.Operations = append(out.Operations, servicediscoveryapi.OperationSummary{Id: &op.ID, Status: servicediscoveryapi.OperationStatus(op.Status)})
	}
	return out, nil
}

var operationFilters = map[string][]servicediscoveryapi.FilterCondition{
	string(servicediscoveryapi.OperationFilterNameNamespaceId): {eq},
	string(servicediscoveryapi.OperationFilterNameServiceId):   {eq},
	string(servicediscoveryapi.OperationFilterNameStatus):      {eq, in},
	string(servicediscoveryapi.OperationFilterNameType):        {eq, in},
	string(servicediscoveryapi.OperationFilterNameUpdateDate):  {between},
}

func operationMatches(op *model.DiscoveryOperation, filters []filter) (bool, error) {
	for _, f := range filters {
		matches := false
		switch servicediscoveryapi.OperationFilterName(f.name) {
		case servicediscoveryapi.OperationFilterNameNamespaceId:
			matches = f.matches(op.Targets[targetNamespace])
		case servicediscoveryapi.OperationFilterNameServiceId:
			matches = f.matches(op.Targets[targetService])
		case servicediscoveryapi.OperationFilterNameStatus:
			matches = f.matches(op.Status)
		case servicediscoveryapi.OperationFilterNameType:
			matches = f.matches(op.Type)
		case servicediscoveryapi.OperationFilterNameUpdateDate:
			from, to, err := f.span()
			if err != nil {
				return false, err
			}
			matches = !op.FinishedAt.Before(from) && !op.FinishedAt.After(to)
		}
		if !matches {
			return false, nil
		}
	}
	return true, nil
}
