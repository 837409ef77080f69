package api

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	logstypes "github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs/types"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	ecstypes "github.com/aws/aws-sdk-go-v2/service/ecs/types"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"berth.dev/berth/internal/wire/api/ec2api"
	"berth.dev/berth/internal/wire/api/ecsapi"
	"berth.dev/berth/internal/wire/api/logsapi"
	"berth.dev/berth/internal/wire/api/stsapi"
	"berth.dev/berth/internal/wire/smithy"
)

// ecsProvider is how a provider is written: it embeds Unimplemented, and has
// the operations that it has.
type ecsProvider struct {
	ecsapi.Unimplemented
}

func (ecsProvider) DescribeClusters(_ context.Context, in *ecsapi.DescribeClustersInput) (*ecsapi.DescribeClustersOutput, error) {
	out := &ecsapi.DescribeClustersOutput{Clusters: []ecsapi.Cluster{}, Failures: []ecsapi.Failure{}}
	for _, name := range in.Clusters {
		if name != "default" {
			out.Failures = append(out.Failures, ecsapi.Failure{Arn: new("arn:aws:ecs:us-east-1:123456789012:cluster/" + name), Reason: new("MISSING")})
			continue
		}
		out.Clusters = append(out.Clusters, ecsapi.Cluster{ClusterName: new(name), Status: new("ACTIVE"), RunningTasksCount: new(int32(0))})
	}
	return out, nil
}

func (ecsProvider) RunTask(_ context.Context, in *ecsapi.RunTaskInput) (*ecsapi.RunTaskOutput, error) {
	if in.Cluster != nil {
		return nil, &ecsapi.ClusterNotFoundException{Message: new("Cluster not found.")}
	}
	return nil, &ecsapi.ConflictException{Message: new("token"), ResourceIds: []string{"arn:1", "arn:2"}}
}

func (ecsProvider) DeleteCluster(context.Context, *ecsapi.DeleteClusterInput) (*ecsapi.DeleteClusterOutput, error) {
	return nil, &ecsapi.ServerException{Message: new("Service Unavailable. Please try again later.")}
}

// TagResource answers nothing, which is an empty output.
func (ecsProvider) TagResource(context.Context, *ecsapi.TagResourceInput) (*ecsapi.TagResourceOutput, error) {
	return nil, nil
}

type ec2Provider struct{ ec2api.Unimplemented }

func (ec2Provider) DescribeSubnets(_ context.Context, in *ec2api.DescribeSubnetsInput) (*ec2api.DescribeSubnetsOutput, error) {
	return nil, smithy.NewError(400, "InvalidSubnetID.NotFound", "The subnet ID '"+in.SubnetIds[0]+"' does not exist")
}

type logsProvider struct{ logsapi.Unimplemented }

func (logsProvider) CreateLogGroup(context.Context, *logsapi.CreateLogGroupInput) (*logsapi.CreateLogGroupOutput, error) {
	return nil, &logsapi.ResourceAlreadyExistsException{Message: new("The specified log group already exists")}
}

func (logsProvider) PutLogEvents(context.Context, *logsapi.PutLogEventsInput) (*logsapi.PutLogEventsOutput, error) {
	return nil, &logsapi.InvalidSequenceTokenException{ExpectedSequenceToken: new("token-7")}
}

type stsProvider struct{ stsapi.Unimplemented }

func (stsProvider) GetCallerIdentity(context.Context, *stsapi.GetCallerIdentityInput) (*stsapi.GetCallerIdentityOutput, error) {
	return nil, smithy.NewError(403, "ExpiredToken", "The security token included in the request is expired")
}

// dialProviders serves the providers above as the gateway does: decode,
// validate, invoke, encode.
func dialProviders(t *testing.T) clients {
	impls := map[*smithy.Service]any{ecsapi.API: ecsProvider{}, ec2api.API: ec2Provider{}, logsapi.API: logsProvider{}, stsapi.API: stsProvider{}}
	return dial(t, func(op *smithy.Operation, in smithy.Shape) (smithy.Shape, error) {
		if err := smithy.Validate(op, in); err != nil {
			return nil, err
		}
		svc := find(func(s *smithy.Service) bool { return slices.Contains(s.Operations, op) })
		return op.Invoke(t.Context(), impls[svc], in)
	})
}

func TestProvider(t *testing.T) {
	c := dialProviders(t)
	out, err := c.ecs.DescribeClusters(t.Context(), &ecs.DescribeClustersInput{Clusters: []string{"default", "x"}})
	if err != nil {
		t.Fatal(err)
	}
	if len(out.Clusters) != 1 || *out.Clusters[0].ClusterName != "default" || len(out.Failures) != 1 || *out.Failures[0].Reason != "MISSING" {
		t.Errorf("got %+v", out)
	}
	if _, err := c.ecs.TagResource(t.Context(), &ecs.TagResourceInput{ResourceArn: aws.String("a"), Tags: []ecstypes.Tag{}}); err != nil {
		t.Errorf("nil output: %v", err)
	}
}

