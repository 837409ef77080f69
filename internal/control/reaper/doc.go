// Package reaper forgets what nobody may ask for any more.
//
// It keeps true that stopped tasks stay describable for the retention time and
// no longer and are in the history when they are not, that an INACTIVE service
// can be described for a day, that client tokens of RunTask live for 24 hours at most, and that
// a task definition in DELETE_IN_PROGRESS vanishes when no task uses it. It
// deletes records and writes no field; it is woken by the clock.
package reaper
