package session

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"

	"berth.dev/berth/internal/base/atomicfile"
	"berth.dev/berth/internal/base/ident"
	"berth.dev/berth/internal/wire/nodeapi"
)

// Identity is who this node is.
type Identity struct {
	InstanceID  string
	certificate tls.Certificate
	roots       *x509.CertPool
}

// identityFile holds the node's key, its certificate and the authority's, in
// this order. One file, so that it is there whole or not at all.
const identityFile = "identity.pem"

// LoadIdentity reads the identity that Join left in dir; fs.ErrNotExist says
// that the node has not joined.
func LoadIdentity(dir string) (*Identity, error) {
	file := filepath.Join(dir, identityFile)
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var blocks [][]byte
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		blocks = append(blocks, block.Bytes)
	}
	if len(blocks) != 3 {
		return nil, fmt.Errorf("%s is damaged: remove it and join again", file)
	}
	key, err := x509.ParseECPrivateKey(blocks[0])
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", file, err)
	}
	leaf, err := x509.ParseCertificate(blocks[1])
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", file, err)
	}
	ca, err := x509.ParseCertificate(blocks[2])
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", file, err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(ca)
	return &Identity{
		InstanceID:  leaf.Subject.CommonName,
		certificate: tls.Certificate{Certificate: [][]byte{blocks[1]}, PrivateKey: key},
		roots:       roots,
	}, nil
}

// Join makes an identity in dir with a join token. It fails when the control
// plane is not the one that the token names, or refuses it.
func Join(ctx context.Context, dir, server, token string, through Dialer) (*Identity, error) {
	parsed, err := nodeapi.ParseJoinToken(token)
	if err != nil {
		return nil, err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	request, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: ident.Task()}}, key)
	if err != nil {
		return nil, err
	}
	answer, err := askToJoin(ctx, server, parsed, request, through)
	if err != nil {
		return nil, fmt.Errorf("joining the control plane at %s: %w", server, err)
	}
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return nil, err
	}
	var data []byte
	for _, block := range []pem.Block{
		{Type: "EC PRIVATE KEY", Bytes: der},
		{Type: "CERTIFICATE", Bytes: answer.GetCertificate()},
		{Type: "CERTIFICATE", Bytes: answer.GetCaCertificate()},
	} {
		data = append(data, pem.EncodeToMemory(&block)...)
	}
	if err := atomicfile.WriteSecret(filepath.Join(dir, identityFile), data); err != nil {
		return nil, err
	}
	return LoadIdentity(dir)
}

// askToJoin waits for a control plane to answer, but not for another one to
// take the place of an impostor.
func askToJoin(ctx context.Context, server string, token nodeapi.JoinToken, request []byte, through Dialer) (*nodeapi.JoinResponse, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	config := token.JoinTLS()
	verify := config.VerifyConnection
	config.VerifyConnection = func(state tls.ConnectionState) error {
		err := verify(state)
		if err != nil {
			cancel(err)
		}
		return err
	}
	conn, err := dial(server, config, through)
	if err != nil {
		return nil, err
	}
	defer conn.Close() //nolint:errcheck // nothing depends on it any more
	answer, err := nodeapi.NewNodeClient(conn).Join(ctx, &nodeapi.JoinRequest{TokenSecret: token.Secret, CertificateRequest: request}, grpc.WaitForReady(true))
	if cause := context.Cause(ctx); err != nil && cause != nil {
		return nil, cause
	}
	return answer, err
}

// LoadOrJoin is LoadIdentity, and Join for a node that has none yet.
func LoadOrJoin(ctx context.Context, dir, server, token string, through Dialer) (*Identity, error) {
	id, err := LoadIdentity(dir)
	if !errors.Is(err, fs.ErrNotExist) {
		return id, err
	}
	if token == "" {
		return nil, fmt.Errorf("the node has not joined: give it a join token")
	}
	return Join(ctx, dir, server, token, through)
}

// Dialer makes a connection to the control plane; nil is the host's network.
type Dialer = func(ctx context.Context, address string) (net.Conn, error)

// dial prepares a connection; it is made when it is needed and made again
// when it is lost. server is host:port or unix:path.
func dial(server string, config *tls.Config, through Dialer, more ...grpc.DialOption) (*grpc.ClientConn, error) {
	options := []grpc.DialOption{
		grpc.WithTransportCredentials(credentials.NewTLS(config)),
		grpc.WithAuthority(nodeapi.ServerName),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(64 << 20)),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 10 * time.Second, Timeout: 5 * time.Second, PermitWithoutStream: true}),
		// A control plane that is back is found within a second.
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: 50 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: time.Second},
			MinConnectTimeout: 5 * time.Second,
		}),
	}
	if through != nil {
		options = append(options, grpc.WithContextDialer(through))
	}
	return grpc.NewClient(server, append(options, more...)...)
}

func (id *Identity) tls() *tls.Config {
	return &tls.Config{
		MinVersion:   tls.VersionTLS13,
		ServerName:   nodeapi.ServerName,
		RootCAs:      id.roots,
		Certificates: []tls.Certificate{id.certificate},
	}
}
