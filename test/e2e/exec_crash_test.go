package e2e_test

import (
	"fmt"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	ssmtypes "github.com/aws/aws-sdk-go-v2/service/ssm/types"
)

// SIGKILL of the server or the agent during a session ends it for both sides: the client says so, the program is gone, the
// session is over in the records, and the next one works.
func TestSessionsEndWithWhatCarriesThem(t *testing.T) {
	t.Parallel()
	b := start(t)
	k := b.executable(t, nil, container("app", "answer", "3000", "0"))
	b.apart(t)
	k.executableAgain(t)
	before := k.pids(t)
	for role, details := range map[string]string{
		"server": "The control plane that carried the session has ended.",
		"agent":  "The connection to the task's node was lost",
	} {
		t.Run(role, func(t *testing.T) {
			s := b.cli(t, false, "exec", k.id, "-T", "--", "/probe", "copy")
			s.say(t, "hello\n")
			s.until(t, "hello\n")
			if during := k.pids(t); len(during) != len(before)+1 {
				t.Errorf("the processes were %v and are %v", before, during)
			}
			b.end(t, role, syscall.SIGKILL)
			if role == "server" { // the agent is there to end the program, and nobody needs to come back for it
				k.programsAre(t, before)
			}
			if role == "agent" {
				b.role(t, role)
			}
			_, code := s.rest(t)
			said := s.problems.String()
			if code == 0 || !strings.Contains(said, "berth: the session ") {
				t.Errorf("the client ends with %d and says %q", code, said)
			}
			t.Logf("without its %s: %s", role, strings.TrimSpace(said))
			if role == "server" {
				b.role(t, role)
			}
			b.ready(t)
			k.programsAre(t, before)
			eventually(t, "the session to be over", func() error {
				out, err := b.parameters.DescribeSessions(t.Context(), &ssm.DescribeSessionsInput{State: ssmtypes.SessionStateHistory})
				if err != nil {
					return err
				}
				for _, one := range out.Sessions {
					if one.Status == ssmtypes.SessionStatusTerminated && strings.HasPrefix(aws.ToString(one.Details), details) {
						return nil
					}
				}
				return fmt.Errorf("none of %d sessions ended so", len(out.Sessions))
			})
			k.executableAgain(t)
		})
	}
}

// executableAgain waits until the task's node is back and a command runs.
func (k *task) executableAgain(t *testing.T) {
	t.Helper()
	eventually(t, "a command", func() error {
		if r := k.b.cliRun(t, nil, "exec", k.id, "-T", "--", "/probe", "echo", "here"); r.code != 0 || string(r.out) != "here\n" {
			return fmt.Errorf("exit %d, %q: %s", r.code, r.out, r.err)
		}
		return nil
	})
}

func (k *task) programsAre(t *testing.T, want []string) {
	t.Helper()
	eventually(t, "the program to be gone", func() error {
		got, err := pidsIn(k.b, k.eni) // fails when one ends while it is looked at
		if err == nil && !slices.Equal(got, want) {
			err = fmt.Errorf("there are %v, and were %v", got, want)
		}
		return err
	})
}
