package registry

import (
	"encoding/base64"
	"errors"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/distribution/distribution/v3/registry/api/errcode"

	"berth.dev/berth/internal/base/fault"
	"berth.dev/berth/internal/data/keyring"
	"berth.dev/berth/internal/wire/caller"
)

// The user name that goes with the passwords of GetAuthorizationToken.
const userName = "AWS"

// authenticate finds out who asks, from the password.
func (c *call) authenticate() error {
	source, _, err := net.SplitHostPort(c.r.RemoteAddr)
	if err != nil {
		source = c.r.RemoteAddr
	}
	user, password, ok := c.r.BasicAuth()
	if !ok || user != userName {
		c.who.SourceIP, c.who.UserAgent = source, shorten(c.r.UserAgent())
		return errUnauthorized
	}
	who, err := c.Authenticate(c.r.Context(), password)
	who.SourceIP, who.Secure, who.Host, who.UserAgent = source, c.r.TLS != nil, shorten(c.r.Host), shorten(c.r.UserAgent())
	who.Region, who.RequestID = c.Scope.Region, c.id
	c.who = who
	switch {
	case errors.Is(err, fault.NotFound):
		c.who.ARN = ""
		return errUnauthorized
	case errors.Is(err, fault.Denied):
		c.who.ARN = ""
		return errcode.ErrorCodeDenied.WithMessage("Your authorization token has expired. Reauthenticate and try again.")
	case err != nil:
		return err
	}
	c.r = c.r.WithContext(caller.WithGuard(caller.With(c.r.Context(), who), c.Guard))
	return nil
}

// may asks whether the caller may do something to a repository.
func (c *call) may(action, repository string) error {
	if c.inner {
		return nil
	}
	err := c.Guard.Check(c.r.Context(), action, c.Scope.Repository(repository), nil)
	if errors.Is(err, fault.Denied) {
		return errcode.ErrorCodeDenied.WithMessage(err.Error())
	}
	return err
}

// errUnauthorized is answered with the challenge that makes clients send what
// `docker login` has stored.
var errUnauthorized = errors.New("not authorized")

func (c *call) challenge() {
	scheme := "http"
	if c.r.TLS != nil {
		scheme = "https"
	}
	realm := url.URL{Scheme: scheme, Host: c.r.Host, Path: "/"}
	c.w.Header().Set("WWW-Authenticate", "Basic realm="+strconv.Quote(realm.String())+`,service="ecr.amazonaws.com"`)
	http.Error(c.w, "Not Authorized", http.StatusUnauthorized)
}

const maxWord = 256

func shorten(s string) string { return s[:min(len(s), maxWord)] }

// signatureParameter of a layer's URL holds until when it is valid, sealed for
// this one layer.
const signatureParameter = "X-Berth-Signature"

func layerPurpose(repository, digest string) string {
	return "URL of layer " + digest + " of " + repository
}

// SignLayerURL makes the URL under which anybody may read a layer until it
// expires, as GetDownloadUrlForLayer does. base is the address of the API as the
// client knows it: http://127.0.0.1:8577.
func SignLayerURL(ring *keyring.Keyring, base, repository, digest string, expires time.Time) (string, error) {
	sealed, err := ring.Seal(strconv.AppendInt(nil, expires.Unix(), 10), layerPurpose(repository, digest))
	if err != nil {
		return "", err
	}
	return base + "/v2/" + repository + "/blobs/" + digest + "?" + signatureParameter + "=" + base64.RawURLEncoding.EncodeToString(sealed), nil
}

// signed checks the signature in a layer's URL.
func (c *call) signed() error {
	refused := errcode.ErrorCodeDenied.WithMessage("The URL of the layer is not valid or has expired.")
	sealed, err := base64.RawURLEncoding.DecodeString(c.r.URL.Query().Get(signatureParameter))
	if err != nil || c.r.Method != http.MethodGet && c.r.Method != http.MethodHead {
		return refused
	}
	plain, err := c.Ring.Open(sealed, layerPurpose(c.name, c.rest))
	if err != nil {
		return refused
	}
	expires, err := strconv.ParseInt(string(plain), 10, 64)
	if err != nil || c.Now().Unix() >= expires {
		return refused
	}
	return nil
}
