# Bulkhead. "make" alone lists the targets.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

GO ?= go
# Versions of the tools; each is built from source by Go and kept in .tools under its version.
GOLANGCI_LINT_VERSION := v2.15.0
PROTOC_GEN_GO_VERSION := v1.36.12
PROTOC_GEN_GO_GRPC_VERSION := v1.6.0

TOOLS := $(CURDIR)/.tools
GOLANGCI_LINT := $(TOOLS)/golangci-lint-$(GOLANGCI_LINT_VERSION)
PROTOC_GEN_GO := $(TOOLS)/protoc-gen-go-$(PROTOC_GEN_GO_VERSION)
PROTOC_GEN_GO_GRPC := $(TOOLS)/protoc-gen-go-grpc-$(PROTOC_GEN_GO_GRPC_VERSION)

# What the targets take: make test PACKAGES=./actors/... TESTFLAGS=-v
PACKAGES ?= ./...
# Of all packages the one that takes longest goes first: it waits a lot, and others work meanwhile.
IN_ORDER = $(if $(filter ./...,$(PACKAGES)),./internal/node ./...,$(PACKAGES))
TESTFLAGS ?=
GUEST ?= dist/guest.raw
SEED ?= 1
DURATION ?= 60s
NODES ?= 1
SEEDS ?= 300
PLAN ?=
CHAOSFLAGS ?=
SIMULATEFLAGS ?=
SWAPFLAGS ?=
TIMES ?= 20
FROM ?= HEAD~1
KILLS ?= 10
BENCHFLAGS ?=
BUGS ?=

# Tests of real drivers need root: where we are not, each test program runs under sudo.
AS_ROOT := $(shell [ "$$(id -u)" = 0 ] || echo -exec "'sudo --preserve-env=HOME,PATH,CI,GOCACHE,GOMODCACHE'")

.PHONY: help
help: ## Show this list
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: demo
demo: ## Install what is missing, start a node, boot a machine in it and show it
	$(MAKE) --no-print-directory build
	scripts/demo.sh

.PHONY: cluster-demo
cluster-demo: build ## Three nodes and two hosts on this machine: kill, cut, and move a guest, as root
	scripts/cluster-demo.sh

.PHONY: test
test: ## Install what is missing and run all tests, real drivers included
	scripts/setup.sh test
	$(GO) test -timeout 20m $(AS_ROOT) $(TESTFLAGS) $(IN_ORDER)

.PHONY: race
race: ## The same under the race detector
	scripts/setup.sh race
	CGO_ENABLED=1 $(GO) test -race -timeout 45m $(AS_ROOT) $(TESTFLAGS) $(IN_ORDER)

.PHONY: check
check: lint generate-check test ## All that must be green before a change is offered

.PHONY: build
build: ## Build bin/bulkhead, the whole product in one program
	CGO_ENABLED=0 $(GO) build -trimpath -o bin/bulkhead ./cmd/bulkhead

.PHONY: lint
lint: $(GOLANGCI_LINT) ## Run the linters, and the architecture as a test
	$(GOLANGCI_LINT) run $(PACKAGES)
	$(GO) test ./internal/archtest

.PHONY: fmt
fmt: $(GOLANGCI_LINT) ## Format all Go code
	$(GOLANGCI_LINT) fmt

.PHONY: generate
generate: $(PROTOC_GEN_GO) $(PROTOC_GEN_GO_GRPC) ## Generate the Go code of the driver contract
	PROTOC_GEN_GO=$(PROTOC_GEN_GO) PROTOC_GEN_GO_GRPC=$(PROTOC_GEN_GO_GRPC) scripts/generate.sh

.PHONY: generate-check
generate-check: $(PROTOC_GEN_GO) $(PROTOC_GEN_GO_GRPC) ## Check that the generated code is what generate would make
	scripts/setup.sh generate
	PROTOC_GEN_GO=$(PROTOC_GEN_GO) PROTOC_GEN_GO_GRPC=$(PROTOC_GEN_GO_GRPC) scripts/generate.sh --check

.PHONY: lint-openapi
lint-openapi: ## Lint the API's documents with redocly and spectral (needs Node.js 20)
	api/lint-openapi.sh

.PHONY: clientgen
clientgen: ## Generate clients in Go, TypeScript and Python from the API's documents, and compile them
	api/clientgen.sh

.PHONY: operation-kit
operation-kit: ## Run every operation with a fault at every step
	$(GO) test -count=1 $(TESTFLAGS) ./actors/operationstest/...

.PHONY: attacks
attacks: ## Let a hostile driver try everything at every level; writes and prints the table of docs/security.md
	$(GO) test $(AS_ROOT) -count=1 $(TESTFLAGS) ./drivers/host/attacks -rewrite
	sed -n '/make attacks -->/,/up to here/p' docs/security.md

