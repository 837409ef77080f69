package records

import (
	"strconv"
	"strings"

	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/model"
)

// UsableDefinition finds the task definition that new tasks of a family are
// made of: the given revision, or the newest active one when revision is 0. It
// reports false when there is none or it is not active.
func UsableDefinition(r store.Reader, family string, revision int) (*model.TaskDefinition, bool) {
	active := func(revision int) (*model.TaskDefinition, bool) {
		d, found := TaskDefinitions.Get(r, model.TaskDefinitionKey(family, revision))
		return d, found && d.Status == model.TaskDefinitionActive
	}
	if revision > 0 {
		return active(revision)
	}
	known, found := Families.Get(r, family)
	if !found {
		return nil, false
	}
	for revision := known.LastRevision; revision > 0; revision-- {
		if d, ok := active(revision); ok {
			return d, true
		}
	}
	return nil, false
}

// DefinitionByARN finds a task definition by its ARN, which ends in
// family:revision.
func DefinitionByARN(r store.Reader, arn string) (*model.TaskDefinition, bool) {
	family, number, _ := strings.Cut(arn[strings.LastIndexByte(arn, '/')+1:], ":")
	revision, err := strconv.Atoi(number)
	if err != nil {
		return nil, false
	}
	return TaskDefinitions.Get(r, model.TaskDefinitionKey(family, revision))
}
