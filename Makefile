# The tasks of developers and of CI. `make help` lists them.

GO       ?= go
FUZZTIME ?= 30s
KILLS    ?= 200
SOAKTIME ?= 30m
COUNT    ?= 6
FIGURES  ?= figures.json

# The go command leaves packages under testdata out of "...", so they are named. Those with
# a module of their own have a target of their own.
PACKAGES := ./... $(addprefix ./,$(filter-out $(dir $(wildcard testdata/*/go.mod)),$(sort $(dir $(wildcard testdata/*/*.go)))))

# Each tool is in a folder named after its version, so a new pin installs it anew.
BIN           := $(CURDIR)/.bin
VERSITYGW     := $(BIN)/v1.8.0/versitygw
WEED_VERSION  := v0.0.0-20261109003541-7506e5f91cd6
WEED          := $(BIN)/$(WEED_VERSION)/weed
MINIO_VERSION := v0.0.0-20260212201848-7aac2a2c5b7c
MINIO         := $(BIN)/$(MINIO_VERSION)/minio
RCLONE        := $(BIN)/v1.76.0/rclone
TOFU_VERSION  := v1.12.6
TOFU          := $(BIN)/tofu-$(TOFU_VERSION)/tofu
AZURITE       := $(BIN)/azurite-3.35.0/node_modules/.bin/azurite-blob
PROMETHEUS    := $(BIN)/prometheus/usr/bin/prometheus
GOFUMPT       := $(BIN)/v0.12.0/gofumpt
STATICCHECK   := $(BIN)/v0.8.2/staticcheck
GOLANGCI_LINT := $(BIN)/v2.15.0/golangci-lint

VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null)
COMMIT  ?= $(shell git rev-parse HEAD 2>/dev/null)
LDFLAGS := -X spillway/serve.version=$(VERSION) -X spillway/serve.commit=$(COMMIT) -X spillway/serve.build=$(BUILD)

# The race detector needs a C compiler, and cgo is off where there is none.
RACE := $(if $(filter 1,$(shell $(GO) env CGO_ENABLED)),-race)

# The race detector does not watch what makes test data: it takes ten times the time there,
# and would find nothing in the program.
RACEFLAGS := $(if $(RACE),$(RACE) -gcflags=spillway/testdata/archive=-race=false -gcflags=compress/flate=-race=false)

# Without this, each program with the race detector sleeps for a second before it exits.
export GORACE := atexit_sleep_ms=0

# Where the tests find their S3 server.
export SPILLWAY_VERSITYGW := $(VERSITYGW)

# Other S3 servers, with which the nightly tests run as well. They take too long to build for
# each change: SeaweedFS takes 13 minutes of one processor, MinIO 6. Ceph's gateway is used
# if Debian's packages radosgw, ceph-mon and ceph-osd are installed.
SERVERS := $(VERSITYGW) $(WEED) $(MINIO)
full kill stores: export SPILLWAY_WEED := $(WEED)
full kill stores: export SPILLWAY_MINIO := $(MINIO)
full kill stores: export SPILLWAY_RADOSGW := $(shell command -v radosgw)

# Servers that lose objects: no test can run with them, but the table names their faults.
# Azurite needs npm.
FAULTY := $(RCLONE) $(if $(shell command -v npm),$(AZURITE))
stores: export SPILLWAY_RCLONE := $(RCLONE)
stores: export SPILLWAY_AZURITE := $(filter $(AZURITE),$(FAULTY))

.PHONY: help
help:
	@sed -n 's/^\([a-z]*\):.*## */make \1	/p' $(MAKEFILE_LIST)

.PHONY: build
build: ## the program: ./spillway
	$(GO) build -trimpath -ldflags '$(LDFLAGS)' -o spillway .

# Another version of Go makes other bytes of the same sources.
TOOLCHAIN := $(shell sed -n 's/^toolchain //p' go.mod)

.PHONY: release
release: ## archives, checksums and bills of materials of the commit, in dist; the same bytes each time
	rm -rf dist
	cd testdata/delivery/release && GOTOOLCHAIN=$(TOOLCHAIN) $(GO) run . -source $(CURDIR) -out $(CURDIR)/dist

PODMAN ?= podman

