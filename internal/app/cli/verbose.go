package cli

import (
	"context"
	"encoding/json"
	"reflect"
	"strings"
	"unicode"

	awsmiddleware "github.com/aws/aws-sdk-go-v2/aws/middleware"
	"github.com/aws/smithy-go/middleware"
	"github.com/spf13/cobra"
)

// verboseFlag adds -v to a command that changes something.
func verboseFlag(e *environment, cmd *cobra.Command) {
	cmd.Flags().BoolVarP(&e.verbose, "verbose", "v", false, "print each call that changes something, as the aws CLI would make it")
}

// tellCalls makes clients say each call that changes something.
func tellCalls(p *printer) func(*middleware.Stack) error {
	return func(stack *middleware.Stack) error {
		return stack.Initialize.Add(middleware.InitializeMiddlewareFunc("TellCalls", func(
			ctx context.Context, in middleware.InitializeInput, next middleware.InitializeHandler,
		) (middleware.InitializeOutput, middleware.Metadata, error) {
			if command := awsCommand(awsmiddleware.GetServiceID(ctx), awsmiddleware.GetOperationName(ctx), in.Parameters); command != "" {
				p.clear()
				p.say("   %s", p.paint("2", "$ "+command))
			}
			return next.HandleInitialize(ctx, in)
		}), middleware.After)
	}
}

// reading are beginnings of operations that change nothing.
var reading = []string{"Describe", "List", "Get", "Filter"} //nolint:gochecknoglobals // a constant list

// awsCommand is the aws CLI's command for a call; empty for one that only
// reads.
func awsCommand(service, operation string, input any) string {
	for _, verb := range reading {
		if strings.HasPrefix(operation, verb) {
			return ""
		}
	}
	// ECS and CloudWatch Logs name members in lower case, the others do not.
	name, rename := service, func(s string) string { return s }
	switch service {
	case "ECS":
		name, rename = "ecs", lowerFirst
	case "CloudWatch Logs":
		name, rename = "logs", lowerFirst
	case "EC2":
		name = "ec2"
	case "Elastic Load Balancing v2":
		name = "elbv2"
	case "ServiceDiscovery":
		name = "servicediscovery"
	}
	data, err := json.Marshal(shapeOf(reflect.ValueOf(input), rename))
	if err != nil {
		return ""
	}
	return "aws " + name + " " + kebab(operation) + " --cli-input-json " + quoteSh(string(data))
}

// kebab turns CreateService into create-service.
func kebab(name string) string {
	var b strings.Builder
	for i, r := range name {
		if unicode.IsUpper(r) && i > 0 {
			b.WriteByte('-')
		}
		b.WriteRune(unicode.ToLower(r))
	}
	return b.String()
}
