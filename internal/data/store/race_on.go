//go:build race

package store

// checkByDefault turns Options.CheckMutation on in builds that look for data races: a record changed in place is one.
const checkByDefault = true
