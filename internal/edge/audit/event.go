package audit

import (
	"crypto/rand"
	"crypto/tls"
	"strings"
	"sync"
	"time"

	"berth.dev/berth/internal/edge/gateway"
	"berth.dev/berth/internal/wire/api/stsapi"
	"berth.dev/berth/internal/wire/caller"
	"berth.dev/berth/internal/wire/smithy"
)

const wordBytes = 1 << 10 // of a client's texts: its name, an error's message

// buffers are where records are written before they have their length.
var buffers = sync.Pool{New: func() any { return new([]byte) }}

// encode is the record of a call as CloudTrail writes it.
func (r *Recorder) encode(call *gateway.AuditRecord) string {
	p := buffers.Get().(*[]byte)
	buf := r.appendEvent((*p)[:0], call)
	message := string(buf)
	*p = buf
	buffers.Put(p)
	return message
}

func (r *Recorder) appendEvent(buf []byte, call *gateway.AuditRecord) []byte {
	buf = append(buf, `{"eventVersion":"1.11","userIdentity":`...)
	if token, ok := call.Output.(*stsapi.AssumeRoleWithWebIdentityOutput); ok {
		buf = appendWebIdentity(buf, token)
	} else {
		buf = appendIdentity(buf, &call.Caller)
	}
	buf = append(buf, `,"eventTime":"`...)
	buf = call.Time.UTC().AppendFormat(buf, time.RFC3339)
	buf = appendMember(append(buf, '"'), "eventSource", source(call))
	buf = appendMember(buf, "eventName", name(call))
	buf = appendMember(buf, "awsRegion", r.cfg.Region)
	// A service that acts for somebody has no address, but a name.
	address, agent := call.Caller.SourceIP, call.Caller.UserAgent
	if call.Caller.Service != "" {
		address, agent = call.Caller.Service, call.Caller.Service
	}
	buf = appendMember(buf, "sourceIPAddress", address)
	buf = appendMember(buf, "userAgent", agent)
	if call.ErrorCode != "" {
		buf = appendMember(buf, "errorCode", errorCode(call))
		if call.ErrorMessage != "" {
			buf = appendMember(buf, "errorMessage", call.ErrorMessage)
		}
	}
	buf = appendShape(append(buf, `,"requestParameters":`...), "requestParameters", parameters(call.Input))
	buf = appendShape(append(buf, `,"responseElements":`...), "responseElements", elements(call))
	buf = appendMember(buf, "requestID", call.RequestID)
	var id [16]byte
	rand.Read(id[:]) //nolint:errcheck // crypto/rand.Read never fails since Go 1.24
	buf = appendUUID(append(buf, `,"eventID":`...), id)
	if Reads(call.Operation) {
		buf = append(buf, `,"readOnly":true`...)
	} else {
		buf = append(buf, `,"readOnly":false`...)
	}
	buf = append(buf, `,"eventType":"AwsApiCall","managementEvent":true`...)
	buf = appendMember(buf, "recipientAccountId", r.cfg.AccountID)
	buf = append(buf, `,"eventCategory":"Management"`...)
	buf = appendTLS(buf, call)
	return append(buf, '}')
}

// appendMember appends a string member that is not the first.
func appendMember(buf []byte, name, value string) []byte {
	buf = append(append(append(buf, ',', '"'), name...), '"', ':')
	return appendString(buf, value, wordBytes)
}

// source is the service's name as CloudTrail has it.
func source(call *gateway.AuditRecord) string {
	if call.Service != nil {
		return call.Service.SigningName + ".amazonaws.com"
	}
	return call.SigningName + ".amazonaws.com"
}

func name(call *gateway.AuditRecord) string {
	if call.Operation != nil {
		return call.Operation.Name
	}
	return call.Asked
}

// errorCode is the code in CloudTrail's words: a denied call is AccessDenied
// whatever the service says, and EC2's codes tell whose fault it was.
func errorCode(call *gateway.AuditRecord) string {
	switch {
	case call.ErrorCode == "AccessDeniedException":
		return "AccessDenied"
	case call.Service != nil && call.Service.Protocol == "ec2":
		if call.ErrorCode == "InternalFailure" {
			return "Server.InternalError"
		}
		return "Client." + call.ErrorCode
	}
	return call.ErrorCode
}

// parameters is nil for an input without members, which CloudTrail shows as
// null.
func parameters(in smithy.Shape) smithy.Shape {
	if in == nil || len(in.Schema().Members) == 0 {
		return nil
	}
	return in
}

