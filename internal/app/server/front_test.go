package server

import (
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"

	"berth.dev/berth/internal/edge/channel"
)

// AWS's session-manager-plugin signs the request for a data channel when it
// finds credentials; the channel answers all the same.
func TestFront_SignedDataChannel(t *testing.T) {
	p := &controlPlane{channels: channel.New(channel.Config{Log: slog.New(slog.DiscardHandler)})}
	for _, authorization := range []string{"", "AWS4-HMAC-SHA256 Credential=AKIAEXAMPLE/20260101/us-east-1/ssmmessages/aws4_request, SignedHeaders=host, Signature=0"} {
		r := httptest.NewRequest(http.MethodGet, channel.Path+"some-session", nil)
		r.Header.Set("Authorization", authorization)
		w := httptest.NewRecorder()
		p.front().ServeHTTP(w, r)
		if w.Code != http.StatusUpgradeRequired {
			t.Errorf("with authorization %q: %d %s, not the data channel's answer", authorization, w.Code, w.Body)
		}
	}
}
