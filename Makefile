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
HELM := $(TOOLS)/helm
KUBE_API_LINTER := $(TOOLS)/golangci-lint-kube-api-linter

# npm writes this file at the end of an installation.
E2E_MODULES := hack/suites/e2e/node_modules/.package-lock.json

# The gateways of the tests that Debian does not have.
CADDY := $(BIN)/gateways/caddy
TRAEFIK := $(BIN)/gateways/traefik
# Traefik as a pod of the test node.
TRAEFIK_IMAGE := $(BIN)/cluster/images/traefik-test.oci.tar
# Prometheus as a pod of the test node, alone in its folder.
PROMETHEUS := $(BIN)/cluster/prometheus/prometheus
PROMETHEUS_IMAGE := $(BIN)/cluster/images/prometheus-test.oci.tar
# A part of Traefik's source that its build changes.
LEGO := $(BIN)/gateways/lego/go.mod

# KUBEBUILDER_ASSETS names a folder with control plane binaries to use instead of building them.
KUBE := $(if $(KUBEBUILDER_ASSETS),,$(BIN)/kube/kube)

##@ Try and test

.PHONY: help
help: ## List the targets
	@awk 'BEGIN {FS = ":.*## "} /^##@/ {printf "\n%s\n", substr($$0, 5)} /^[a-z0-9-]+:.*## / {printf "  %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: demo
demo: $(KUBE) prerequisites ## Run the main job on a real API server and through a real nginx, until Ctrl-C
	@go build -o $(BIN)/demo ./hack/suites/demo
	@exec $(BIN)/demo

.PHONY: demo-check
demo-check: $(KUBE) prerequisites ## Run the demo unattended: check every step, then exit
	@go build -o $(BIN)/demo ./hack/suites/demo
	@exec $(BIN)/demo --check

.PHONY: docs-check
docs-check: $(KUBE) prerequisites ## Run every command of README.md and docs on a real API server, and apply every manifest in them
	@go run ./hack/suites/docs

.PHONY: test
test: $(KUBE) prerequisites $(GOTESTSUM) ## Run all tests, those with more than one goroutine with the race detector, on a real API server and nginx
	$(GOTESTSUM) --format pkgname --format-hide-empty-pkg --post-run-command "bash hack/tools/count.sh" --raw-command -- hack/tools/test.sh

.PHONY: e2e
e2e: e2e-gateways e2e-clients ## Run the end-to-end tests: every gateway, curl, a Jira client library and a real browser

.PHONY: e2e-clients
e2e-clients: $(KUBE) $(GOTESTSUM) browser $(E2E_MODULES) ## Run the end-to-end tests with curl, a Jira client library and a real browser
	@echo "The installation starts once (about 20 seconds). About 100 steps follow in 3 minutes. Screenshots go to $(BIN)/screenshots."
	@rm -rf $(BIN)/screenshots
	$(GOTESTSUM) --format testname --post-run-command "bash hack/tools/count.sh" -- -tags e2e -count 1 -timeout 15m ./hack/suites/e2e

.PHONY: e2e-gateways
e2e-gateways: $(KUBE) $(CADDY) $(TRAEFIK) prerequisites ## Send one table of requests through every gateway, and count the cases of each
	@cd hack/suites/gateways && go test -race -count 1 -timeout 15m

.PHONY: cluster
cluster: cluster-possible $(KUBE) node ## Run operator, nginx and a fake Jira as pods on a node of this machine (Linux, root), until cluster-down
	@exec $(BIN)/cluster/cluster up

.PHONY: cluster-down
cluster-down: $(BIN)/cluster/cluster ## Remove the node of `make cluster` with all that it has made
	@$(BIN)/cluster/cluster down

# SHORT='-short -run TestDefault' leaves out all but config/default, the demo's steps, NetworkPolicies and the removal.
.PHONY: cluster-check
cluster-check: cluster-possible $(KUBE) node $(if $(SHORT),,$(HELM) $(TRAEFIK_IMAGE)) $(GOTESTSUM) ## Test every way to install, updates, faults and removal on a node of this machine (Linux, root)
	$(GOTESTSUM) --format testname --post-run-command "bash hack/tools/count.sh" -- -tags cluster -count 1 -timeout 60m $(SHORT) ./hack/suites/cluster

