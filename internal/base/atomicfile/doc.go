// Package atomicfile writes small files that must be there whole or not at
// all: keys, certificates, credentials.
package atomicfile
