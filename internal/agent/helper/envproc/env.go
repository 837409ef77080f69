package envproc

import (
	"os"
	"strings"
	"syscall"

	"berth.dev/berth/internal/agent/helper/initproc"
)

// exitUsage says that there is nothing to run, or no file to read.
const exitUsage = 2

// Run takes FILE [init] -- command [argument ...] and becomes the command, or,
// with init, its process 1. It returns the code to exit with when it could not.
func Run(argv []string) int {
	if len(argv) < 3 {
		return fail("usage: berth-helper env FILE [init] -- command [argument ...]")
	}
	file, init, rest := argv[0], false, argv[1:]
	if rest[0] == "init" {
		init, rest = true, rest[1:]
	}
	if len(rest) < 2 || rest[0] != "--" {
		return fail("usage: berth-helper env FILE [init] -- command [argument ...]")
	}
	data, err := os.ReadFile(file)
	if err != nil {
		return fail("the container's secrets cannot be read: " + err.Error())
	}
	environment := Merge(os.Environ(), string(data))
	if init {
		return initproc.Run(rest, environment)
	}
	return become(rest[1:], environment)
}

func become(argv, environment []string) int {
	path, err := initproc.LookPath(argv[0], initproc.Variable(environment, "PATH"))
	if err == nil {
		err = syscall.Exec(path, argv, environment) // which restores what Go's runtime has changed
	}
	return initproc.FailStart(argv[0], err)
}

// Merge adds the variables of a file's content to an environment. Those of the
// file win, and stand where those of the same name stood.
func Merge(environment []string, content string) []string {
	out := append([]string(nil), environment...)
	at := map[string]int{}
	for i, entry := range out {
		name, _, _ := strings.Cut(entry, "=")
		at[name] = i
	}
	for content != "" {
		var entry string
		entry, content, _ = strings.Cut(content, "\x00")
		name, _, found := strings.Cut(entry, "=")
		if !found {
			continue
		}
		if i, ok := at[name]; ok {
			out[i] = entry
			continue
		}
		at[name] = len(out)
		out = append(out, entry)
	}
	return out
}

func fail(text string) int {
	_, _ = os.Stderr.WriteString("berth-env: " + text + "\n")
	return exitUsage
}
