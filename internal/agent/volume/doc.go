// Package volume makes the volumes of this node's tasks that are more than a
// directory of the task or of the host: Docker volumes, EFS file systems, EBS
// volumes.
//
// It keeps these things true:
//
//   - A volume is where Path says before the first container of its task is
//     made, and nothing of a mount is left when Release has returned. What a
//     task uses is on disk before anything of it is made, so that an agent that
//     is killed at any instant leaves nothing that the next one does not find.
//   - A Docker volume of scope task goes with its task, a shared one never. One
//     that must be mounted is mounted while tasks use it.
//   - An EFS file system is what the operator said it is, a directory of the
//     node or an NFS export, and a task gets nothing outside the root directory
//     that it names: paths are resolved by the kernel, which keeps symbolic
//     links from leading out (openat2 with RESOLVE_IN_ROOT).
//   - An EBS volume is a file system of its own of the size that was asked for,
//     on a sparse file or a logical volume, and is full when it is full. It is
//     removed with its task, or kept until a document says that it shall go.
//
// It is called by the task engine (Prepare, Release, Resume, Sweep) and by
// documents of kind model.DocumentVolume (Apply). Below its directory:
//
//	tasks/<task>.json                  what a task uses
//	mounts/<task>/<volume>             mount points: EFS, EBS, drivers' volumes
//	docker/task/<task>/<volume>/_data  of the driver "local"
//	docker/shared/<volume>/_data
//	efs/<file system>                  NFS exports, while tasks use them
//	ebs/<volume id>.img                unless another directory was given
//
// Source of behaviour: behaviour/task-definitions.md §6, exec-and-more.md §3,
// the ECS agent's source for Docker volumes [AG], and Docker's own driver
// "local" and volume plugin protocol.
package volume
