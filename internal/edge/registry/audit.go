package registry

import (
	"context"
	"strings"
	"time"

	"github.com/distribution/distribution/v3/registry/api/errcode"

	"berth.dev/berth/internal/edge/gateway"
	"berth.dev/berth/internal/wire/api/ecrapi"
	"berth.dev/berth/internal/wire/smithy"
)

// auditTimeout bounds how long an answer waits for its record.
const auditTimeout = 10 * time.Second

// audit records a push, a pull, a deletion or a refusal, in the words of the API
// operation that it is. A node's pulls are recorded where its role is asked.
func (c *call) audit(operation, digest string, p problem) {
	if c.Auditor == nil || c.inner {
		return
	}
	if operation == "" {
		operation = "BatchGetImage"
		if do, ok := c.handlers()[c.route+" "+c.r.Method]; ok {
			operation = strings.TrimPrefix(do.action, "ecr:")
		}
	}
	record := gateway.AuditRecord{
		Time: c.start, RequestID: c.id, Caller: c.who, Service: ecrapi.API, SigningName: "ecr", Asked: operation,
		Input: c.input(operation, digest), TLS: c.r.TLS, Host: shorten(c.r.Host),
	}
	record.Operation, _ = ecrapi.API.Operation(operation)
	if p.status != 0 {
		record.ErrorCode, record.ErrorMessage, record.ReadOnly = p.said.Code.String(), p.said.Message, true
		if p.said.Code == errcode.ErrorCodeDenied {
			record.ErrorCode = "AccessDeniedException"
		}
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(c.r.Context()), auditTimeout)
	defer cancel()
	c.Auditor.Record(ctx, record)
}

// input is what the API operation would have been asked.
func (c *call) input(operation, digest string) smithy.Shape {
	if c.name == "" {
		return nil
	}
	var id ecrapi.ImageIdentifier
	if digest != "" {
		id.ImageDigest = &digest
	}
	if c.rest != "" && !strings.Contains(c.rest, ":") {
		id.ImageTag = &c.rest
	}
	switch operation {
	case "PutImage":
		return &ecrapi.PutImageInput{RepositoryName: &c.name, ImageTag: id.ImageTag, ImageDigest: id.ImageDigest}
	case "BatchGetImage":
		return &ecrapi.BatchGetImageInput{RepositoryName: &c.name, ImageIds: []ecrapi.ImageIdentifier{id}}
	case "BatchDeleteImage":
		return &ecrapi.BatchDeleteImageInput{RepositoryName: &c.name, ImageIds: []ecrapi.ImageIdentifier{id}}
	}
	return nil
}
