package cli

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"syscall"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/cloudtrail"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ecr"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/servicediscovery"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"
	"github.com/spf13/cobra"

	"berth.dev/berth/internal/app/instance"
	"berth.dev/berth/internal/app/server"
)

// endpointVariable is where AWS clients look for an endpoint of all services.
const endpointVariable = "AWS_ENDPOINT_URL"

// connection is how an AWS client reaches one Berth.
type connection struct {
	Endpoint, Region, AccessKeyID, SecretAccessKey string
	// Authority is the file of the certificate authority to trust; empty means
	// the system's.
	Authority string
}

// localConnection reads the connection that the server of --data-dir left
// there.
func (e *environment) localConnection(ctx context.Context) (connection, error) {
	inst, err := e.existing()
	if err != nil {
		return connection{}, err
	}
	endpoint, err := oneLine(inst, "endpoint")
	if err != nil {
		return connection{}, err
	}
	region, err := oneLine(inst, "region")
	if err != nil {
		return connection{}, err
	}
	shared, err := config.LoadSharedConfigProfile(ctx, "default", func(o *config.LoadSharedConfigOptions) {
		o.CredentialsFiles, o.ConfigFiles = []string{inst.CredentialsFile()}, []string{}
	})
	if err != nil {
		return connection{}, fmt.Errorf("reading %s: %w", inst.CredentialsFile(), err)
	}
	c := connection{Endpoint: endpoint, Region: region, AccessKeyID: shared.Credentials.AccessKeyID, SecretAccessKey: shared.Credentials.SecretAccessKey}
	if file := server.AuthorityFile(inst); strings.HasPrefix(endpoint, "https:") {
		if _, err := os.Stat(file); err == nil {
			c.Authority = file
		}
	}
	return c, nil
}

// httpClient trusts the connection's authority too.
func (c connection) httpClient() (*http.Client, error) {
	if c.Authority == "" {
		return &http.Client{}, nil
	}
	data, err := os.ReadFile(c.Authority)
	if err != nil {
		return nil, err
	}
	roots, err := x509.SystemCertPool()
	if err != nil {
		roots = x509.NewCertPool() // a machine without any
	}
	if !roots.AppendCertsFromPEM(data) {
		return nil, fmt.Errorf("%s holds no certificate", c.Authority)
	}
	transport := &http.Transport{TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots}, ForceAttemptHTTP2: true}
	return &http.Client{Transport: transport}, nil
}

// oneLine reads a file of one line that the server writes at its start.
func oneLine(inst instance.Instance, name string) (string, error) {
	data, err := os.ReadFile(inst.Path(name))
	if errors.Is(err, os.ErrNotExist) {
		return "", fmt.Errorf("the Berth in %s has never been ready: start it with `berth up --data-dir %s`", inst.DataDir, inst.DataDir)
	}
	return strings.TrimSpace(string(data)), err
}

// clients are the AWS services that the verbs use.
type clients struct {
	ecs   *ecs.Client
	ec2   *ec2.Client
	logs  *cloudwatchlogs.Client
	elb   *elasticloadbalancingv2.Client
	names *servicediscovery.Client

	iam     *iam.Client
	secrets *secretsmanager.Client
	trail   *cloudtrail.Client
	ecr     *ecr.Client
	ssm     *ssm.Client

	// For what is no call of an AWS service: the image registry, and the data
	// channels of sessions.
	endpoint string // of the API; empty is AWS itself
	region   string
	http     *http.Client
}

