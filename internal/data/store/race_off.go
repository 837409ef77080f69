//go:build !race

package store

const checkByDefault = false
