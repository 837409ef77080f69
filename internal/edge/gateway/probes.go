package gateway

import (
	"io"
	"net/http"
	"net/netip"
)

// probe answers what needs no signature. It reports whether it did.
func (g *Gateway) probe(w http.ResponseWriter, r *http.Request) bool {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		return false
	}
	switch r.URL.Path {
	case "/healthz":
		plain(w, http.StatusOK, "ok")
	case "/readyz":
		if err := g.ready(); err != nil {
			plain(w, http.StatusServiceUnavailable, err.Error())
		} else {
			plain(w, http.StatusOK, "ok")
		}
	case "/metrics":
		switch {
		case !fromLoopback(r):
			plain(w, http.StatusForbidden, "metrics are for this machine only")
		case g.scrape == nil:
			plain(w, http.StatusNotFound, "there are no metrics")
		default:
			g.scrape.ServeHTTP(w, r)
		}
	default:
		return false
	}
	return true
}

func plain(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	_, _ = io.WriteString(w, text+"\n") // a prober that left needs no answer
}

// fromLoopback looks at the connection alone: headers that proxies add can be
// written by anybody.
func fromLoopback(r *http.Request) bool {
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	return err == nil && peer.Addr().Unmap().IsLoopback()
}