// connect makes clients for the Berth that the command means: that of a
// --data-dir that was typed, else that of the standard AWS environment when it
// names an endpoint, else that of the default data directory.
func (e *environment) connect(cmd *cobra.Command) (*clients, error) {
	cfg, err := e.awsConfig(cmd)
	if err != nil {
		return nil, err
	}
	cfg.AppID = "berth-cli"
	if e.verbose {
		cfg.APIOptions = append(cfg.APIOptions, tellCalls(newPrinter(e.err)))
	}
	return &clients{
		ecs: ecs.NewFromConfig(cfg), ec2: ec2.NewFromConfig(cfg), logs: cloudwatchlogs.NewFromConfig(cfg),
		elb: elasticloadbalancingv2.NewFromConfig(cfg), names: servicediscovery.NewFromConfig(cfg),
		iam: iam.NewFromConfig(cfg), secrets: secretsmanager.NewFromConfig(cfg), trail: cloudtrail.NewFromConfig(cfg),
		ecr: ecr.NewFromConfig(cfg), ssm: ssm.NewFromConfig(cfg),
		endpoint: aws.ToString(cfg.BaseEndpoint), region: cfg.Region, http: plainClient(cfg.HTTPClient),
	}, nil
}

// plainClient trusts whom the AWS clients trust.
func plainClient(c aws.HTTPClient) *http.Client {
	switch c := c.(type) {
	case *http.Client:
		return c
	case *awshttp.BuildableClient:
		return &http.Client{Transport: c.GetTransport()}
	}
	return &http.Client{}
}

func (e *environment) awsConfig(cmd *cobra.Command) (aws.Config, error) {
	ctx := cmd.Context()
	if os.Getenv(endpointVariable) != "" && !cmd.Flags().Changed("data-dir") {
		cfg, err := config.LoadDefaultConfig(ctx)
		if err != nil {
			return aws.Config{}, fmt.Errorf("reading the AWS environment: %w", err)
		}
		return cfg, nil
	}
	c, err := e.localConnection(ctx)
	if err != nil {
		return aws.Config{}, err
	}
	client, err := c.httpClient()
	if err != nil {
		return aws.Config{}, err
	}
	return aws.Config{
		Region: c.Region, BaseEndpoint: &c.Endpoint, HTTPClient: client,
		Credentials: credentials.NewStaticCredentialsProvider(c.AccessKeyID, c.SecretAccessKey, ""),
	}, nil
}

// unreachable is the error of a Berth that does not answer.
type unreachable struct {
	address string
	cause   error
}

func (u *unreachable) Error() string {
	return fmt.Sprintf("no Berth answers at %s: start it with `berth up`, or see `berth doctor`", u.address)
}

func (u *unreachable) Unwrap() error { return u.cause }

// unanswered tells whether a call got no answer: nothing listens, or the
// connection broke, as when the server restarts.
func unanswered(err error) bool {
	_, refused := errors.AsType[*unreachable](err)
	_, broken := errors.AsType[*smithyhttp.RequestSendError](err)
	return refused || broken
}

// explained turns an error of an AWS client into one line that says what to do
// next. What it does not know stays as it is.
func explained(err error) error {
	if err == nil {
		return nil
	}
	if dial, ok := errors.AsType[*net.OpError](err); ok && dial.Addr != nil && errors.Is(err, syscall.ECONNREFUSED) {
		return &unreachable{dial.Addr.String(), err}
	}
	api, ok := errors.AsType[smithy.APIError](err)
	if !ok {
		return err
	}
	switch api.ErrorCode() {
	case "UnrecognizedClientException", "InvalidClientTokenId", "AuthFailure", "InvalidSignatureException", "SignatureDoesNotMatch":
		return fmt.Errorf("%s: %s (the credentials of this shell are not this Berth's: eval \"$(berth env)\")", api.ErrorCode(), api.ErrorMessage())
	case "ServiceNotFoundException", "ServiceNotActiveException":
		return fmt.Errorf("%s: %s (`berth services` lists them)", api.ErrorCode(), api.ErrorMessage())
	case "ClusterNotFoundException":
		return fmt.Errorf("%s: %s (choose one with --cluster; `aws ecs list-clusters` lists them)", api.ErrorCode(), api.ErrorMessage())
	}
	return fmt.Errorf("%s: %s", api.ErrorCode(), api.ErrorMessage())
}
