package execution

import (
	"context"
	"fmt"
	"regexp"
	"strings"

	"berth.dev/berth/internal/base/arn"
	"berth.dev/berth/internal/base/fault"
	"berth.dev/berth/internal/model"
)

// registry matches the host of an account's registry.
var registry = regexp.MustCompile(`^([0-9]{12})\.dkr[.-]ecr(?:-fips)?[.-]([a-z0-9-]+)\.(?:amazonaws\.com(?:\.cn)?|on\.aws)$`)

// repositoryActions are what a pull needs on the repository, in the order in
// which it needs them.
var repositoryActions = []string{"ecr:BatchGetImage", "ecr:BatchCheckLayerAvailability", "ecr:GetDownloadUrlForLayer"}

// AuthorizePull says whether a container's image may be pulled. Only images of
// ECR ask for permissions; a refusal is the whole stoppedReason. A container
// that the task does not have is fault.Denied.
func (e *Execution) AuthorizePull(ctx context.Context, t *model.Task, container string) (refusal string, err error) {
	def, err := e.definition(t)
	if err != nil {
		return "", err
	}
	c, ok := def.Container(container)
	if !ok {
		return "", fault.New(fault.Denied, "task %s has no container %s", t.ID, container)
	}
	image, ok := parseECR(c.Image)
	if !ok || def.ExecutionRoleARN == "" {
		return "", nil
	}
	return split(e.authorizePull(ctx, t, def.ExecutionRoleARN, image))
}

func (e *Execution) authorizePull(ctx context.Context, t *model.Task, role string, image ecrImage) error {
	who, err := e.acting(t, role)
	if err != nil {
		return err
	}
	if err := denied(e.cfg.Access.Check(ctx, who, "ecr:GetAuthorizationToken", "*"), noToken(t)); err != nil {
		return err
	}
	registry := arn.Scope{Partition: e.cfg.Scope.Partition, Region: image.region, AccountID: image.account}
	repository := registry.Regional("ecr", "repository/"+image.repository)
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

// ecrImage is an image of ECR, taken apart.
type ecrImage struct{ name, host, account, region, repository, reference string }

func parseECR(name string) (ecrImage, bool) {
	host, rest, ok := strings.Cut(name, "/")
	if !ok {
		return ecrImage{}, false
	}
	m := registry.FindStringSubmatch(host)
	if m == nil {
		return ecrImage{}, false
	}
	image := ecrImage{name: name, host: host, account: m[1], region: m[2], repository: rest, reference: "latest"}
	if repository, digest, found := strings.Cut(rest, "@"); found {
		image.repository, image.reference = repository, digest
		rest = repository
	}
	if at := strings.LastIndexByte(rest, ':'); at > strings.LastIndexByte(rest, '/') {
		if image.repository == rest && !strings.Contains(name, "@") {
			image.reference = rest[at+1:]
		}
		image.repository = rest[:at]
	}
	return image, true
}

// forbidden words that the registry refuses the role. The registry's own
// sentence follows, as Docker shows it; Fargate's text ends before it [OBS],
// which leaves users guessing.
func (i ecrImage) forbidden(t *model.Task, sentence string) error {
	if t.LaunchType == model.LaunchEC2 {
		return refused("CannotPullContainerError: Error response from daemon: pull access denied for %s/%s, repository does not exist or may require 'docker login': denied: %s", i.host, i.repository, sentence)
	}
	return refused("CannotPullContainerError: pull image manifest has been retried 1 time(s): failed to resolve ref %s: pulling from host %s failed with status code [manifests %s]: 403 Forbidden: %s", i.name, i.host, i.reference, sentence)
}