# Podman puts HEALTHCHECK only into images of Docker's format.
.PHONY: image
image: release ## container images spillway:VERSION-amd64 and -arm64 of the commit, with PODMAN (podman); fills dist first
	mkdir dist/spool
	version=$$(sed -n 's/^.*  spillway-\(.*\)-linux-amd64.tar.gz$$/\1/p' dist/SHA256SUMS) && \
	for processor in amd64 arm64; do \
		$(PODMAN) build --platform=linux/$$processor --tag=spillway:$$version-$$processor --format=docker --layers=false \
			--timestamp=$$(git log -1 --format=%ct) --build-arg=VERSION=$$version --build-arg=REVISION=$(COMMIT) \
			--file=deploy/container/Dockerfile dist || exit 1; \
	done

.PHONY: demo
demo: ## shows an upload from end to end
	$(GO) run ./testdata/demo

# The S3 server of make bucket keeps the bucket "symbols" as a folder in BUCKET.
BUCKET      ?= bucket
BUCKET_PORT ?= 7070

.PHONY: bucket
bucket: $(VERSITYGW) ## an S3 server on port 7070 with the bucket "symbols", in the folder BUCKET (bucket); see docs/getting-started.md
	mkdir -p $(BUCKET)/symbols
	ROOT_ACCESS_KEY=spillway ROOT_SECRET_KEY=spillway-secret exec $(VERSITYGW) --port 127.0.0.1:$(BUCKET_PORT) --quiet --keep-alive posix $(BUCKET)

# The tests of e2e run by themselves: they measure the program's memory, CPU and time. The
# race detector watches the program there, not its tests.
# The slowest packages start first.
SLOWEST := $(addprefix spillway/,stream serve s3sink)

.PHONY: test
test: $(VERSITYGW) ## every test, with a real S3 server; long ones as a sample, see nightly
	$(if $(RACE),,@echo 'No C compiler here: the tests run without the race detector.')
	$(GO) test $(RACEFLAGS) -timeout 20m $(TESTFLAGS) $(SLOWEST) $(filter-out %/e2e $(SLOWEST),$(shell $(GO) list $(PACKAGES)))
	SPILLWAY_RACE=$(RACE) $(GO) test -timeout 20m -parallel 4 $(TESTFLAGS) ./e2e
	cd testdata/bench/plot && $(GO) test $(TESTFLAGS) .
	cd e2e/openapi && $(GO) test -count=1 $(TESTFLAGS) .
	cd testdata/delivery/release && $(GO) test $(TESTFLAGS) .
	cd testdata/monitoring && $(GO) test -count=1 $(TESTFLAGS) .

.PHONY: full
full: $(SERVERS) ## every test at its full size: each fault of the matrix, each byte of an archive
	SPILLWAY_NIGHTLY=1 $(GO) test -timeout 60m -p 1 $(TESTFLAGS) $(PACKAGES)

NIGHTLY := delivery balancers alerts kubernetes terraform full stores fuzz kill soak writers clients

.PHONY: nightly
nightly: ## what takes too long for each change: delivery, balancers, alerts, kubernetes, terraform, full, stores, fuzz, kill, soak, writers and clients, one after the other
	@failed=; times=; \
	for target in $(NIGHTLY); do \
		echo "== make $$target"; began=$$(date +%s); \
		$(MAKE) --no-print-directory $$target && result=passed || { result=FAILED; failed="$$failed $$target"; }; \
		times="$$times$$(printf '%-10s %-6s %6d s' $$target $$result $$(($$(date +%s) - began)))\n"; \
	done; \
	printf "$$times"; \
	test -z "$$failed"

.PHONY: bench
bench: $(VERSITYGW) ## the cost of Spillway beside others; BENCHFLAGS, see go run ./testdata/bench -help
	$(GO) run ./testdata/bench $(BENCHFLAGS)

.PHONY: plots
plots: ## draws FIGURES (figures.json), which bench writes with -json, for docs/performance.md
	cd testdata/bench/plot && $(GO) run . -figures $(abspath $(FIGURES)) -folder $(CURDIR)/docs/performance

.PHONY: docs
docs: ## writes the tables of docs/configuration.md and docs/metrics.md from the program
	$(GO) run ./testdata/reference

.PHONY: dashboard
dashboard: ## writes deploy/grafana/spillway.json
	cd testdata/monitoring && $(GO) run .