.PHONY: test-long
test-long: $(KUBE) prerequisites $(GOTESTSUM) ## Run the tests that take long (two hours): outages, two leaders, random operations, stops, restarts, timing, alerts on a node
	$(GOTESTSUM) --format standard-verbose --post-run-command "bash hack/tools/count.sh" -- -tags $(LONG) -run '^TestLong' -count 1 -p 1 -timeout 3h ./...

# Without CLUSTER=unavailable, as in .ci/run, the node of `make cluster-check` runs too.
ifeq ($(CLUSTER),unavailable)
test-long: LONG := long
test-long: export NOT_RUN := the alerts on a node (TestLongAlerts): CLUSTER=unavailable is set
else
test-long: LONG := long,cluster
test-long: cluster-possible $(PROMETHEUS_IMAGE)
endif

.PHONY: test-oldest
test-oldest: $(BIN)/kube-oldest/kube $(GOTESTSUM) ## Run the tests with an API server on the oldest version of Kubernetes that is supported, and the demo on it
	KUBEBUILDER_ASSETS=$(CURDIR)/$(<D) $(GOTESTSUM) --format pkgname --format-hide-empty-pkg --post-run-command "bash hack/tools/count.sh" -- \
		-count 1 -timeout 15m ./api/... ./config/... ./controllers/... ./internal/... ./webhook/...
	KUBEBUILDER_ASSETS=$(CURDIR)/$(<D) $(MAKE) demo-check

.PHONY: model
model: ## Check the protocol of making tokens against stopping them in every interleaving, with spin
	@hack/tools/prerequisites.sh spin=spin gcc=gcc,libc6-dev
	@echo "Checking hack/suites/model with spin (half a minute)."
	@hack/suites/model/check.sh $(BIN)/model

.PHONY: fuzz
fuzz: ## Run each fuzz target for 60 seconds
	hack/tools/fuzz.sh 60s

.PHONY: fuzz-long
fuzz-long: ## Run each fuzz target for an hour
	hack/tools/fuzz.sh 1h

##@ Develop

# Tests that need an API server are skipped by -short. Where all of them do, the package is left out.
UNIT := ./cmd/... ./controllers/... ./internal/... ./webhook/... ./hack/lib/... ./hack/tools/...

.PHONY: test-unit
test-unit: ## Run the tests that need no API server, nginx or browser (seconds, once compiled)
	go test -short $(UNIT)

.PHONY: build
build: ## Build the operator into bin/
	hack/release/build.sh -trimpath -o $(BIN)/
	go build -trimpath -o $(BIN)/ ./cmd/kubectl-apitoken

# The tag of the image. The manifests in config name `dev`.
VERSION ?= dev
# Where a release says that its image is.
IMAGE ?= apitokens.dev/apitoken-operator
# Where a release says that its files are.
DOWNLOAD ?= https://apitokens.dev/releases/$(VERSION)

.PHONY: image
image: ## Build the image for amd64 and arm64 into bin/dist, without a container engine (VERSION=dev)
	@hack/release/image.sh $(VERSION) $(BIN)/dist

.PHONY: chart
chart: $(KUBE) ## Write the Helm chart to bin/chart (VERSION=dev)
	@rm -rf $(BIN)/chart
	@hack/release/chart.sh $(VERSION) $(BIN)/chart

.PHONY: chart-check
chart-check: $(KUBE) ## Render the chart with Helm's engine, and compare it with the kustomizations
	go test -C hack/tools/chart .

.PHONY: alerts-check
alerts-check: ## Check alerts and dashboard with Prometheus' own promtool: each alert fires in its drill, and no other does
	go test -C hack/tools/promtool .

.PHONY: scanners-check
scanners-check: ## Try the rules of config/scanners with gitleaks itself
	go test -C hack/tools/gitleaks .

.PHONY: release
release: $(KUBE) ## Write a release of the last commit to bin/dist: images, manifests, CRDs, the plugin, SBOM, licences, checksums (VERSION=v1.2.3)
	@rm -rf $(BIN)/dist
	@IMAGE=$(IMAGE) DOWNLOAD=$(DOWNLOAD) hack/release/release.sh $(VERSION) $(BIN)/dist

