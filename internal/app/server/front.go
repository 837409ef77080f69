package server

import (
	"net/http"
	"strings"

	"berth.dev/berth/internal/edge/channel"
)

// front sends each request to the door that it is for: the image registry, the
// data channels of sessions, or the AWS API. A signed request is the API's,
// whatever its path: some services of AWS have a /v2/ of their own. Not so that
// of a data channel, to which AWS's plugin signs its request when it finds
// credentials; what lets it in is its token.
func (p *controlPlane) front() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch signed := strings.HasPrefix(r.Header.Get("Authorization"), "AWS4-"); {
		case !signed && (strings.HasPrefix(r.URL.Path, "/v2/") || r.URL.Path == "/v2"):
			p.registry.ServeHTTP(w, r)
		case strings.HasPrefix(r.URL.Path, channel.Path):
			p.channels.ServeHTTP(w, r)
		default:
			p.gateway.ServeHTTP(w, r)
		}
	})
}
