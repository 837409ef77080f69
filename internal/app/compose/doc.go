// Package compose turns a Compose project into what ECS takes: for each service
// a task definition, and a service or a task that runs once.
//
// It keeps these things true:
//
//   - Nothing is dropped silently. Every member of the file that is set is
//     mapped, or is in [Conversion.Unmapped] with its path and the reason. The
//     table in fields.go says which of the two; a member that compose-go knows
//     and the table does not fails a test, and is listed if it is met anyway.
//   - Converting is pure: the same project and options give the same documents.
//     Only [Load] reads compose files, and [Secret.Value] what a secret is made of.
//   - A value of a secret is in no document.
//
// How it maps:
//
//   - A service is one ECS service, <project>-<service>, with as many tasks as
//     deploy.replicas or scale say, in network mode awsvpc, with one container.
//     A service with restart: "no", or on which another waits with
//     service_completed_successfully, is a task that runs once. deploy.mode
//     global is the scheduling strategy DAEMON, replicated-job a task.
//   - FARGATE, unless something needs the host: bind mounts, named volumes,
//     added capabilities, privileged, devices, shm_size, ulimits other than
//     nofile, and DAEMON. Those are EC2.
//   - CPU and memory are the smallest size of Fargate that holds the limits,
//     else the reservations, else 256 and 512; on EC2 exactly what was asked for.
//   - depends_on is the order of deployment ([Service.Level], [Service.After]):
//     nothing of ECS orders services.
//   - Each service is found as <service>.<project>.local (Cloud Map). For the
//     short names that Compose has, LOCALDOMAIN is set to <project>.local, which
//     the C library of Debian, Ubuntu, Fedora and others (glibc) searches, on AWS
//     too. That of Alpine (musl) and static Go programs do not, and Fargate's
//     /etc/resolv.conf cannot be changed: they need the whole name. That is listed.
//   - Published ports are ports of a load balancer that `berth compose up` makes
//     ([Service.Ports]).
//   - Secrets, and configs below the secrets' directory, are secrets of Secrets
//     Manager, <project>/<name>, which the container finds as files of a tmpfs
//     (the docker label berth.secrets-files) and, as ECS has it, in its
//     environment. Other configs that are files are read-only bind mounts, as
//     Compose does it itself.
//   - Named volumes are Docker volumes of scope shared, made when they are not
//     there. A service that has one stops its old task before it starts the new
//     one, as Compose does: two databases on one directory destroy it.
//   - x-ecs, of a service or of the whole file, is merged over all this:
//     {taskDefinition: {...}, service: {...}} in AWS's shape. Lists take the
//     place of lists, but for containerDefinitions, whose members are merged with
//     the container of that name; without a name, with the service's.
//
// Sources: the Compose specification as compose-go has it, the reference of
// RegisterTaskDefinition and CreateService, resolv.conf(5) for LOCALDOMAIN, and
// what Docker's former ECS integration did where there was a choice.
package compose
