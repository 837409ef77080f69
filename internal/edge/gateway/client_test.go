package gateway_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	ecstypes "github.com/aws/aws-sdk-go-v2/service/ecs/types"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"pgregory.net/rapid"

	"berth.dev/berth/internal/edge/gateway"
	"berth.dev/berth/internal/wire/api/ecsapi"
	"berth.dev/berth/internal/wire/api/stsapi"
	"berth.dev/berth/internal/wire/caller"
	"berth.dev/berth/internal/wire/smithy"
	"berth.dev/berth/internal/wire/wiretest"
)

// identity is an STS that tells who asks.
type identity struct{ stsapi.Unimplemented }

func (identity) GetCallerIdentity(ctx context.Context, _ *stsapi.GetCallerIdentityInput) (*stsapi.GetCallerIdentityOutput, error) {
	who, _ := caller.From(ctx)
	return &stsapi.GetCallerIdentityOutput{Account: &who.AccountID, Arn: &who.ARN, UserId: &who.UserID}, nil
}

// serve opens a gateway on a real connection, with a real clock.
func serve(t *testing.T, change func(*gateway.Config)) *httptest.Server {
	t.Helper()
	d := open(t, func(cfg *gateway.Config) {
		cfg.Logger, cfg.Now, cfg.NewID = slog.New(slog.DiscardHandler), nil, nil
		change(cfg)
	})
	server := httptest.NewServer(d)
	t.Cleanup(server.Close)
	return server
}

func awsConfig(server *httptest.Server, secret string) aws.Config {
	return aws.Config{
		Region: "eu-central-1", BaseEndpoint: &server.URL, HTTPClient: wiretest.Client(server.Client().Transport), RetryMaxAttempts: 1,
		Credentials: credentials.NewStaticCredentialsProvider(rootKey, secret, ""),
	}
}

// The official SDK is served and understands every answer.
func TestOfficialClient(t *testing.T) {
	server := serve(t, func(cfg *gateway.Config) {
		provide(stsapi.API, identity{})(cfg)
		provide(ecsapi.API, ecsProvider{list: func(_ context.Context, in *ecsapi.ListClustersInput) (*ecsapi.ListClustersOutput, error) {
			if in.NextToken != nil {
				return nil, smithy.NewError(http.StatusBadRequest, "ClusterNotFoundException", "Cluster not found.")
			}
			return &ecsapi.ListClustersOutput{ClusterArns: []string{"one", "two"}}, nil
		}})(cfg)
	})
	clusters := ecs.NewFromConfig(awsConfig(server, secret))
	out, err := clusters.ListClusters(t.Context(), &ecs.ListClustersInput{MaxResults: aws.Int32(2)})
	if err != nil || strings.Join(out.ClusterArns, " ") != "one two" {
		t.Fatalf("%+v, %v", out, err)
	}
	_, err = clusters.ListClusters(t.Context(), &ecs.ListClustersInput{NextToken: aws.String("x")})
	if _, ok := errors.AsType[*ecstypes.ClusterNotFoundException](err); !ok {
		t.Fatalf("error %v, want the modelled one", err)
	}
	who, err := sts.NewFromConfig(awsConfig(server, secret)).GetCallerIdentity(t.Context(), nil)
	if err != nil || *who.Arn != "arn:aws:iam::123456789012:root" || *who.Account != "123456789012" {
		t.Fatalf("%+v, %v", who, err)
	}

	type coded interface {
		error
		ErrorCode() string
	}
	for code, call := range map[string]func(aws.Config) error{
		"InvalidSignatureException": func(c aws.Config) error {
			_, err := ecs.NewFromConfig(c).ListClusters(t.Context(), nil)
			return err
		},
		"SignatureDoesNotMatch": func(c aws.Config) error {
			_, err := sts.NewFromConfig(c).GetCallerIdentity(t.Context(), nil)
			return err
		},
	} {
		err := call(awsConfig(server, "guess"))
		if e, ok := errors.AsType[coded](err); !ok || e.ErrorCode() != code {
			t.Errorf("wrong secret: %v, want %s", err, code)
		}
	}
}

