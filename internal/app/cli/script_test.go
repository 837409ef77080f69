package cli

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"berth.dev/berth/internal/base/ident"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"berth": func() { os.Exit(Main(context.Background(), os.Args[1:], os.Stdin, os.Stdout, os.Stderr)) },
	})
}

// Each script has $DATA, a data directory as a server leaves it whose API is
// at a port where nobody listens.
func TestScripts(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("instances keep their sockets in /run/berth, which needs root")
	}
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(env *testscript.Env) error {
			id := ident.Hex(8)
			env.Defer(func() { os.RemoveAll(filepath.Join("/run/berth", id)) }) //nolint:errcheck // cleaning up
			dir := filepath.Join(env.WorkDir, "data")
			env.Setenv("DATA", dir)
			berth, err := exec.LookPath("berth")
			if err != nil {
				return err
			}
			env.Setenv("BERTHBIN", filepath.Dir(berth))
			if err := os.Mkdir(dir, 0o700); err != nil {
				return err
			}
			for name, content := range map[string]string{
				"instance": id, "endpoint": "http://127.0.0.1:1", "region": "eu-west-1",
				"credentials": "[default]\naws_access_key_id = AKIAEXAMPLE\naws_secret_access_key = it's/secret",
			} {
				if err := os.WriteFile(filepath.Join(dir, name), []byte(content+"\n"), 0o600); err != nil {
					return err
				}
			}
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			// code N COMMAND… runs berth and wants its exit code.
			"code": func(ts *testscript.TestScript, _ bool, args []string) {
				err := ts.Exec(args[1], args[2:]...)
				got := "0"
				if err != nil {
					got = strings.TrimPrefix(err.Error(), "exit status ")
				}
				if got != args[0] {
					ts.Fatalf("%v: exit code %s, want %s", args[1:], got, args[0])
				}
			},
		},
	})
}
