// Package images makes small container images for tests, without a registry and without Docker: one static Go program
// and a few files in one layer.
//
// The program is test/images/probe, which does what a test tells it to on its command line: exits, sleeps, shows what
// it sees, serves, uses up memory.
package images