// A presigned GetCallerIdentity, as aws eks get-token makes them, is served to
// whoever holds the URL.
func TestPresignedByOfficialClient(t *testing.T) {
	server := serve(t, provide(stsapi.API, identity{}))
	signed, err := sts.NewPresignClient(sts.NewFromConfig(awsConfig(server, secret))).PresignGetCallerIdentity(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, spoil := range []bool{false, true} {
		target, err := url.Parse(signed.URL)
		if err != nil {
			t.Fatal(err)
		}
		if spoil {
			target.RawQuery += "&X-Amz-Expires=604800"
		}
		r, err := http.NewRequestWithContext(t.Context(), signed.Method, target.String(), nil)
		if err != nil {
			t.Fatal(err)
		}
		maps.Copy(r.Header, signed.SignedHeader)
		got, err := server.Client().Do(r)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(got.Body)
		_ = got.Body.Close()
		if want := map[bool]int{false: 200, true: 403}[spoil]; err != nil || got.StatusCode != want {
			t.Errorf("spoilt %t: %s, %v: %s", spoil, got.Status, err, body)
		}
	}
}

// Property: whatever a client that can sign sends, it gets an error envelope
// (nothing is implemented here) and never one of ours.
func TestAnyRequestIsAnswered(t *testing.T) {
	d := open(t, func(cfg *gateway.Config) { cfg.Logger = slog.New(slog.DiscardHandler) })
	rapid.Check(t, func(rt *rapid.T) {
		prefixes := []string{"", ".", "x", ecsapi.API.TargetPrefix, "Logs_20140328", "DynamoDB_20120810"}
		q := request{
			method:      rapid.SampledFrom([]string{"GET", "POST", "PUT", "HEAD", "DELETE", "OPTIONS", "BREW"}).Draw(rt, "method"),
			target:      "http://h/" + rapid.SampledFrom([]string{"", "x", "/", "service/GraniteServiceVersion20100801/operation/PutMetricData", "metrics/"}).Draw(rt, "path"),
			contentType: rapid.SampledFrom([]string{"", "x", formType, "application/x-amz-json-1.1", "application/cbor", "application/json"}).Draw(rt, "type"),
			service:     rapid.SampledFrom([]string{"ecs", "ec2", "sts", "logs", "s3", "x"}).Draw(rt, "service"),
			amzTarget:   rapid.SampledFrom(prefixes).Draw(rt, "prefix"),
		}
		if q.amzTarget != "" {
			q.amzTarget += rapid.SampledFrom([]string{"", ".", ".ListClusters", ".PutLogEvents", ".a.b"}).Draw(rt, "operation")
		}
		parameters := rapid.SampledFrom([]string{"", "Action=DescribeVpcs", "Action=DescribeVpcs&Version=2016-11-15", "Action=&Version=", "Version=2011-06-15", "Action=GetCallerIdentity&Version=2011-06-15", "Action=A&Action=B&Version=2016-11-15"})
		q.target += "?" + parameters.Draw(rt, "query")
		q.body = []byte(parameters.Draw(rt, "form") + rapid.SampledFrom([]string{"", "{}", "{", "&x", "\x00"}).Draw(rt, "more"))
		got := d.do(rt, q.build(t))
		var problems []error
		for _, protocol := range []string{"json", "query", "ec2", "s3"} {
			code, _, err := got.failure(protocol)
			if err == nil {
				if got.status >= 500 && code != "NotImplemented" {
					rt.Fatalf("ours: %s", got)
				}
				return
			}
			problems = append(problems, err)
		}
		rt.Fatalf("%v", errors.Join(problems...))
	})
}

// A provider that outlives the time a request has is answered for, in a way
// that makes SDKs try again.
func TestTooSlow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := open(t, listing(func(ctx context.Context, _ *ecsapi.ListClustersInput) (*ecsapi.ListClustersOutput, error) {
			<-ctx.Done()
			return nil, fmt.Errorf("wait for the store: %w", ctx.Err())
		}))
		began := time.Now()
		got := d.send(t, jsonCall(ecsapi.API, "ListClusters", "{}"))
		wantFailure(t, got, "json", 503, "ServiceUnavailable", "Service Unavailable. Please try again later.")
		if took := time.Since(began); took != gateway.RequestTimeout {
			t.Errorf("took %v", took)
		}
		if lines := d.log.lines("WARN"); len(lines) != 1 || !strings.Contains(lines[0]["error"].(string), "wait for the store") {
			t.Errorf("warnings %v", lines)
		}
	})
}
