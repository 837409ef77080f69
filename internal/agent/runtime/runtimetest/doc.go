// Package runtimetest is the contract suite of package runtime: what every implementation does alike. Run it against
// each. What only a kernel can show (limits, capabilities, mounts) is tested beside the implementation that has one.
package runtimetest
