// Package logpattern decides whether a log event matches a CloudWatch Logs
// filter pattern: terms, JSON and space-delimited patterns, as FilterLogEvents,
// metric filters and subscription filters use them.
//
// It keeps true that a pattern which compiles has exactly one meaning and
// matches in time linear in the message (regular expressions are RE2), and that
// what this package does not support does not compile. It is pure: it writes
// nothing and nothing wakes it.
//
// Behaviour: behaviour/secrets-logs.md, "Filter pattern language". Where AWS's
// documentation leaves a case open, the choice is stated at the code: terms
// match as substrings; a comparison never holds for an absent field; a quoted
// JSON string is compared with the text of a number, too.
package logpattern
