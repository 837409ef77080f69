package ecs

import (
	"errors"
	"fmt"

	"berth.dev/berth/internal/rules/taskspec"
	"berth.dev/berth/internal/wire/api/ecsapi"
)

func clientError(format string, args ...any) error {
	return &ecsapi.ClientException{Message: new(fmt.Sprintf(format, args...))}
}

func parameterError(format string, args ...any) error {
	return &ecsapi.InvalidParameterException{Message: new(fmt.Sprintf(format, args...))}
}

func clusterNotFound() error {
	return &ecsapi.ClusterNotFoundException{Message: new("Cluster not found.")}
}

func clusterInactive() error {
	return &ecsapi.ClusterNotFoundException{Message: new("The referenced cluster was inactive.")}
}

// specError turns a problem that the rules found into the API's error.
func specError(err error) error {
	var problem *taskspec.Error
	if !errors.As(err, &problem) {
		return err
	}
	switch problem.Class {
	case taskspec.InvalidParameterException:
		return parameterError("%s", problem.Message)
	default:
		return clientError("%s", problem.Message)
	}
}

// missing is the failure of a batch call for something that does not exist.
func missing(arn string) ecsapi.Failure {
	return ecsapi.Failure{Arn: &arn, Reason: new("MISSING")}
}
