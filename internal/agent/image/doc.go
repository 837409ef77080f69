// Package image finds images for the container runtime and keeps what it knows about them.
//
// It keeps true: an image that Ensure has returned is unpacked in containerd under its normalised name, in the
// namespace of this Berth instance, so a container can be made from it without further reading. One image is fetched
// once however many tasks wait for it; a fetch that nobody waits for any more is given up.
//
// Where it looks, with the default policy (prefer-cached):
//
//  1. containerd: what `berth image import` put there or an earlier task used. A reference by digest is found under
//     any name that has the digest.
//  2. the local Docker engine, when there is one: what `docker build` made just runs. An image that came from there is
//     compared with Docker's again each time, so a rebuilt image is taken and not the old one.
//  3. the registry that the name points to, over HTTPS; over HTTP when the registry is on loopback.
//
// Names are normalised as Docker does it ("sample" is docker.io/library/sample:latest), on import as on lookup.
//
// Errors are runtime.PullError in the words that Fargate uses (behaviour/task-lifecycle.md §4). Policies are those of
// the ECS agent's ECS_IMAGE_PULL_BEHAVIOR, except "once", which differs from prefer-cached only after image clean-up.
// Fargate itself always pulls; here prefer-cached is the default, because imported images have no registry.
package image
