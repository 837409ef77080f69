package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"time"

	"berth.dev/berth/internal/base/fault"
	"berth.dev/berth/internal/control/nodeca"
)

// The operator's own door: a socket that only the owner of the instance can
// open, for what no AWS API is about.

// TokenRequest asks for a join token.
type TokenRequest struct {
	TTL  time.Duration `json:"ttl"`
	Uses int           `json:"uses"`
}

// TokenAnswer is a join token, or why there is none.
type TokenAnswer struct {
	Token string `json:"token,omitempty"`
	Error string `json:"error,omitempty"`
}

// TokenPath is where a join token is asked for.
const TokenPath = "/join-tokens"

// serveAdmin answers on the instance's socket until ctx ends.
func (p *controlPlane) serveAdmin(ctx context.Context) error {
	socket := p.cfg.Instance.AdminSocket()
	// As serveNodes: the claim on the instance says that nobody listens on it.
	if err := os.Remove(socket); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	// Its directory is the owner's alone.
	listener, err := net.Listen("unix", socket)
	if err != nil {
		return fmt.Errorf("listening for the operator: %w", err)
	}
	routes := http.NewServeMux()
	routes.Handle("POST "+TokenPath, p.mint(p.authority))
	server := &http.Server{Handler: routes, ReadTimeout: 5 * time.Second, WriteTimeout: 30 * time.Second, MaxHeaderBytes: 8 << 10}
	defer context.AfterFunc(ctx, func() { server.Close() })() //nolint:errcheck,gosec // nothing of it is needed any more
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serving the operator: %w", err)
	}
	return nil
}

func (p *controlPlane) mint(authority *nodeca.Authority) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		var in TokenRequest
		var out TokenAnswer
		status := http.StatusOK
		err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 1<<10)).Decode(&in)
		if err == nil {
			token, mintErr := authority.MintToken(r.Context(), p.store, in.TTL, in.Uses)
			if err = mintErr; err == nil {
				out.Token = token.String()
			}
		}
		if err != nil {
			out.Error, status = err.Error(), http.StatusBadRequest
			if !errors.Is(err, fault.Invalid) {
				status = http.StatusInternalServerError
			}
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		json.NewEncoder(w).Encode(out) //nolint:errcheck,gosec,errchkjson // the operator may have gone
	}
}
