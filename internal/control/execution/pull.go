package execution

import (
	"context"
	"fmt"
	"slices"

	"berth.dev/berth/internal/base/arn"
	"berth.dev/berth/internal/base/fault"
	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/rules/imageref"
)

// repositoryActions are what a pull needs on the repository, in the order in
// which it needs them.
var repositoryActions = []string{"ecr:BatchGetImage", "ecr:BatchCheckLayerAvailability", "ecr:GetDownloadUrlForLayer"}

// AuthorizePull says whether a container's image may be pulled. Only images of
// ECR, and of this registry under another name, ask for permissions; a refusal
// is the whole stoppedReason. A container that the task does not have is
// fault.Denied.
//
// A task without an execution role may pull: on EC2 AWS asks the instance's
// role then, whose managed policy allows every repository of the account; here
// a node is one by the operator's decision, and may as much. Fargate's tasks
// cannot be registered without one.
func (e *Execution) AuthorizePull(ctx context.Context, t *model.Task, container string) (refusal string, err error) {
	def, err := e.definition(t)
	if err != nil {
		return "", err
	}
	c, ok := def.Container(container)
	if !ok {
		return "", fault.New(fault.Denied, "task %s has no container %s", t.ID, container)
	}
	image, ok := e.parseImage(c.Image)
	if !ok || def.ExecutionRoleARN == "" {
		return "", nil
	}
	return split(e.authorizePull(ctx, t, def.ExecutionRoleARN, image))
}

// ecrImage is an image whose pull asks for permissions, and where it is.
type ecrImage struct {
	imageref.Name
	image string // as the definition names it
}

func (e *Execution) parseImage(image string) (ecrImage, bool) {
	name, err := imageref.Parse(image)
	if err != nil {
		return ecrImage{}, false
	}
	if slices.Contains(e.cfg.RegistryHosts, name.Host) {
		name.Account, name.Region = e.cfg.Scope.AccountID, e.cfg.Scope.Region
	}
	return ecrImage{name, image}, name.ECR()
}

func (e *Execution) authorizePull(ctx context.Context, t *model.Task, role string, image ecrImage) error {
	who, err := e.acting(t, role)
	if err != nil {
		return err
	}
	if err := denied(e.cfg.Access.Check(ctx, who, "ecr:GetAuthorizationToken", "*"), noToken(t)); err != nil {
		return err
	}
	registry := arn.Scope{Partition: e.cfg.Scope.Partition, Region: image.Region, AccountID: image.Account}
	repository := registry.Regional("ecr", "repository/"+image.Repository)
	for _, action := range repositoryActions {
		err := e.cfg.Access.Check(ctx, who, action, repository)
		if err == nil {
			continue
		}
		if fault.ClassOf(err) != fault.Denied {
			return fmt.Errorf("asking for %s: %w", action, err)
		}
		return image.forbidden(t, err.Error())
	}
	return nil
}

// noToken words that the role may not ask for a registry login [OBS].
func noToken(t *model.Task) string {
	if t.LaunchType == model.LaunchEC2 {
		return "CannotPullECRContainerError: %s"
	}
	return resourceFailed + "unable to retrieve ecr registry auth: service call has been retried 1 time(s): %s"
}

// forbidden words that the registry refuses the role. The registry's own
// sentence follows, as Docker shows it; Fargate's text ends before it [OBS],
// which leaves users guessing.
func (i ecrImage) forbidden(t *model.Task, sentence string) error {
	if t.LaunchType == model.LaunchEC2 {
		return refused("CannotPullContainerError: Error response from daemon: pull access denied for %s/%s, repository does not exist or may require 'docker login': denied: %s", i.Host, i.Repository, sentence)
	}
	return refused("CannotPullContainerError: pull image manifest has been retried 1 time(s): failed to resolve ref %s: pulling from host %s failed with status code [manifests %s]: 403 Forbidden: %s", i.image, i.Host, i.Reference(), sentence)
}
