// Package rotation rotates secrets, and tells nodes when those that tasks have
// as files are other than before.
//
// # The loop
//
// It keeps true that a secret whose rotation is due or was asked for gets a new
// current version: a task is run that makes it, one at a time for a secret, and
// when it has ended well its version becomes current in the same transaction
// that ends the rotation. An attempt that fails is repeated, with the same
// version id, later each time.
//
// The task is of the definition that RotateSecret named. Every container of it
// finds SECRET_ARN and SECRET_VERSION_ID in its environment. It does all that a
// rotation function does in four steps: unless the version is there already,
// from an attempt before, it makes a new value and stores it by PutSecretValue
// with that id as ClientRequestToken and the label AWSPENDING; it sets the value
// where it is used, tests it, and ends with exit code 0. What it may do is up to
// its task role.
//
// It runs in the cluster default, with the launch type FARGATE if the definition
// requires that and EC2 if not; if its network mode is awsvpc, in the subnets of
// the default VPC with that VPC's default security group. Tags of the secret
// name others: see rules/rotation.
//
// It writes tasks, through data/launch, and stops its own; of secrets the
// labels, LastChangedDate, and of SecretRotation what is said there. It is woken
// by secrets, by the tasks that rotate them, and by the clock. A task is written
// together with the secret's note of it, so that a server that dies between any
// two steps has neither lost a rotation nor begun it twice.
//
// # The source
//
// Source derives the documents of kind secrets: for each task that has secrets
// as files, the version of each that counts now. It writes nothing.
//
// Behaviour: AWS Secrets Manager user guide, "Rotate AWS Secrets Manager
// secrets"; that a task does it is Berth's.
package rotation
