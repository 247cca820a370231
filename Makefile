# `make` lists the targets.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory

BIN := bin
TOOLS := $(BIN)/tools
CONTROLLER_GEN := $(TOOLS)/controller-gen
GOTESTSUM := $(TOOLS)/gotestsum
GOLANGCI_LINT := $(TOOLS)/golangci-lint
KUBE_API_LINTER := $(TOOLS)/golangci-lint-kube-api-linter

# npm writes this file last.
E2E_MODULES := hack/suites/e2e/node_modules/.package-lock.json

# A set of control plane binaries that is there already is used as it is.
KUBE := $(if $(KUBEBUILDER_ASSETS),,$(BIN)/kube/kube)

##@ For everybody

.PHONY: help
help: ## List the targets
	@awk 'BEGIN {FS = ":.*## "} /^##@/ {printf "\n%s\n", substr($$0, 5)} /^[a-z0-9-]+:.*## / {printf "  %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: demo
demo: $(KUBE) prerequisites ## Show the main job on a real API server and through a real nginx; Ctrl-C ends it
	@go build -o $(BIN)/demo ./hack/suites/demo
	@exec $(BIN)/demo

.PHONY: demo-check
demo-check: $(KUBE) prerequisites ## The same unattended: check every step, then end
	@go build -o $(BIN)/demo ./hack/suites/demo
	@exec $(BIN)/demo --check

.PHONY: test
test: $(KUBE) prerequisites $(GOTESTSUM) ## Run all tests, with the race detector, on a real API server and nginx
	$(GOTESTSUM) --format pkgname --format-hide-empty-pkg --post-run-command "bash hack/tools/count.sh" -- -race -timeout 15m ./...

.PHONY: e2e
e2e: $(KUBE) $(GOTESTSUM) browser $(E2E_MODULES) ## Run the end-to-end tests with curl, a Jira client and a real browser
	@echo "Everything is started once (about 20 seconds); then about 100 steps follow, in 3 minutes. Screenshots go to $(BIN)/screenshots."
	@rm -rf $(BIN)/screenshots
	$(GOTESTSUM) --format testname --post-run-command "bash hack/tools/count.sh" -- -tags e2e -count 1 -timeout 15m ./hack/suites/e2e

.PHONY: test-long
test-long: $(KUBE) prerequisites $(GOTESTSUM) ## Run the tests that take minutes: outages, two leaders, random lives, restarts, timing
	$(GOTESTSUM) --format standard-verbose --post-run-command "bash hack/tools/count.sh" -- -tags long -run '^TestLong' -count 1 -p 1 -timeout 40m ./...

.PHONY: fuzz
fuzz: ## Run each fuzz target for 60 seconds
	hack/tools/fuzz.sh 60s

.PHONY: fuzz-long
fuzz-long: ## Run each fuzz target for an hour
	hack/tools/fuzz.sh 1h

##@ For developers

# Tests that need an API server are skipped by -short. Where all of them do, the package is left out.
UNIT := ./cmd/... ./controllers/... ./internal/... ./webhook/... ./hack/lib/... ./hack/tools/...

.PHONY: test-unit
test-unit: ## Run the tests that need no API server, nginx or browser (seconds, once compiled)
	go test -short $(UNIT)

.PHONY: build
build: ## Build the operator into bin/
	go build -trimpath -o $(BIN)/ ./cmd/...

.PHONY: generate
generate: $(CONTROLLER_GEN) ## Regenerate code and manifests from api/
	rm -rf api/v1alpha1/applyconfiguration
	$(CONTROLLER_GEN) object applyconfiguration crd paths=./api/... output:crd:dir=config/crd
	gofmt -w api

.PHONY: fmt
fmt: $(GOLANGCI_LINT) ## Format the code
	$(GOLANGCI_LINT) fmt

.PHONY: lint
lint: $(GOLANGCI_LINT) $(KUBE_API_LINTER) ## Run the linters: of the code, of its imports and of the API
	go vet ./...
	$(GOLANGCI_LINT) run
	$(KUBE_API_LINTER) run --config .golangci-kal.yml ./api/...

.PHONY: bench
bench: ## Run the benchmarks of the serving path
	go test -run '^$$' -bench . -benchmem ./webhook/... ./internal/...

.PHONY: mutate
mutate: ## Change the verdict in every small way, and fail if its tests do not notice (half an hour)
	go run ./hack/tools/mutate ./internal/authn ./internal/record ./internal/token ./internal/username ./internal/lifetime ./internal/license ./internal/authurl

.PHONY: verify
verify: generate ## Regenerate everything, and fail if anything differs from what is committed
	go mod tidy -diff
	go -C hack/tools/kube mod tidy -diff
	go -C hack/tools/pinned mod tidy -diff
	go -C hack/tools/pinned/golangci-lint mod tidy -diff
	@test -z "$$(git status --porcelain)" || { git status --short; git diff; echo "Commit what was generated."; exit 1; }

.PHONY: clean
clean: ## Remove everything that was built, the control plane too
	rm -rf $(BIN) hack/suites/e2e/node_modules

##@ What the others stand on

.PHONY: kube
kube: $(KUBE) ## Build etcd, kube-apiserver and kubectl from Go modules, unless they are there

$(BIN)/kube/kube: hack/tools/kube/go.mod hack/tools/kube/go.sum hack/tools/kube/main.go hack/tools/kube/build.sh
	@hack/tools/kube/build.sh $(@D)

.PHONY: prerequisites
prerequisites: ## Install nginx and a C compiler (for the race detector), unless they are there
	@hack/tools/prerequisites.sh nginx=nginx-light gcc=gcc,libc6-dev

.PHONY: browser
browser: ## Install nginx, curl, Chromium and Node.js, unless they are there
	@hack/tools/prerequisites.sh nginx=nginx-light curl=curl chromium=chromium,fonts-liberation,fonts-noto-color-emoji node=nodejs npm=npm

$(E2E_MODULES): hack/suites/e2e/package.json hack/suites/e2e/package-lock.json
	@echo "Installing what the end-to-end tests need of Node packages (some seconds)."
	@npm ci --prefix $(dir $<) --ignore-scripts --no-audit --no-fund
	@touch $@

$(CONTROLLER_GEN) $(GOTESTSUM): hack/tools/pinned/go.mod hack/tools/pinned/go.sum
	go build -C hack/tools/pinned -trimpath -o ../../../$(TOOLS)/ tool

$(GOLANGCI_LINT) $(KUBE_API_LINTER): hack/tools/pinned/golangci-lint/go.mod hack/tools/pinned/golangci-lint/go.sum
	@echo "Building $(@F) (some minutes the first time)."
	go build -C hack/tools/pinned/golangci-lint -trimpath -o ../../../../$(TOOLS)/ tool