.PHONY: release-check
release-check: $(KUBE) ## Test the packing of images and of the OLM bundle, and that two builds of the last commit are the same bytes
	CGO_ENABLED=0 go test -C hack/tools/image .
	go test -C hack/tools/bundle .
	@hack/release/check.sh amd64

.PHONY: generate
generate: $(CONTROLLER_GEN) ## Regenerate code and manifests from api/, and the PrometheusRule from its rules
	rm -rf api/v1alpha1/applyconfiguration
	$(CONTROLLER_GEN) object applyconfiguration crd paths=./api/... output:crd:dir=config/crd
	gofmt -w api
	@cd config/components/monitoring && { sed '/^spec:/q' prometheusrule.yaml; sed '/^#/d; s/^./  &/' rules.yaml; } >$(CURDIR)/$(BIN)/rule && mv $(CURDIR)/$(BIN)/rule prometheusrule.yaml

.PHONY: fmt
fmt: $(GOLANGCI_LINT) ## Format the code
	$(GOLANGCI_LINT) fmt

.PHONY: lint
lint: $(GOLANGCI_LINT) $(KUBE_API_LINTER) ## Run the linters: of the code, of its imports and of the API
	go vet ./...
	$(GOLANGCI_LINT) run
	$(KUBE_API_LINTER) run --config .golangci-kal.yml ./api/...

.PHONY: bench
bench: ## Measure speed and cost next to programs that do the least, print a table, and write bin/bench.json (some minutes, idle machine)
	go run ./hack/suites/bench

.PHONY: bench-quick
bench-quick: ## The same for the decision alone, in seconds
	go run ./hack/suites/bench -quick

.PHONY: govulncheck
govulncheck: ## Look for known vulnerabilities in what the operator calls (asks vuln.go.dev)
	go tool -modfile hack/tools/pinned/go.mod govulncheck ./...

.PHONY: mutate
mutate: ## Change the code of the decision in many small ways; fail if its tests do not notice (over an hour)
	go run ./hack/tools/mutate ./internal/authn ./internal/record ./internal/token ./internal/username ./internal/lifetime ./internal/license ./internal/authurl ./internal/pathprefix ./internal/percent

.PHONY: verify
verify: generate $(LEGO) ## Regenerate everything; fail if the result differs from the committed files
	go mod tidy -diff
	go -C hack/tools/kube mod tidy -diff
	go -C hack/tools/kube mod tidy -modfile oldest.mod -diff
	go -C hack/tools/pinned mod tidy -diff
	go -C hack/tools/pinned/golangci-lint mod tidy -diff
	go -C hack/tools/gateways/caddy mod tidy -diff
	go -C hack/tools/gateways/traefik mod tidy -diff
	go -C hack/tools/gateways/conformance mod tidy -diff
	go -C hack/tools/image mod tidy -diff
	go -C hack/tools/chart mod tidy -diff
	go -C hack/tools/bundle mod tidy -diff
	go -C hack/tools/promtool mod tidy -diff
	go -C hack/tools/gitleaks mod tidy -diff
	go -C hack/tools/node/kube mod tidy -diff
	go -C hack/tools/node/cni mod tidy -diff
	go -C hack/tools/node/coredns mod tidy -diff
	go -C hack/tools/node/netpol mod tidy -diff
	@test -z "$$(git status --porcelain)" || { git status --short; git diff; echo "Commit what was generated."; exit 1; }

.PHONY: clean
clean: ## Remove everything that was built, including the control plane
	rm -rf $(BIN) hack/suites/e2e/node_modules

##@ Build what the other targets need

.PHONY: kube
kube: $(KUBE) ## Build etcd, kube-apiserver and kubectl from Go modules, unless they exist

$(BIN)/kube/kube: hack/tools/kube/go.mod hack/tools/kube/go.sum hack/tools/kube/main.go hack/tools/kube/build.sh
	@hack/tools/kube/build.sh $(@D)

$(BIN)/kube-oldest/kube: hack/tools/kube/oldest.mod hack/tools/kube/oldest.sum hack/tools/kube/main.go hack/tools/kube/build.sh
	@hack/tools/kube/build.sh $(@D) oldest.mod

.PHONY: node
node: $(BIN)/node/debian/done ## Build what the node of `make cluster` runs, and its images
	@hack/tools/node/build.sh $(BIN)/node
	@echo "Making the images of the node."
	@hack/suites/cluster/images.sh $(BIN)/cluster/images $(BIN)/node