.PHONY: profile
profile: ## CPU and heap profiles of the stages' benchmarks, in the folder profiles
	mkdir -p profiles
	for stage in stream/zip stream/inflate; do \
		$(GO) test -run '^$$' -bench . -benchmem -count $(COUNT) -timeout 30m -o profiles/$$(basename $$stage).test \
			-cpuprofile profiles/$$(basename $$stage).cpu -memprofile profiles/$$(basename $$stage).heap ./$$stage \
			| tee profiles/$$(basename $$stage).txt || exit 1; \
	done
	cd profiles && for stage in *.txt; do $(GO) run golang.org/x/perf/cmd/benchstat@v0.0.0-20260908200009-22c9c6c9d4da $$stage; done

.PHONY: page
page: ## the live page, driven in Chromium, which must be installed; SPILLWAY_SCREENSHOT names a file for a picture
	cd testdata/browser && $(GO) test -count=1 -timeout 5m .

.PHONY: fuzz
fuzz: ## each fuzz test for FUZZTIME (30s, or a number of runs such as 1000x)
	@set -e; found=; \
	for package in $$($(GO) list $(PACKAGES)); do \
		names=$$($(GO) test -list '^Fuzz' $$package); \
		for name in $$(echo "$$names" | sed -n '/^Fuzz/p'); do \
			found=yes; echo "$$package $$name"; \
			$(GO) test -run '^$$' -fuzz "^$$name"'$$' -fuzztime $(FUZZTIME) -fuzzminimizetime 200x $$package; \
		done; \
	done; \
	test -n "$$found" || { echo 'no fuzz test found' >&2; exit 1; }

.PHONY: kill
kill: $(SERVERS) ## kills the program KILLS (200) times during uploads, and checks what is left
	SPILLWAY_KILLS=$(KILLS) $(GO) test -timeout 60m -v -run '^TestKilled$$' ./e2e

.PHONY: stores
stores: $(SERVERS) $(FAULTY) ## what works with which S3 server: writes the table in docs/stores.md
	@test -n "$$SPILLWAY_RADOSGW" || echo 'No radosgw here: its row of the table stays as it is.'
	@test -n "$$SPILLWAY_AZURITE" || echo 'No npm here: the row of Azurite stays as it is.'
	$(GO) run ./testdata/stores -write docs/stores.md

.PHONY: soak
soak: $(VERSITYGW) ## mixed uploads for SOAKTIME (30m) with failing clients and a failing S3; SOAKFLAGS, see go run ./testdata/soak -help
	$(GO) run ./testdata/soak -for $(SOAKTIME) $(SOAKFLAGS)

.PHONY: writers
writers: $(VERSITYGW) ## uploads archives of real zip writers, which it installs; writes the table of docs/archives.md; WRITERSFLAGS, see -help
	$(GO) run ./testdata/writers $(WRITERSFLAGS)

# The programs that delivery needs.
DELIVERY := podman runc systemd-analyze systemd-nspawn systemd-sysusers nsenter

.PHONY: delivery
delivery: $(VERSITYGW) ## makes the release twice and compares; runs the container image and the unit of systemd, with programs that it installs
	@type $(DELIVERY) >/dev/null 2>&1 || { test "$$(id -u)" = 0 && type apt-get >/dev/null 2>&1; } || \
		{ echo 'one of $(DELIVERY) is missing, and only root can install it' >&2; exit 1; }
	type $(DELIVERY) >/dev/null 2>&1 || { apt-get -q -o DPkg::Lock::Timeout=300 update && \
		apt-get -q -o DPkg::Lock::Timeout=300 install -y --no-install-recommends podman runc systemd systemd-container; }
	$(GO) test -tags delivery -count=1 -timeout 90m -v ./testdata/delivery
	$(GO) test -tags delivery -count=1 -timeout 20m -v -run '^(TestUnit|TestService)' ./testdata/deploy

.PHONY: alerts
alerts: $(VERSITYGW) $(PROMETHEUS) ## tests the alerts: each is provoked for real, under Debian's Prometheus; writes the table of docs/operations.md; needs root
	$(PROMETHEUS:prometheus=promtool) check rules deploy/prometheus/spillway.rules.yml
	$(PROMETHEUS:prometheus=promtool) test rules testdata/alerts/rules.test.yml
	$(GO) run ./testdata/alerts -prometheus $(PROMETHEUS) -document docs/operations.md

.PHONY: balancers
balancers: $(VERSITYGW) ## two instances behind nginx and HAProxy, which it installs, with the settings of deploy: restarts, kills, pressure
	testdata/balancers/install.sh
	$(GO) test -tags delivery -count=1 -timeout 30m -v ./testdata/balancers

