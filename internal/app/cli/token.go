package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/spf13/cobra"

	"berth.dev/berth/internal/app/instance"
	"berth.dev/berth/internal/app/server"
)

func newToken(e *environment) *cobra.Command {
	ask := server.TokenRequest{TTL: time.Hour, Uses: 1}
	cmd := &cobra.Command{
		Use: "token", Short: "Print a token with which another machine's node can join", Args: arguments(cobra.NoArgs),
		Long: `Print a token with which the agents of other machines can join this Berth. It is good for
joining and nothing else, for as many nodes and as long as you say; only a hash of it is
stored. The server must be running, and have --node-listen.`,
		Example: `  BERTH_JOIN_TOKEN=$(berth token) ssh … berth agent --server 192.0.2.1:8578
  berth token --ttl 24h --uses 10`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			inst, err := e.existing()
			if err != nil {
				return err
			}
			token, err := mintToken(cmd.Context(), inst, ask)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintln(e.out, token)
			return err
		},
	}
	cmd.Flags().DurationVar(&ask.TTL, "ttl", ask.TTL, "how long it is good for")
	cmd.Flags().IntVar(&ask.Uses, "uses", ask.Uses, "how many nodes may join with it")
	return cmd
}

// mintToken asks the running server through the operator's socket.
func mintToken(ctx context.Context, inst instance.Instance, ask server.TokenRequest) (string, error) {
	body, err := json.Marshal(ask)
	if err != nil {
		return "", err
	}
	client := &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", inst.AdminSocket())
		},
	}}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://berth"+server.TokenPath, bytes.NewReader(body))
	if err != nil {
		return "", err
	}
	answer, err := client.Do(request)
	if err != nil {
		return "", fmt.Errorf("the server of %s does not answer: %w", inst.DataDir, err)
	}
	defer answer.Body.Close() //nolint:errcheck // only read
	var out server.TokenAnswer
	if err := json.NewDecoder(answer.Body).Decode(&out); err != nil {
		return "", fmt.Errorf("reading the server's answer: %w", err)
	}
	switch {
	case answer.StatusCode == http.StatusBadRequest:
		return "", misuse("%s", out.Error)
	case out.Error != "":
		return "", errors.New(out.Error)
	}
	return out.Token, nil
}
