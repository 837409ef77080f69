# Everything that a developer or a new user types. `make help` lists it.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

GO      ?= go
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo devel)
LDFLAGS := -s -w -X berth.dev/berth/internal/app/cli.version=$(VERSION)
HELPER  := internal/agent/helper/bin/berth-helper

# What Berth runs on (containerd, runc, HAProxy, nftables, iptables for hosts with
# Docker, iproute2, mkfs.xfs for EBS volumes), and what its race-detected tests build with (gcc).
DEBIAN_RUN  := containerd runc haproxy nftables iptables iproute2 procps xfsprogs
DEBIAN_TEST := gcc libc6-dev
GOLANGCI    := github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0
GOVULNCHECK := golang.org/x/vuln/cmd/govulncheck@v1.9.0
GITLEAKS    := github.com/zricethezav/gitleaks/v8@v8.30.1
MODELS      ?= ../shared/models
SUDO        := $(shell [ "$$(id -u)" = 0 ] || echo sudo)

.PHONY: help
help: ## List the targets
	@awk -F':.*## ' '/^[a-z-]+:.*## / {printf "  %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: demo
demo: run-deps build sample ## Start Berth here and watch it run a real task, from nothing
	@$(SUDO) ./examples/demo.sh

.PHONY: build
build: $(HELPER) ## Build bin/berth
	@mkdir -p bin
	@CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o bin/berth ./cmd/berth

# The helper is embedded in berth: containers' output and init outlive the agent.
.PHONY: $(HELPER)
$(HELPER):
	@CGO_ENABLED=0 $(GO) build -trimpath -ldflags '-s -w' -o $@ ./cmd/berth-helper

.PHONY: sample
sample: ## Build bin/my-app.tar, the images of the demo, as docker save would write them
	@mkdir -p bin
	@$(GO) run ./test/images/cmd/sample -o bin/my-app.tar

.PHONY: test
test: run-deps test-deps $(HELPER) ## Run every test, as root for containers and networks
	@$(SUDO) env "PATH=$$PATH" "HOME=$$HOME" ./test/run.sh

.PHONY: bench
bench: run-deps build ## Measure launches, reads and idle cost; prints what docs/BENCHMARKS.md holds
	@$(SUDO) env "PATH=$$PATH" "HOME=$$HOME" $(GO) run ./test/bench

.PHONY: lint
lint: ## Run golangci-lint, govulncheck and gitleaks (built into bin/ from the module proxy)
	@[ -x bin/golangci-lint ] || GOBIN=$(CURDIR)/bin $(GO) install $(GOLANGCI)
	@[ -x bin/govulncheck ] || GOBIN=$(CURDIR)/bin $(GO) install $(GOVULNCHECK)
	@[ -x bin/gitleaks ] || GOBIN=$(CURDIR)/bin $(GO) install $(GITLEAKS)
	bin/golangci-lint run ./...
	bin/gitleaks git --no-banner --redact .
	bin/govulncheck ./...

.PHONY: generate
generate: ## Generate the API packages from the models and the node protocol from its .proto
	cd tools/apigen && $(GO) run . -models $(abspath $(MODELS)) -scope scope -out $(CURDIR)/internal/wire/api
	@if command -v protoc >/dev/null; then \
	  GOBIN=$(CURDIR)/bin $(GO) install google.golang.org/protobuf/cmd/protoc-gen-go@v1.36.12; \
	  GOBIN=$(CURDIR)/bin $(GO) install google.golang.org/grpc/cmd/protoc-gen-go-grpc@v1.6.2; \
	  cd internal/wire/nodeapi && PATH=$(CURDIR)/bin:$$PATH protoc --go_out=. --go_opt=paths=source_relative --go-grpc_out=. --go-grpc_opt=paths=source_relative node.proto; \
	else echo 'protoc is not installed (Debian: protobuf-compiler): the node protocol was left as it is'; fi

.PHONY: run-deps
run-deps:
	@./tools/debian-packages.sh $(DEBIAN_RUN)

.PHONY: test-deps
test-deps:
	@./tools/debian-packages.sh $(DEBIAN_TEST)

.PHONY: clean
clean: ## Remove what was built
	rm -rf bin $(HELPER)
