// Package image finds images for the container runtime and keeps what it knows about them.
//
// It keeps true: an image that Ensure has returned is unpacked in containerd under a name with its digest, in the
// namespace of this Berth instance, so a container can be made from it without further reading, and another build under
// the same tag changes nothing for it. One image is fetched once however many tasks wait for it; a fetch that nobody
// waits for any more is given up. What is not an image is refused with the reason, and nothing half-written stays.
//
// # Where it looks
//
// Names of ECR, and those with a host that the control plane calls its own, mean the control plane's registry, which is
// reached by the node protocol in the name of a task that may pull. It is asked what a tag means whatever the policy,
// since it is next door; while it is away the image that the host has is used, and one that it does not know may have
// been built or imported on the host.
//
// For other names, with the default policy:
//
//  1. containerd: what `berth image import` put there. A reference by digest is found under any name that has it.
//  2. the local Docker engine, when there is one: what `docker build` made just runs. An image that came from there is
//     compared with Docker's again each time, so a rebuilt image is taken and not the old one.
//  3. the registry that the name points to: as its hosts.toml says (mirrors, certificates), else over HTTPS, or HTTP on
//     loopback. When the host has an image of that name from an earlier pull, the registry has three seconds to say
//     whether the tag has moved, and one that did not answer is not asked again for a minute: a machine without a
//     network starts its tasks at once. What has not moved is not fetched.
//
// The policies are those of the ECS agent's ECS_IMAGE_PULL_BEHAVIOR, and its default is ours: with prefer-cached a
// private registry's my-app:latest would never be new again, and since a service pins digests, only tasks without a
// revision ask at all. Unlike ECS's agent, default, once and prefer-cached take what was built or imported on the host
// without asking anybody: such an image has no registry. With prefer-cached images are not removed to make room, as on ECS.
//
// # A pull
//
// The package drives containerd's parts itself: layers are downloaded in parallel into the content store and unpacked
// here, not in containerd's process (applier), so that sizes, paths and progress can be watched. What arrives is held by
// a lease of the image's name (hold). When the attempt fails in a way that may pass, or the agent is killed, the lease
// stays for a day and the next pull goes on where the download was cut; after a final failure it is removed with all it
// held. Sweep removes half-unpacked layers at the agent's start. A pull stops before the disk is quite full, since the
// node has to write down what becomes of its tasks, and tries once to make room.
//
// # What is removed
//
// When the disk is nearly full, images go that no container and no task uses: those first that no tag means any more,
// then those not used for longest. An image that was imported stays while its tag means it: it cannot be had again.
//
// Names are normalised as Docker does it ("sample" is docker.io/library/sample:latest), on import as on lookup. Errors
// are runtime.PullError in the words that Fargate uses (behaviour/task-lifecycle.md §4).
package image
