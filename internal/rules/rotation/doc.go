// Package rotation decides when a secret gets a new value and what is to be
// done about it.
//
// A rotation is one task at a time that makes one version: it is asked for or
// becomes due, gets a version id, runs, and either its version becomes current
// or it is tried again with the same id, later each time. An attempt that is
// repeated finds what it has stored already under AWSPENDING.
//
// Behaviour: AWS Secrets Manager user guide, "Rotation schedules" and "Schedule
// expressions in Secrets Manager rotation". That a task does it, how often it is
// tried, and how long it may run are ours.
package rotation
