// Package metadata is the task metadata endpoint: what a container finds at ECS_CONTAINER_METADATA_URI_V4, at
// http://169.254.170.2 inside its task's network namespace.
//
// It keeps these things true:
//
//   - Whoever asks is the task: the socket is in the task's namespace and the server behind it knows one task. Another
//     task's container id is as unknown as an invented one, and no header or address is believed.
//   - Version 4 answers in full (container, task, tags, statistics), versions 3 and 2 with the fewer fields that they
//     have. The credentials paths answer for the task's role, under the id that the task's containers were told and no other;
//     what is wrong with a request is said in Amazon's words.
//   - Tasks in network mode host have no namespace of their own. They share one endpoint of the host (OpenHost), whose
//     requests name the task by the id of a container or of its credentials; tasks in other modes are unknown there.
//   - It holds no state: every answer is made from Source when it is asked for.
//   - A task may ask 40 times a second, 60 at once; the rest gets 429. The sockets and goroutines of a task end with the
//     context of its Run.
//
// It writes nothing and nothing wakes it but requests.
//
// Source of behaviour: behaviour/iam-credentials-metadata.md §3, §4, and the texts of amazon-ecs-agent.
package metadata
