package main

import (
	"context"
	"crypto/sha256"
	"fmt"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/sts"
)

// answer asks AWS and writes what it says, which may be an error.
func answer(ask func(context.Context, aws.Config) (string, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), 20*time.Second)
		defer cancel()
		cfg, err := config.LoadDefaultConfig(ctx)
		text := ""
		if err == nil {
			text, err = ask(ctx, cfg)
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		fmt.Fprintln(w, text) //nolint:errcheck // the client may have gone
	}
}

func whoami(ctx context.Context, cfg aws.Config) (string, error) {
	out, err := sts.NewFromConfig(cfg).GetCallerIdentity(ctx, &sts.GetCallerIdentityInput{})
	if err != nil {
		return "", err
	}
	return aws.ToString(out.Arn), nil
}

func tasks(ctx context.Context, cfg aws.Config) (string, error) {
	out, err := ecs.NewFromConfig(cfg).ListTasks(ctx, &ecs.ListTasksInput{})
	if err != nil {
		return "", err
	}
	return strings.Join(out.TaskArns, "\n"), nil
}

// secret shows that a secret has arrived, and not what it is.
func secret(w http.ResponseWriter, r *http.Request) {
	value, found := os.LookupEnv(r.PathValue("name"))
	if !found {
		http.Error(w, "not set", http.StatusNotFound)
		return
	}
	fmt.Fprintf(w, "%x\n", sha256.Sum256([]byte(value))) //nolint:errcheck // the client may have gone
}
