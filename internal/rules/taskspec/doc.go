// Package taskspec decides what a task definition means: which ones are
// valid, what AWS fills in, where they can run, and what RunTask's overrides
// make of them.
//
// It keeps these things true:
//
//   - a definition that Validate accepts has an effect in every member: what
//     Berth cannot do yet is refused with a reason, from one table (see
//     unsupported.go), never stored and ignored;
//   - Normalize is idempotent, and registering what Describe returned changes
//     nothing, so that Terraform sees no drift;
//   - errors have AWS's class and, where real output shows it, AWS's text.
//     testdata/errors.golden lists every text; those marked (uncertain) have
//     AWS's class but our words.
//
// It is pure and writes nothing; service/ecs is its shell. Behaviour: the
// Amazon ECS developer guide, "Task definition parameters", and the API model.
package taskspec
