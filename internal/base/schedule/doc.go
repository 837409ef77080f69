// Package schedule reads schedule expressions as AWS writes them, rate(…) and
// cron(…), and finds their next time.
//
// A cron expression has six fields: minutes, hours, day of month, month, day of
// week, year; one of the two days is a question mark. Times are in the zone of
// the time that is asked about; Secrets Manager uses UTC.
//
// Behaviour: Amazon EventBridge user guide, "Cron expressions reference" and
// "Rate expressions".
package schedule