.PHONY: kubernetes
kubernetes: ## the manifests of deploy, by Kubernetes' own code; it takes minutes to compile
	cd testdata/deploy/kubernetes && $(GO) vet . && $(GO) test -count=1 $(TESTFLAGS) .

.PHONY: terraform
terraform: $(TOFU) ## the Terraform of deploy, by OpenTofu, which takes minutes to compile
	$(TOFU) fmt -check -diff -recursive deploy/terraform
	SPILLWAY_TOFU=$(TOFU) $(GO) test -tags delivery -count=1 -v -run '^TestTerraform' ./testdata/deploy

.PHONY: clients
clients: ## what real clients report of a refusal, with and without proxies; installs them; writes the table of docs/clients.md; CLIENTSFLAGS, see -help
	$(GO) run ./testdata/clients -install -document docs/clients.md $(CLIENTSFLAGS)

.PHONY: lint
lint: $(GOFUMPT) $(STATICCHECK) $(GOLANGCI_LINT) ## formatting, vet, linters, package walls
	@files=$$($(GOFUMPT) -l $$(git ls-files '*.go')); test -z "$$files" || { echo "not formatted by gofumpt: $$files" >&2; exit 1; }
	$(GO) vet -tags delivery $(PACKAGES)
	$(STATICCHECK) -tags delivery $(PACKAGES)
	$(GOLANGCI_LINT) run --build-tags delivery $(PACKAGES)
	$(GO) mod tidy -diff
	for module in testdata/browser testdata/bench/plot testdata/delivery/release testdata/monitoring e2e/openapi; do (cd $$module && $(GO) vet ./... && $(GO) mod tidy -diff) || exit 1; done
	cd testdata/deploy/kubernetes && $(GO) mod tidy -diff

.PHONY: cross
cross: ## vet for the other systems of releases; Windows is built as well, though it is not released
	for system in linux/arm64 darwin/arm64; do \
		GOOS=$${system%/*} GOARCH=$${system#*/} CGO_ENABLED=0 $(GO) vet $(PACKAGES) || exit 1; \
	done
	GOOS=windows GOARCH=amd64 CGO_ENABLED=0 $(GO) build ./...

.PHONY: clean
clean: ## removes what the other targets made, the tools included
	rm -rf spillway dist profiles testdata/writers/node/node_modules testdata/clients/.built testdata/clients/programs/node/node_modules $(BIN)

$(VERSITYGW):
	GOBIN=$(@D) $(GO) install github.com/versity/versitygw/cmd/versitygw@v1.8.0

# Its go.mod has a replace directive, which go install refuses. So it is built in its own
# folder of the module cache.
$(WEED):
	mkdir -p $(@D)
	cd / && source=$$($(GO) mod download -json github.com/seaweedfs/seaweedfs@$(WEED_VERSION) | sed -n 's/^.*"Dir": "\(.*\)".*/\1/p') && \
		cd "$$source/weed" && $(GO) build -trimpath -o $@ .

$(MINIO):
	GOBIN=$(@D) $(GO) install github.com/minio/minio@$(MINIO_VERSION)

$(RCLONE):
	GOBIN=$(@D) $(GO) install github.com/rclone/rclone@v1.76.0

# As for SeaweedFS: its go.mod has a replace directive.
$(TOFU):
	mkdir -p $(@D)
	cd / && source=$$($(GO) mod download -json github.com/opentofu/opentofu@$(TOFU_VERSION) | sed -n 's/^.*"Dir": "\(.*\)".*/\1/p') && \
		cd "$$source" && $(GO) build -trimpath -o $@ ./cmd/tofu

$(AZURITE):
	npm install --silent --no-audit --no-fund --prefix $(BIN)/azurite-3.35.0 azurite@3.35.0

# Debian's Prometheus, unpacked and not installed: the package would start a service. promtool
# cannot be had by go install in good time, because it contains the clients of every cloud.
$(PROMETHEUS):
	mkdir -p $(BIN)/prometheus
	cd $(BIN)/prometheus && apt-get -q -o APT::Sandbox::User=root download prometheus && dpkg -x prometheus_*.deb . && touch $@

$(GOFUMPT):
	GOBIN=$(@D) $(GO) install mvdan.cc/gofumpt@v0.12.0

$(STATICCHECK):
	GOBIN=$(@D) $(GO) install honnef.co/go/tools/cmd/staticcheck@v0.8.2

$(GOLANGCI_LINT):
	GOBIN=$(@D) $(GO) install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0
