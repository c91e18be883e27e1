# Culvert's work flow. `make help` lists the targets.
#
# Go and make are all that build, test and demo need. lint builds its tool once (a few minutes), race
# needs a C compiler, test-arm needs qemu-user-static, e2e needs mosquitto, OpenSSH and the AWS CLI.

ifneq ($(filter-out help clean,$(or $(MAKECMDGOALS),help)),)
NO_GO := $(shell scripts/check-go)
$(if $(NO_GO),$(error $(NO_GO)))
endif

VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo devel)
COMMIT  ?= $(shell git rev-parse --short=12 HEAD 2>/dev/null || echo unknown)
DATE    ?= $(shell git log -1 --format=%ct 2>/dev/null)

# What runs once, seldom or a few times a record is not inlined in the daemon: that makes it 0.3 MB smaller and nothing
# slower that matters.
# Streams, websockets, ciphers and the runtime are compiled as ever. With crypto/tls among the rest, its BenchmarkThroughput
# for packets of maximum size carries 0.995 of what it carries without: most of the time goes into the ciphers.
MODULE := github.com/culvert-iot/culvert
SELDOM := $(MODULE)/proxy/resume $(MODULE)/agent/... $(MODULE)/cmd/... $(MODULE)/internal/... $(MODULE)/services/... github.com/pelletier/... github.com/eclipse/... github.com/gorilla/... github.com/google/... golang.org/x/net/... vendor/... golang.org/x/sys/... \
	compress/... crypto/x509/... encoding/... flag fmt log/slog/... math/big mime/... net/http/... net/textproto net/url os os/exec path/... reflect \
	crypto/ecdsa crypto/ed25519 crypto/internal/fips140/ed25519 crypto/internal/fips140/edwards25519 crypto/hpke crypto/elliptic crypto/rsa crypto/internal/fips140/rsa crypto/internal/fips140/ecdsa math/rand/... net/netip os/signal text/... \
	bufio context errors io/fs net os/user sort strconv strings syscall time unicode/... \
	crypto/tls crypto/ecdh crypto/internal/fips140/ecdh crypto/hkdf crypto/internal/fips140/hkdf crypto/internal/fips140/tls12 crypto/internal/fips140/tls13 \
	crypto/internal/fips140/drbg crypto/dsa container/list hash/fnv internal/bisect internal/fmtsort internal/godebug log path
SMALL  := $(foreach p,$(SELDOM),-gcflags='$(p)=-l')

VERSION_PACKAGE := $(MODULE)/internal/version
LDFLAGS := -s -w -X $(VERSION_PACKAGE).version=$(VERSION) -X $(VERSION_PACKAGE).commit=$(COMMIT) -X $(VERSION_PACKAGE).date=$(DATE)
BUILD   := CGO_ENABLED=0 go build -trimpath -buildvcs=false -ldflags '$(LDFLAGS)'

FUZZTIME ?= 30s
FUZZJOBS ?= 2
COUNT    ?= 1
ARGS     ?=

# What a device with a small flash can spare for the daemon, in bytes.
ARM6_BUDGET := 8000000

.PHONY: docs pictures man help build test race alloc aws cover lint fmt fuzz endurance soak bench cross cross-linux linux-amd64 linux-arm64 linux-armv6 linux-armv7 packages release test-packages test-upgrade walk test-arm e2e demo sandbox clean
.DEFAULT_GOAL := help

help: ## list these targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

build: ## bin/culvertd and bin/culvert for this machine
	$(BUILD) -o bin/ ./cmd/culvertd ./cmd/culvert

# test/e2e builds the programs and runs them, which the test cache knows nothing of. Its parallel tests mostly wait.
# In UNITS what takes longest comes first, so that no processor idles in the end.
UNITS = ./proxy/stream ./operator/connect $$(go list ./... | grep -v -e /test/e2e -e /proxy/stream -e /operator/connect)

# RACE=1 puts the race detector under the unit tests, which then need a C compiler. A program with the detector
# waits a second when it ends, for reports of others: the tests start hundreds.
RACE    ?=
BETWEEN ?= # a command between the unit and the end-to-end tests

test: ## all tests; those that need a program that is not installed are skipped
	$(if $(RACE),GORACE=atexit_sleep_ms=20 CGO_ENABLED=1 go test -race,go test) $(UNITS)
	@$(or $(BETWEEN),:)
	go test -count=1 -parallel 8 ./test/e2e

