# Everything that is done with this repository; "make" alone lists it.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

GO    ?= go
TOOLS := bin/tools
FUZZTIME  ?= 20s
BENCHTIME ?= 1s
SHELL_SCRIPTS = .ci/run $(shell find contrib -name '*.sh')

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z][a-z0-9-]*:.*## / { printf "  make %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: quickstart
quickstart: build ## from nothing to a shell in a container of your own, on this machine
	@contrib/quickstart/quickstart.sh

.PHONY: quickstart-down
quickstart-down: ## remove all that quickstart made, and nothing else
	@contrib/quickstart/quickstart.sh down

.PHONY: build
build: ## build bin/containarium
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags "-s -w" -o bin/containarium ./cmd/containarium

.PHONY: man
man: ## write a man page for each command into bin/man
	$(GO) run ./cmd/containarium man bin/man

.PHONY: packages
packages: $(TOOLS)/nfpm ## the .deb and the .rpm into bin/packages, the same bytes for the same commit
	@contrib/packaging/build.sh bin/packages

.PHONY: test
test: ## all tests that this machine can run; says at the end what it could not, and why
	@GOALS="$(MAKECMDGOALS)" contrib/test/test.sh

.PHONY: e2e
e2e: build ## the real thing, by root on Linux: containers, SSH, limits, failures, on an Incus of its own
	@contrib/test/e2e.sh

.PHONY: bench-incus
bench-incus: build ## time from create to SSH against a plain launch of the same image, by root on Linux
	@contrib/test/e2e.sh bench

.PHONY: bench-list
bench-list: build ## time ls against incus list over 1,000 containers, by root on Linux
	$(GO) run ./contrib/bench/list

.PHONY: lint
lint: $(TOOLS)/golangci-lint $(TOOLS)/buf check-generate lint-certificates terraform-check openapi-check ## Go, shell and proto files by the rules, generated code up to date
	$(TOOLS)/golangci-lint run --allow-parallel-runners ./...
	$(TOOLS)/golangci-lint fmt --diff
	shellcheck -x $(SHELL_SCRIPTS)
	shellcheck -s sh incusx/*.sh
	shellcheck -s bash cmd/containarium/completion/*.bash
	$(TOOLS)/buf lint proto
	$(MAKE) breaking

.PHONY: lint-certificates
lint-certificates: ## every kind of certificate and revocation list that the CA makes, by zlint
	@work=$$(mktemp -d); trap 'rm -rf "$$work"' EXIT; \
	CONTAINARIUM_PKI_CORPUS="$$work" $(GO) test -count=1 -run '^TestCorpus$$' ./pki ./pki/pkitest >/dev/null; \
	cd tools/zlint && $(GO) run . "$$work"

.PHONY: terraform-check
terraform-check: ## the Terraform modules: format, references, variables and what they take, without a provider
	cd tools/terraform && $(GO) vet ./... && $(GO) test -count=1 ./... && $(GO) run . ../../contrib/terraform
	@if command -v terraform >/dev/null; then \
		TF_CLI_CONFIG_FILE= terraform fmt -check -diff -recursive contrib/terraform; \
	else \
		echo "NOT RUN: terraform fmt -check, and the variables by Terraform itself: put terraform into PATH, then make terraform-check"; \
	fi

.PHONY: openapi-check
openapi-check: ## the OpenAPI document, by a validator
	cd tools/openapi && $(GO) vet ./... && $(GO) test -count=1 ./... && $(GO) run . ../../daemon/gateway/openapi.swagger.json

.PHONY: fuzz
fuzz: ## every fuzz target for FUZZTIME (20s)
	@for package in $$($(GO) list ./...); do \
		for target in $$($(GO) test -list '^Fuzz' "$$package" | grep '^Fuzz' || true); do \
			echo "$$package $$target"; \
			$(GO) test -run '^$$' -fuzz "^$$target$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 200x "$$package"; \
		done; \
	done

.PHONY: bench
bench: ## figures of what is fast or slow, as ratios to a peer in the same run
	$(GO) test -run '^$$' -bench . -benchtime $(BENCHTIME) ./...

.PHONY: fmt
fmt: $(TOOLS)/golangci-lint ## format the Go files
	$(TOOLS)/golangci-lint fmt

.PHONY: generate
generate: $(TOOLS)/buf ## make the Go code, the HTTP side and the OpenAPI document of the API from proto/
	$(TOOLS)/buf generate --template proto/buf.gen.yaml

.PHONY: check-generate
check-generate: $(TOOLS)/buf ## fail where the generated code is not what proto/ gives
	@work=$$(mktemp -d); trap 'rm -rf "$$work"' EXIT; \
	$(TOOLS)/buf generate --template proto/buf.gen.yaml -o "$$work"; \
	generated() { find proto daemon/gateway -name '*.pb.go' -o -name '*.pb.gw.go' -o -name '*.swagger.json' | sort | xargs sha256sum; }; \
	diff <(cd "$$work" && generated) <(generated) >/dev/null || \
		{ echo "what is generated from proto/ is not what it gives now: run make generate, and commit what it changes" >&2; exit 1; }

.PHONY: breaking
breaking: $(TOOLS)/buf ## fail where the API would break clients or daemons of the release before
	$(TOOLS)/buf breaking proto --against "$$(contrib/test/previous.sh)"

.PHONY: previous
previous: $(TOOLS)/buf ## take the API as it is for that of the release before; after a release
	$(TOOLS)/buf build proto --exclude-source-info -o proto/testdata/previous.binpb

.PHONY: clean
clean: ## remove what was built here
	rm -rf bin

# The tools are built from modules of their own, so that the product's go.mod
# knows nothing of them, and again when their version changes.
$(TOOLS)/golangci-lint: tools/golangci-lint/go.mod
	cd tools/golangci-lint && $(GO) build -o ../../$@ github.com/golangci/golangci-lint/v2/cmd/golangci-lint

$(TOOLS)/buf: tools/buf/go.mod
	cd tools/buf && $(GO) build -o ../../$@ github.com/bufbuild/buf/cmd/buf

$(TOOLS)/grpcurl: tools/grpcurl/go.mod
	cd tools/grpcurl && $(GO) build -o ../../$@ github.com/fullstorydev/grpcurl/cmd/grpcurl

$(TOOLS)/nfpm: tools/nfpm/go.mod
	cd tools/nfpm && $(GO) build -o ../../$@ github.com/goreleaser/nfpm/v2/cmd/nfpm
