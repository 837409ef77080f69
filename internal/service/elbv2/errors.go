package elbv2

import (
	"fmt"
	"net/http"

	"berth.dev/berth/internal/wire/smithy"
)

// Codes of errors. The service's model gives them on exceptions without
// members, so the text can be ours to write.
const (
	codeValidation             = "ValidationError"
	codeAllocationIDNotFound   = "AllocationIdNotFound"
	codeCertificateNotFound    = "CertificateNotFound"
	codeDuplicateListener      = "DuplicateListener"
	codeDuplicateLoadBalancer  = "DuplicateLoadBalancerName"
	codeDuplicateTagKeys       = "DuplicateTagKeys"
	codeDuplicateTargetGroup   = "DuplicateTargetGroupName"
	codeIncompatibleProtocols  = "IncompatibleProtocols"
	codeInvalidAction          = "InvalidLoadBalancerAction"
	codeInvalidConfiguration   = "InvalidConfigurationRequest"
	codeInvalidSecurityGroup   = "InvalidSecurityGroup"
	codeInvalidSubnet          = "InvalidSubnet"
	codeInvalidTarget          = "InvalidTarget"
	codeListenerNotFound       = "ListenerNotFound"
	codeLoadBalancerNotFound   = "LoadBalancerNotFound"
	codeOperationNotPermitted  = "OperationNotPermitted"
	codePriorityInUse          = "PriorityInUse"
	codeResourceInUse          = "ResourceInUse"
	codeRuleNotFound           = "RuleNotFound"
	codeSSLPolicyNotFound      = "SSLPolicyNotFound"
	codeSubnetNotFound         = "SubnetNotFound"
	codeTargetGroupAssociation = "TargetGroupAssociationLimit"
	codeTargetGroupNotFound    = "TargetGroupNotFound"
	codeTooManyActions         = "TooManyActions"
	codeTooManyCertificates    = "TooManyCertificates"
	codeTooManyListeners       = "TooManyListeners"
	codeTooManyLoadBalancers   = "TooManyLoadBalancers"
	codeTooManyRules           = "TooManyRules"
	codeTooManyTags            = "TooManyTags"
	codeTooManyTargetGroups    = "TooManyTargetGroups"
	codeTooManyTargets         = "TooManyTargets"
	codeTooManyUniqueGroups    = "TooManyUniqueTargetGroupsPerLoadBalancer"
	codeUnsupportedProtocol    = "UnsupportedProtocol"
)

func failure(code, format string, args ...any) error {
	return smithy.NewError(http.StatusBadRequest, code, fmt.Sprintf(format, args...))
}

// invalid is the refusal of a value.
func invalid(format string, args ...any) error { return failure(codeValidation, format, args...) }

// unsupported refuses what AWS does and Berth cannot do yet: accepted, it would
// have no effect.
func unsupported(what string) error {
	return failure(codeOperationNotPermitted, "Berth does not support %s yet.", what)
}