$(BIN)/node/debian/done: hack/tools/node/debian.sh
	@hack/tools/node/debian.sh $(@D)

.PHONY: cluster-possible
cluster-possible: $(BIN)/cluster/cluster
	@$(BIN)/cluster/cluster possible

.PHONY: $(BIN)/cluster/cluster
$(BIN)/cluster/cluster:
	@go build -o $@ ./hack/suites/cluster

$(CADDY): hack/tools/gateways/caddy/go.mod hack/tools/gateways/caddy/go.sum hack/tools/gateways/caddy/main.go
	@echo "Building Caddy for the tests of gateways (some minutes the first time)."
	go build -C hack/tools/gateways/caddy -trimpath -ldflags '-s -w' -o ../../../../$@ .

$(TRAEFIK): hack/tools/gateways/traefik/go.mod hack/tools/gateways/traefik/go.sum $(wildcard hack/tools/gateways/traefik/ext/*) $(LEGO)
	@echo "Building Traefik for the tests of gateways (some minutes the first time)."
	CGO_ENABLED=0 go build -C hack/tools/gateways/traefik -trimpath -ldflags '-s -w' -o ../../../../$@ github.com/traefik/traefik/v3/cmd/traefik

$(TRAEFIK_IMAGE): $(TRAEFIK) node
	@rm -rf $(BIN)/cluster/traefik && mkdir $(BIN)/cluster/traefik && cp $(TRAEFIK) $(BIN)/cluster/traefik/
	@$(BIN)/cluster/image -out $(@D) -name localhost/traefik -version test -folder $(BIN)/cluster/traefik /traefik

# Without its support of clouds: that is most of its code.
$(PROMETHEUS): hack/tools/promtool/go.mod hack/tools/promtool/go.sum
	@echo "Building Prometheus for the test of alerts (some minutes the first time)."
	CGO_ENABLED=0 go build -C hack/tools/promtool -trimpath -ldflags '-s -w' -tags remove_all_sd,enable_kubernetes_sd -o ../../../$@ github.com/prometheus/prometheus/cmd/prometheus

$(PROMETHEUS_IMAGE): $(PROMETHEUS) node
	@$(BIN)/cluster/image -out $(@D) -name localhost/prometheus -version test -folder $(<D) /prometheus

$(LEGO): hack/tools/gateways/traefik/lego.sh hack/tools/gateways/traefik/go.mod
	@hack/tools/gateways/traefik/lego.sh $(@D)

.PHONY: prerequisites
prerequisites: ## Install nginx, HAProxy, wget, Python and a C compiler (for the race detector), unless they exist
	@hack/tools/prerequisites.sh nginx=nginx-light haproxy=haproxy gcc=gcc,libc6-dev wget=wget python3=python3

.PHONY: browser
browser: ## Install nginx, curl, Chromium and Node.js, unless they exist
	@hack/tools/prerequisites.sh nginx=nginx-light curl=curl chromium=chromium,fonts-liberation,fonts-noto-color-emoji node=nodejs npm=npm

$(E2E_MODULES): hack/suites/e2e/package.json hack/suites/e2e/package-lock.json
	@echo "Installing the Node packages of the end-to-end tests (some seconds)."
	@npm ci --prefix $(dir $<) --ignore-scripts --no-audit --no-fund
	@touch $@

$(CONTROLLER_GEN) $(GOTESTSUM) &: hack/tools/pinned/go.mod hack/tools/pinned/go.sum
	go build -C hack/tools/pinned -trimpath -o ../../../$(TOOLS)/ tool

$(HELM): hack/tools/chart/go.mod hack/tools/chart/go.sum
	@echo "Building Helm for the tests on a node (two minutes the first time)."
	go build -C hack/tools/chart -trimpath -ldflags '-s -w' -o ../../../$@ helm.sh/helm/v3/cmd/helm

$(GOLANGCI_LINT) $(KUBE_API_LINTER) &: hack/tools/pinned/golangci-lint/go.mod hack/tools/pinned/golangci-lint/go.sum
	@echo "Building $(@F) (some minutes the first time)."
	go build -C hack/tools/pinned/golangci-lint -trimpath -o ../../../../$(TOOLS)/ tool
