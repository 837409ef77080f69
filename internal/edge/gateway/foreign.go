package gateway

import (
	"context"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"berth.dev/berth/internal/base/arn"
	"berth.dev/berth/internal/wire/awsquery"
	"berth.dev/berth/internal/wire/caller"
	"berth.dev/berth/internal/wire/sigv4"
	"berth.dev/berth/internal/wire/smithy"
)

// Services of AWS that Berth does not have. SDKs send their calls here once
// AWS_ENDPOINT_URL is set, as it is inside tasks. They are authenticated, and
// authorized where the request tells the action and its resource, so that a
// missing permission looks as on AWS; then they hear, in an error that their SDK
// can read, that the service is not here.

// notHere is that error.
func (rs routes) notHere(name string) error {
	return smithy.NewError(http.StatusNotImplemented, "NotImplemented", fmt.Sprintf(
		"Berth does not have %s. This endpoint serves: %s. To reach %[1]s elsewhere, give its client an endpoint of its own, such as by AWS_ENDPOINT_URL_<SERVICE>.",
		shorten(name), strings.Join(rs.names, ", ")))
}

// restXML are the services that speak REST with XML, by their signing names.
// All others without a target or an Action are taken to speak JSON.
var restXML = []string{"s3", "s3express", "s3-outposts", "route53", "cloudfront"}

// isS3 reports whether a service signs as S3 does: the path as it is sent, and
// the body not always.
func isS3(service string) bool { return strings.HasPrefix(service, "s3") }

// plainXML writes errors as S3 does: <Error> is the whole document.
type plainXML struct{ smithy.Protocol }

func xmlErrors() smithy.Protocol { return plainXML{awsquery.Query()} }

// EncodeError implements smithy.Protocol.
func (plainXML) EncodeError(w http.ResponseWriter, _ *smithy.Service, err smithy.APIError, requestID string) error {
	body, marshalErr := xml.Marshal(struct {
		XMLName   xml.Name `xml:"Error"`
		Code      string
		Message   string
		RequestID string `xml:"RequestId"`
	}{Code: err.ErrorCode(), Message: err.ErrorMessage(), RequestID: requestID})
	if marshalErr != nil {
		return fmt.Errorf("encode error: %w", marshalErr)
	}
	w.Header().Set("Content-Type", "application/xml")
	w.Header().Set("x-amz-request-id", requestID)
	w.WriteHeader(err.HTTPStatus())
	_, writeErr := w.Write(append([]byte(xml.Header), body...))
	return writeErr
}

// foreign answers a verified call to a service that is not here.
func (c *call) foreign(body []byte) error {
	action, resource, ok := foreignAction(c.r, body, c.claim.Scope, c.caller.AccountID)
	if !ok {
		return c.route.err
	}
	ctx := caller.With(c.r.Context(), c.caller)
	if err := c.guard(ctx, action, resource); err != nil {
		return err
	}
	return c.route.err
}

func (c *call) guard(ctx context.Context, action, resource string) error {
	return c.g.authorizer.Check(ctx, action, resource, nil)
}

// foreignAction is what a call to S3 or DynamoDB asks for, the two services
// that task roles are mostly made for. ok is false when the request does not
// tell: then nothing is checked, since nothing will be done.
func foreignAction(r *http.Request, body []byte, scope sigv4.Scope, account string) (action, resource string, ok bool) {
	switch scope.Service {
	case "s3":
		return s3Action(r)
	case "dynamodb":
		_, operation := splitTarget(r.Header.Get("X-Amz-Target"))
		var in struct{ TableName string }
		if operation == "" || json.Unmarshal(body, &in) != nil || in.TableName == "" {
			return "", "", false
		}
		table := in.TableName
		if !arn.Is(table) {
			table = arn.ARN{Partition: "aws", Service: "dynamodb", Region: scope.Region, AccountID: account, Resource: "table/" + table}.String()
		}
		return "dynamodb:" + operation, table, true
	}
	return "", "", false
}

// s3Action reads method and path: /bucket/key. A request with a sub-resource,
// such as ?acl, has an action of its own and is left alone.
func s3Action(r *http.Request) (action, resource string, ok bool) {
	for name := range r.URL.Query() {
		if !slices.Contains(s3Parameters, name) && !strings.HasPrefix(name, "X-Amz-") && !strings.HasPrefix(name, "response-") {
			return "", "", false
		}
	}
	bucket, key, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	verbs := map[string]string{"GET": "s3:GetObject", "HEAD": "s3:GetObject", "PUT": "s3:PutObject", "POST": "s3:PutObject", "DELETE": "s3:DeleteObject"}
	resource = "arn:aws:s3:::" + bucket + "/" + key
	switch {
	case bucket == "":
		verbs, resource = map[string]string{"GET": "s3:ListAllMyBuckets"}, "*"
	case key == "":
		verbs = map[string]string{"GET": "s3:ListBucket", "HEAD": "s3:ListBucket", "PUT": "s3:CreateBucket", "DELETE": "s3:DeleteBucket"}
		resource = "arn:aws:s3:::" + bucket
	}
	action = verbs[r.Method]
	return action, resource, action != ""
}

// s3Parameters do not change what a request asks for.
var s3Parameters = []string{
	"list-type", "prefix", "delimiter", "max-keys", "continuation-token", "start-after", "encoding-type",
	"fetch-owner", "marker", "max-buckets", "bucket-region", "partNumber", "uploadId", "x-id",
}