race: ## the unit tests under the race detector
	GORACE=atexit_sleep_ms=20 CGO_ENABLED=1 go test -race $(UNITS)

# Zero allocations for each frame: the race detector allocates itself.
alloc: ## the tests that nothing is allocated on the hot path
	go test -run 'Alloc' ./proxy/...

cover: ## coverage by function; the profile is bin/cover.out
	@mkdir -p bin
	go test -coverprofile=bin/cover.out -coverpkg=./... ./...
	go tool cover -func=bin/cover.out

# golangci-lint is built from its module, pinned in tools/, and not downloaded as a binary.
LINTER := bin/golangci-lint

$(LINTER): tools/go.mod tools/go.sum
	@mkdir -p bin
	@echo 'building golangci-lint, which takes a few minutes the first time'
	cd tools && CGO_ENABLED=0 go build -o ../$(LINTER) github.com/golangci/golangci-lint/v2/cmd/golangci-lint

SCRIPTS = .ci/run $(wildcard scripts/* configs/packaging/*.sh configs/mosquitto/*.sh configs/packaging/man/*.sh configs/packaging/openwrt/*)

lint: $(LINTER) ## gofmt, go vet, golangci-lint, shellcheck, go mod tidy
	@unformatted=$$(gofmt -l $$(git ls-files -co --exclude-standard '*.go')); \
	if [ -n "$$unformatted" ]; then echo "not formatted (make fmt):"; echo "$$unformatted"; exit 1; fi
	go vet ./...
	@for os in windows darwin; do echo "GOOS=$$os go vet what culvert is made of"; \
		GOOS=$$os go vet $$(GOOS=$$os go list -deps ./cmd/culvert | grep '^$(MODULE)') || exit 1; done
	$(LINTER) run
	go mod tidy -diff
	@if command -v shellcheck >/dev/null; then shellcheck $(SCRIPTS); else echo 'shellcheck is not installed: scripts not checked'; fi

fmt: $(LINTER) ## format the Go files as lint wants them
	$(LINTER) fmt

fuzz: ## each fuzz target for FUZZTIME (30s), FUZZJOBS (2) at a time; TARGET names some
	@FUZZTIME=$(FUZZTIME) FUZZJOBS=$(FUZZJOBS) scripts/fuzz $(TARGET)

bench: ## all benchmarks, COUNT times
	go test -run '^$$' -bench . -benchmem -count $(COUNT) $$(grep -rl --include='*_test.go' '^func Benchmark' . | xargs -n 1 dirname | sort -u)

# $(call cross,GOOS,GOARCH,GOARM,directory,package and flags)
define cross
	@echo 'building $(notdir $(lastword $(5))) for $(1)/$(2)$(if $(3),v$(3))'
	@GOOS=$(1) GOARCH=$(2) GOARM=$(3) $(BUILD) -o dist/$(4)/ $(5)

endef

# $(call linux,GOARCH,GOARM,directory): both programs, which packages are made of.
define linux
	$(call cross,linux,$(1),$(2),$(3),$(SMALL) ./cmd/culvertd)
	$(call cross,linux,$(1),$(2),$(3),./cmd/culvert)
endef

# The architectures of packages: ARCH=arm64 makes one alone. Debian's armhf is built for ARMv6.
ARCH  ?= amd64 arm64 armv6 armv7
ARCHS := $(patsubst armhf,armv6,$(ARCH))
$(if $(filter-out amd64 arm64 armv6 armv7,$(ARCHS)),$(error ARCH=$(ARCH): amd64, arm64, armv6, armv7 and armhf are known))

linux-amd64:
	$(call linux,amd64,,linux-amd64)
linux-arm64:
	$(call linux,arm64,,linux-arm64)
linux-armv6:
	$(call linux,arm,6,linux-arm6)
linux-armv7:
	$(call linux,arm,7,linux-arm7)

cross-linux: linux-amd64 linux-arm64 linux-armv6 linux-armv7

cross: cross-linux ## dist/ for every platform, with sizes; fails when the armv6 daemon is too big
	$(call cross,darwin,arm64,,darwin-arm64,./cmd/culvert)
	$(call cross,windows,amd64,,windows-amd64,./cmd/culvert)
	@cd dist && wc -c */* | awk '{ printf "%8.2f MB  %s\n", $$1 / 1e6, $$2 }'
	@size=$$(wc -c <dist/linux-arm6/culvertd); if [ "$$size" -gt $(ARM6_BUDGET) ]; then \
		echo "culvertd for armv6 has $$size bytes, $(ARM6_BUDGET) at most are allowed"; exit 1; fi

# nfpm makes the packages; bom writes what must come with them. Both are pinned in tools/release.
PACKAGER := bin/nfpm

$(PACKAGER): tools/release/go.mod tools/release/go.sum $(wildcard tools/release/bom/*.go)
	@mkdir -p bin
	@echo 'building the packager, which takes a few minutes the first time'
	cd tools/release && CGO_ENABLED=0 go build -o ../../bin/ github.com/goreleaser/nfpm/v2/cmd/nfpm ./bom

packages: $(ARCHS:%=linux-%) $(PACKAGER) ## dist/packages: .deb, .rpm, .apk, tarballs, checksums, SBOMs; ARCH=arm64 for one architecture
	scripts/packages $(ARCHS)

release: ## dist/release: all packages and archives, manifests, provenance, an APT repository, signed with KEY= (docs/releasing.md)
	@scripts/release --ready
	$(MAKE) --no-print-directory cross $(PACKAGER)
	scripts/packages amd64 arm64 armv7 armv6 darwin-arm64 windows-amd64
	scripts/release

test-upgrade: ## restart culvertd from a shell that runs through it, in a booted Debian (needs root and debootstrap)
	scripts/test-upgrade

test-packages: ## install, upgrade, remove and purge the packages in a booted Debian (needs root and debootstrap)
	scripts/test-packages

walk: ## the newcomer's walk of docs/walk.md, in a booted Debian (needs root, debootstrap and make packages)
	scripts/walk --check

# What a device runs, what takes longest first. Tests that run a second program, or the go command, cannot run emulated.
ARM_PACKAGES = ./proxy/stream $$(go list ./agent/... ./proxy/... ./services/... ./internal/... | grep -v -e /proxy/stream)

ARM ?= armv6 armv7 arm64

test-arm: ## unit tests and ssh end to end as armv6, armv7 and arm64 under qemu-user (ARM=armv6 for one of them)
	@set -e; for kind in $(ARM); do \
		case $$kind in \
			armv6) arch=arm arm=6 qemu=qemu-arm-static ;; \
			armv7) arch=arm arm=7 qemu=qemu-arm-static ;; \
			arm64) arch=arm64 arm= qemu=qemu-aarch64-static ;; \
			*) echo "ARM=$$kind: armv6, armv7 and arm64 are known"; exit 2 ;; \
		esac; \
		if ! command -v $$qemu >/dev/null; then echo "skipped: $$qemu is not there (Debian: qemu-user-static)"; continue; fi; \
		echo "== $$kind"; \
		CGO_ENABLED=0 GOARCH=$$arch GOARM=$$arm go test -short -vet=off -timeout 12m -exec $$qemu $(ARM_PACKAGES); \
		CULVERT_ARM=$$kind go test -count=1 -run EmulatedDevice ./test/e2e; \
	done

MINUTES ?= 2
SEED    ?= 0

endurance: ## 1,000 rotations and 100,000 connections, what they leave behind, and links that die without a word: some minutes
	CULVERT_ENDURANCE=1 go test -count=1 -parallel 16 -timeout 60m -v -run "LeaveNothingBehind|DiesWithoutAWord" ./test/e2e

soak: ## the daemon under random faults for MINUTES (2); SEED replays a run
	go run ./test/soak -minutes $(MINUTES) -seed $(SEED)

e2e: ## whole programs against mosquitto, OpenSSH and the AWS CLI, which must be installed
	CULVERT_E2E=required go test -count=1 -parallel 8 ./test/e2e

aws: ## every call beside the AWS CLI, which must be installed; make test compares some
	CULVERT_E2E=required CULVERT_AWSCLI=all go test -count=1 -run AWSCLI ./cmd/culvert/awscli

demo: build ## a full tunnel on the sandbox: no account, no network, a few seconds
	bin/culvert demo $(ARGS)

sandbox: build ## AWS IoT in one process, to try the daemon against (ARGS='--dir DIR')
	bin/culvert sandbox $(ARGS)

docs: ## write what is generated into docs/
	go test -count=1 -run 'Reference' ./test/docs -update

pictures: ## draw docs/session.svg and docs/dashboard.svg from a real run (needs sshd, ssh and script)
	scripts/pictures

man: build ## manual pages of all commands, in dist/man1
	bin/culvert man dist/man1

clean: ## remove what was built
	rm -rf bin dist