.PHONY: first-driver
first-driver: ## Follow docs/vendors/first-driver.md in whole, as root
	$(GO) test $(AS_ROOT) -count=1 -v -timeout=30m -run '^TestFirstDriver$$' $(TESTFLAGS) ./cmd/bulkhead -all

.PHONY: power-loss
power-loss: ## Cut the power, many times: make power-loss TIMES=20
	$(GO) test $(AS_ROOT) -count=$(TIMES) -v -timeout=120m -run PowerLoss $(TESTFLAGS) \
		./internal/node/agreement ./cluster ./persistence/badgerstore

.PHONY: simulate
simulate: ## Zones of three nodes in fake time, with faults: make simulate SEEDS=2000 SEED=1
	$(GO) test $(AS_ROOT) -count=1 -v -timeout=12h -run '^TestSimulation$$' $(TESTFLAGS) ./internal/node \
		-seed=$(SEED) -seeds=$(SEEDS) $(SIMULATEFLAGS)

.PHONY: simulate-log
simulate-log: ## Clusters of three in fake time, the log alone, with faults: make simulate-log SEEDS=20000 SEED=1
	$(GO) test -count=1 -v -timeout=12h -run '^TestSimulation$$' $(TESTFLAGS) ./cluster -seed=$(SEED) -seeds=$(SEEDS)

.PHONY: chaos
chaos: ## Random operations, kill -9, cuts, full disks: make chaos SEED=7 DURATION=60s NODES=3
	$(GO) run ./bench/chaos -seed=$(SEED) -duration=$(DURATION) -nodes=$(NODES) $(if $(PLAN),-plan=$(PLAN)) $(CHAOSFLAGS)

.PHONY: chaos-real
chaos-real: guest ## The same with real disks and guests, as root: make chaos-real SEED=7 KILLS=10
	$(GO) run ./bench/chaos -real -seed=$(SEED) -kills=$(KILLS) -workers=3 -image=$(abspath $(GUEST))

.PHONY: upgrade-test
upgrade-test: guest ## Roll three nodes from an older commit to this tree under load: make upgrade-test FROM=HEAD~1 SEED=1
	scripts/setup.sh demo
	scripts/upgrade-test.sh $(FROM) -seed=$(SEED) -duration=$(DURATION) -image=$(abspath $(GUEST))

.PHONY: swap-demo
swap-demo: guest ## Upgrade the drivers of 20 real guests under load, to a bad version too, and go back, as root
	scripts/setup.sh demo
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags="-s -w" -o bin/swapdemo ./bench/swapdemo
	bin/swapdemo -image=$(abspath $(GUEST)) $(SWAPFLAGS)

.PHONY: bugbank
bugbank: ## Plant bugs, one at a time, and see that every one is found: make bugbank BUGS=stale-read,lost-event
	$(GO) run ./bench/bugbank/plant -only=$(BUGS)

.PHONY: bench
bench: ## Measure, one JSON object per line: make bench BENCHFLAGS=-only=operations
	$(GO) run ./bench/run $(BENCHFLAGS)

.PHONY: bench-swap
bench-swap: ## Measure what it takes to have another version of a driver act, and to replace its process
	$(GO) run ./bench/run -only=swap $(BENCHFLAGS)

.PHONY: bench-etcd
bench-etcd: ## Measure durable operations, and puts, on three nodes beside three of etcd
	$(GO) build -C bench/etcd -trimpath -o $(CURDIR)/dist/etcd .
	$(GO) run ./bench/run -only=three-nodes,key-values -etcd=$(CURDIR)/dist/etcd $(BENCHFLAGS)

.PHONY: guest
guest: ## Build a small bootable guest disk: make guest GUEST=dist/guest.raw
	mkdir -p $(dir $(GUEST))
	guest/build.sh $(GUEST)

.PHONY: tools
tools: $(GOLANGCI_LINT) $(PROTOC_GEN_GO) $(PROTOC_GEN_GO_GRPC) ## Build the tools that the other targets use

.PHONY: clean
clean: ## Remove what the targets made (not the tools)
	rm -rf bin dist

# $(call tool,path,package): build a tool and keep it under a name with its version.
define tool
	mkdir -p $(1).build
	GOBIN=$(1).build GOFLAGS= $(GO) install $(2)
	mv $(1).build/* $(1)
	rmdir $(1).build
endef

$(GOLANGCI_LINT):
	$(call tool,$@,github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(GOLANGCI_LINT_VERSION))

$(PROTOC_GEN_GO):
	$(call tool,$@,google.golang.org/protobuf/cmd/protoc-gen-go@$(PROTOC_GEN_GO_VERSION))

$(PROTOC_GEN_GO_GRPC):
	$(call tool,$@,google.golang.org/grpc/cmd/protoc-gen-go-grpc@$(PROTOC_GEN_GO_GRPC_VERSION))
