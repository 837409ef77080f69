// Command berth-helper is the small static program that runs beside and inside containers, where the big binary would
// take too long to start and too much memory to stay. It has four modes:
//
//	berth-helper init -- command [argument ...]              process 1 of a container (package initproc)
//	berth-helper env FILE [init] -- command [argument ...]   a command with secrets (package envproc)
//	berth-helper pause                                       wait for a signal: a container that others run programs in
//	berth-helper spool DIR [mode M] [limit N] ...            containerd's binary logger (package capture)
//
// In the last form, which containerd composes from the query of the logger's URI, the pairs come in any order. It is
// linked without cgo, fmt and net, stripped, and embedded by package helper.
package main
