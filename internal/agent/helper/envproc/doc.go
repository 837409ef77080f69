// Package envproc is the env mode of berth-helper: it adds the variables in a
// file to the environment and becomes the command, so that a container's
// secrets are in no specification that an engine writes down.
//
// What it keeps true: the command runs as the same process, with the user,
// directory, limits and signals that the container was given, and with the
// file's variables in front of those of the same name; it is looked up in PATH
// as the engine would have done it. A file that cannot be read keeps the
// command from running: nothing starts without what it asked for.
//
// The file has NAME=value with a NUL after each. As in a shell, 127 says that
// the command was not found and 126 that it cannot be executed.
package envproc
