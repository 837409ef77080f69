package ecs

import (
	"slices"
	"strings"

	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/rules/placement"
	"berth.dev/berth/internal/wire/api/ecsapi"
)

const (
	maxConstraints = 10
	maxStrategies  = 5
)

// checkPlacement checks constraints and strategy of a request for tasks of a
// launch type.
func checkPlacement(kind string, constraints []model.PlacementConstraint, strategy []model.PlacementStrategy) error {
	switch {
	case len(strategy) > 0 && kind == model.LaunchFargate:
		return parameterError("Placement strategies are not supported with FARGATE launch type.")
	case len(constraints) > 0 && kind == model.LaunchFargate:
		return parameterError("Placement constraints are not supported with FARGATE launch type.")
	case len(constraints) > maxConstraints:
		return parameterError("placementConstraints can have at most %d items.", maxConstraints)
	case len(strategy) > maxStrategies:
		return parameterError("placementStrategy can have at most %d items.", maxStrategies)
	}
	for _, c := range constraints {
		if err := checkConstraint(c); err != nil {
			return err
		}
	}
	for _, s := range strategy {
		if err := checkStep(s); err != nil {
			return err
		}
	}
	return nil
}

func checkConstraint(c model.PlacementConstraint) error {
	switch c.Type {
	case placement.DistinctInstance:
		if c.Expression != "" {
			return parameterError("Expression can not be specified for constraint type distinctInstance.")
		}
		return nil
	case placement.MemberOf:
		if c.Expression == "" {
			return parameterError("Expression must be specified for constraint type memberOf.")
		}
		_, err := expressionIn(c.Expression)
		return err
	}
	return parameterError("Invalid placement constraint type: '%s'. Valid values: distinctInstance, memberOf.", c.Type)
}

func expressionIn(text string) (placement.Expression, error) {
	e, err := placement.ParseExpression(text)
	if err != nil {
		return e, parameterError("Invalid expression '%s': %s.", text, err)
	}
	return e, nil
}

// checkStep checks one step of a placement strategy.
func checkStep(s model.PlacementStrategy) error {
	field := strings.ToLower(s.Field)
	switch s.Type {
	case "random":
		if field != "" {
			return parameterError("Field can not be specified for placement strategy type random.")
		}
	case "binpack":
		if !slices.Contains([]string{"cpu", "memory"}, field) {
			return parameterError("Invalid field '%s' for placement strategy type binpack. Valid values: cpu, memory.", s.Field)
		}
	case "spread":
		name, attribute := strings.CutPrefix(field, "attribute:")
		if !slices.Contains([]string{"instanceid", "host"}, field) && (!attribute || name == "") {
			return parameterError("Invalid field '%s' for placement strategy type spread. Valid values: instanceId, host, attribute:<name>.", s.Field)
		}
	default:
		return parameterError("Invalid placement strategy type: '%s'. Valid values: random, spread, binpack.", s.Type)
	}
	return nil
}

func placementIn(s ecsapi.PlacementStrategy) model.PlacementStrategy {
	return model.PlacementStrategy{Type: string(s.Type), Field: value(s.Field)}
}

func placementOut(s model.PlacementStrategy) ecsapi.PlacementStrategy {
	return ecsapi.PlacementStrategy{Type: ecsapi.PlacementStrategyType(s.Type), Field: optional(s.Field)}
}

func constraintIn(c ecsapi.PlacementConstraint) model.PlacementConstraint {
	return model.PlacementConstraint{Type: string(c.Type), Expression: value(c.Expression)}
}

func constraintOut(c model.PlacementConstraint) ecsapi.PlacementConstraint {
	return ecsapi.PlacementConstraint{Type: ecsapi.PlacementConstraintType(c.Type), Expression: optional(c.Expression)}
}