func TestTypedErrors(t *testing.T) {
	c := dialProviders(t)
	ctx := t.Context()

	_, err := c.ecs.RunTask(ctx, &ecs.RunTaskInput{Cluster: aws.String("x"), TaskDefinition: aws.String("t")})
	var notFound *ecstypes.ClusterNotFoundException
	if !errors.As(err, &notFound) || notFound.ErrorMessage() != "Cluster not found." {
		t.Errorf("got %v, want ClusterNotFoundException", err)
	}
	_, err = c.ecs.RunTask(ctx, &ecs.RunTaskInput{TaskDefinition: aws.String("t")})
	var conflict *ecstypes.ConflictException
	if !errors.As(err, &conflict) || !slices.Equal(conflict.ResourceIds, []string{"arn:1", "arn:2"}) || conflict.ErrorMessage() != "token" {
		t.Errorf("got %v, want ConflictException with its resources", err)
	}
	_, err = c.ecs.DeleteCluster(ctx, &ecs.DeleteClusterInput{Cluster: aws.String("x")})
	var server *ecstypes.ServerException
	if !errors.As(err, &server) || server.ErrorFault().String() != "server" {
		t.Errorf("got %v, want ServerException", err)
	}
	_, err = c.ecs.CreateCluster(ctx, &ecs.CreateClusterInput{Tags: []ecstypes.Tag{{Key: aws.String(strings.Repeat("k", 129))}}})
	var invalid *ecstypes.InvalidParameterException
	if !errors.As(err, &invalid) || !strings.HasPrefix(invalid.ErrorMessage(), "1 validation error detected: Value 'kkk") {
		t.Errorf("got %v, want InvalidParameterException", err)
	}

	_, err = c.logs.CreateLogGroup(ctx, &cloudwatchlogs.CreateLogGroupInput{LogGroupName: aws.String("g")})
	var exists *logstypes.ResourceAlreadyExistsException
	if !errors.As(err, &exists) || exists.ErrorMessage() != "The specified log group already exists" {
		t.Errorf("got %v, want ResourceAlreadyExistsException", err)
	}
	events := []logstypes.InputLogEvent{{Message: aws.String("m"), Timestamp: aws.Int64(1)}}
	_, err = c.logs.PutLogEvents(ctx, &cloudwatchlogs.PutLogEventsInput{LogGroupName: aws.String("g"), LogStreamName: aws.String("s"), LogEvents: events})
	var token *logstypes.InvalidSequenceTokenException
	if !errors.As(err, &token) || aws.ToString(token.ExpectedSequenceToken) != "token-7" {
		t.Errorf("got %v, want InvalidSequenceTokenException with the token", err)
	}
}

func TestCodes(t *testing.T) {
	c := dialProviders(t)
	ctx := t.Context()
	calls := []struct {
		code, message string
		call          func() error
	}{
		{"InvalidSubnetID.NotFound", "The subnet ID 'subnet-x' does not exist", func() error {
			_, err := c.ec2.DescribeSubnets(ctx, &ec2.DescribeSubnetsInput{SubnetIds: []string{"subnet-x"}})
			return err
		}},
		{"InvalidParameterValue", "Value ( 1001 ) for parameter maxResults is invalid. Expecting a value smaller than 1000.", func() error {
			_, err := c.ec2.DescribeVpcs(ctx, &ec2.DescribeVpcsInput{MaxResults: aws.Int32(1001)})
			return err
		}},
		{"NotImplemented", "ec2:DescribeVpcs is not implemented by this server", func() error {
			_, err := c.ec2.DescribeVpcs(ctx, &ec2.DescribeVpcsInput{Filters: []ec2types.Filter{{Name: aws.String("a"), Values: []string{"b"}}}})
			return err
		}},
		{"InvalidAction", "The action DeleteKeyPair is not valid for this web service.", func() error {
			_, err := c.ec2.DeleteKeyPair(ctx, &ec2.DeleteKeyPairInput{KeyName: aws.String("k")})
			return err
		}},
		{"ExpiredToken", "The security token included in the request is expired", func() error {
			_, err := c.sts.GetCallerIdentity(ctx, &sts.GetCallerIdentityInput{})
			return err
		}},
		{"InvalidAction", "Could not find operation DecodeAuthorizationMessage for version 2011-06-15", func() error {
			_, err := c.sts.DecodeAuthorizationMessage(ctx, &sts.DecodeAuthorizationMessageInput{EncodedMessage: aws.String("x")})
			return err
		}},
		{"NotImplemented", "ecs:ListTasks is not implemented by this server", func() error {
			_, err := c.ecs.ListTasks(ctx, &ecs.ListTasksInput{})
			return err
		}},
		{"UnknownOperationException", "UnknownError", func() error { // the SDK's word for no message
			_, err := c.ecs.DiscoverPollEndpoint(ctx, &ecs.DiscoverPollEndpointInput{})
			return err
		}},
	}
	for _, tt := range calls {
		var apiErr interface {
			error
			ErrorCode() string
			ErrorMessage() string
		}
		if err := tt.call(); !errors.As(err, &apiErr) || apiErr.ErrorCode() != tt.code || apiErr.ErrorMessage() != tt.message {
			t.Errorf("got %v, want %s: %s", err, tt.code, tt.message)
		}
	}
}

// TestTables: the tables are fit for search, and every row is whole.
func TestTables(t *testing.T) {
	for _, svc := range services {
		for i, op := range svc.Operations {
			if i > 0 && svc.Operations[i-1].Name >= op.Name {
				t.Errorf("%s: %s is out of order", svc.Name, op.Name)
			}
			if got, ok := svc.Operation(op.Name); !ok || got != op {
				t.Errorf("%s: %s is not found", svc.Name, op.Name)
			}
			if op.NewInput().Schema() != op.Input || op.NewOutput().Schema() != op.Output {
				t.Errorf("%s: %s has the schemas of others", svc.Name, op.Name)
			}
			if c := op.Codes; c.Malformed == "" || c.Violation == "" || c.Missing == "" {
				t.Errorf("%s: %s lacks codes: %+v", svc.Name, op.Name, c)
			}
			if _, err := op.Invoke(t.Context(), "no provider", op.NewInput()); err == nil {
				t.Errorf("%s: %s is invoked on anything", svc.Name, op.Name)
			}
		}
		if _, ok := svc.Operation(""); ok {
			t.Errorf("%s has an operation without a name", svc.Name)
		}
	}
}