// elements is what the answer said, if it is kept: of calls that change
// something, and of those that give out credentials, whose key ids matter
// later.
func elements(call *gateway.AuditRecord) smithy.Shape {
	if call.Operation == nil || Reads(call.Operation) && !gives(call) {
		return nil
	}
	return parameters(call.Output)
}

// gives reports whether a call gives out temporary credentials.
func gives(call *gateway.AuditRecord) bool {
	return call.Service != nil && call.Service.Name == "sts" &&
		(strings.HasPrefix(call.Operation.Name, "Assume") || call.Operation.Name == "GetSessionToken" || call.Operation.Name == "GetFederationToken")
}

// appendIdentity appends who called (userIdentity).
func appendIdentity(buf []byte, who *caller.Identity) []byte {
	kind := "IAMUser"
	switch {
	case who.ARN == "" && who.Service != "":
		return append(appendMember(append(buf, `{"type":"AWSService"`...), "invokedBy", who.Service), '}')
	case who.ARN == "":
		kind = "Unknown"
	case who.Session != nil && who.Session.RoleARN != "":
		kind = "AssumedRole"
	case strings.HasSuffix(who.ARN, ":root"):
		kind = "Root"
	}
	buf = append(append(append(buf, `{"type":"`...), kind...), '"')
	for _, m := range [...]struct{ name, value string }{
		{"principalId", who.UserID}, {"arn", who.ARN}, {"accountId", who.AccountID}, {"accessKeyId", who.AccessKeyID}, {"userName", who.UserName},
	} {
		if m.value != "" {
			buf = appendMember(buf, m.name, m.value)
		}
	}
	if who.Session != nil {
		buf = appendSession(buf, who)
	}
	if who.Service != "" {
		buf = appendMember(buf, "invokedBy", who.Service)
	}
	return append(buf, '}')
}

// appendWebIdentity appends who showed the token of an issuer.
func appendWebIdentity(buf []byte, token *stsapi.AssumeRoleWithWebIdentityOutput) []byte {
	var issuer, audience, subject string
	for _, m := range [...]struct{ to, from *string }{{&issuer, token.Provider}, {&audience, token.Audience}, {&subject, token.SubjectFromWebIdentityToken}} {
		if m.from != nil {
			*m.to = *m.from
		}
	}
	buf = append(buf, `{"type":"WebIdentityUser"`...)
	buf = appendMember(buf, "principalId", issuer+":"+audience+":"+subject)
	buf = appendMember(buf, "userName", subject)
	return append(appendMember(buf, "identityProvider", issuer), '}')
}

// appendSession appends where temporary credentials come from.
func appendSession(buf []byte, who *caller.Identity) []byte {
	s := who.Session
	buf = append(buf, `,"sessionContext":{`...)
	if s.RoleARN != "" {
		buf = append(buf, `"sessionIssuer":{"type":"Role"`...)
		buf = appendMember(buf, "principalId", s.RoleID)
		buf = appendMember(buf, "arn", s.RoleARN)
		buf = appendMember(buf, "accountId", who.AccountID)
		buf = appendMember(buf, "userName", s.RoleARN[strings.LastIndexByte(s.RoleARN, '/')+1:])
		buf = append(buf, `},`...)
	}
	if s.FederatedProvider != "" {
		buf = append(buf, `"webIdFederationData":{"federatedProvider":`...)
		buf = appendString(buf, s.FederatedProvider, wordBytes)
		buf = append(buf, `,"attributes":{}},`...)
	}
	if s.SourceIdentity != "" {
		buf = append(appendString(append(buf, `"sourceIdentity":`...), s.SourceIdentity, wordBytes), ',')
	}
	buf = append(buf, `"attributes":{"creationDate":"`...)
	buf = s.IssuedAt.UTC().AppendFormat(buf, time.RFC3339)
	return append(buf, `","mfaAuthenticated":"false"}}`...)
}

// appendTLS appends how the connection was protected, if it was.
func appendTLS(buf []byte, call *gateway.AuditRecord) []byte {
	if call.TLS == nil {
		return buf
	}
	version := "TLSv1.3"
	if call.TLS.Version == tls.VersionTLS12 {
		version = "TLSv1.2"
	}
	buf = append(append(append(buf, `,"tlsDetails":{"tlsVersion":"`...), version...), '"')
	buf = appendMember(buf, "cipherSuite", tls.CipherSuiteName(call.TLS.CipherSuite))
	buf = appendMember(buf, "clientProvidedHostHeader", call.Host)
	return append(buf, '}')
}
