// Package fake is a runtime made of values and timers, for simulations and for tests of the task engine.
//
// It keeps true what the contract promises and nothing by accident: no I/O, no goroutines of its own, no randomness,
// and time only through package time, so in a testing/synctest bubble a test owns every moment.
//
// A World is the host: images, containers and their processes. It outlives agents. Connect gives one agent's life a
// Runtime; when that life crashes, by a Fault or by Crash, the World goes on and another Connect adopts what is
// there, just as a real agent does. Faults are configuration of the World: any verb can fail, hang or crash the agent
// before or after its effect. Inventory says what exists now, so a test can prove that nothing leaked.
package fake
