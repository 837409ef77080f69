// Package ecr answers the Amazon ECR API: repositories, their images, layers
// and policies, lifecycle policies, pull through cache rules and the passwords
// with which clients enter the registry.
//
// It keeps true that
//
//   - a repository that is gone has left no image, tag or preview behind, and one
//     with images goes only when it is forced;
//   - images come and go through data/imagestore alone, whose promises hold for
//     this door as for the registry's own protocol;
//   - what cannot have its effect is refused or shown: encryption with KMS keys
//     and the archive are refused, a scan that is asked for at each push shows
//     as failed, for there is no scanner, and there is no second registry to
//     replicate to.
//
// It writes repositories (edge/registry makes one for a pull through a cache
// rule, control/imageexpiry notes when a lifecycle policy was run), cache rules,
// the registry's settings and previews. Nothing wakes it but requests. Of the
// parts of an upload it remembers, while the process lives, whether one was too
// small; all else is in the store.
//
// Who may call what, the policies of repositories and of the registry included,
// is decided before a call gets here.
//
// Behaviour: the ECR API reference 2015-09-21 and user guide, and
// behaviour/exec-and-more.md §8; testdata/errors.golden has the texts of all
// refusals with their sources.
package ecr
