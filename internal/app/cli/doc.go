// Package cli is berth's command line: roles that run, and verbs that are
// nothing but one more client of the AWS API.
//
// Data goes to standard output, progress and errors to standard error; colour
// and progress appear only on a terminal (and never with NO_COLOR). Exit codes:
// 0 done, 1 failed, 2 misused, 3 deployment failed or rolled back, 4 timed out.
package cli
