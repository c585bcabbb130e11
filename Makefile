# Verbs of this project. `make help` lists them.
GO      ?= go
BIN     := bin/dinomo
COMMIT  := $(shell git rev-parse --short=12 HEAD 2>/dev/null || echo unknown)
LDFLAGS := -X main.commit=$(COMMIT)

# What `make run` takes, with its defaults.
KEYS        ?= 200000
VALUE       ?= 1006
SECONDS     ?= 10
KNS         ?= 2
THREADS     ?= 2
ZIPF        ?= 0.99
OUTSTANDING ?= 64
FABRIC      ?= shm
# Empty: 1/32 of the data.
CACHE_MB    ?=
# Empty: no JSON file.
REPORT      ?=

.PHONY: help build run test test-python race invariants nocgo lint fuzz crash sim stress system sim-mutants mutants mutants-crash space soak bench microbench generate check-generated check test-rdma test-rdma-pair test-rdma-cluster test-rdma-pmem test-rdma-pmem-cluster test-rdma-all clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 18

build: ## build bin/dinomo
	$(GO) build -ldflags '$(LDFLAGS)' -o $(BIN) ./tools/dinomo

run: build ## start a local cluster, load it, run 95/5 and 50/50 at Zipf 0.99, print the report, stop
	$(BIN) run --keys $(KEYS) --value $(VALUE) --seconds $(SECONDS) --kns $(KNS) --threads $(THREADS) --zipf $(ZIPF) \
	  --outstanding $(OUTSTANDING) --fabric $(FABRIC) $(if $(CACHE_MB),--cache-mb $(CACHE_MB)) $(if $(REPORT),--report $(REPORT))

test: ## run all tests
	@tools/install-deps.sh python3-zmq python3-protobuf
	$(GO) test ./...
	$(MAKE) --no-print-directory test-python

test-python: ## check the Python client's types and run all Python tests, against clusters that are started for them
	@tools/install-deps.sh python3-zmq python3-protobuf mypy
	cd tools/python && /usr/bin/mypy
	$(GO) test ./tools/python

race: ## run the concurrent packages under the race detector
	@tools/install-deps.sh python3-zmq python3-protobuf
	$(GO) test -race -short ./actors/... ./dpm/... ./dac/... ./cluster/... ./hashring/... ./internal/...

invariants: ## run the tests with the dear checks switched on
	$(GO) test -tags invariants -short ./...

nocgo: ## build without cgo
	CGO_ENABLED=0 $(GO) build ./...

lint: ## gofmt, vet, staticcheck, import table, tidy
	@out=$$(gofmt -l $$(git ls-files '*.go')); [ -z "$$out" ] || { echo "gofmt these:"; echo "$$out"; exit 1; }
	$(GO) vet ./...
	$(GO) mod tidy -diff
	cd internal/devtools && $(GO) build -o ../../bin/staticcheck honnef.co/go/tools/cmd/staticcheck
	bin/staticcheck ./...
	$(GO) test -count=1 ./internal/lint

# Inputs for each target. A time, such as 10s, works too, but go test now and then reports its end as a failure
# ("context deadline exceeded").
FUZZTIME ?= 20000x
fuzz: ## run every fuzz target for FUZZTIME
	@set -e; for pkg in $$($(GO) list ./...); do \
	  for target in $$($(GO) test -list '^Fuzz' $$pkg | grep '^Fuzz' || true); do \
	    echo "$$pkg $$target"; $(GO) test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) $$pkg; done; done

# Seeds and the first of them; 0: fresh ones. `make sim SIM_SEEDS=20000` is the nightly form.
SIM_SEEDS ?= 200
SIM_SEED  ?= 0
sim: build ## simulate whole clusters on virtual time from SIM_SEEDS seeds, and check what clients saw
	$(BIN) sim --seeds $(SIM_SEEDS) --seed $(SIM_SEED)

sim-mutants: ## plant bugs in the protocol, one at a time: the simulation must find each
	$(GO) test -tags planted -count=1 -v -run '^TestFindsPlantedBugs$$' ./cluster/sim

SEEDS ?= 800
crash: ## crash the pool at 25 fences in each of SEEDS random worlds (800: 20,000 crash points)
	CRASH_SEEDS=$(SEEDS) $(GO) test -count=1 -timeout 30m -v -run '^TestCrashAnywhere$$' ./dpm
	CRASH_POINTS=$(SEEDS) $(GO) test -count=1 -timeout 30m -run Crash ./dpm/index ./dpm/pmem

# The 2-minute form: a minute on each fabric. `make system SYSTEM_SECONDS=300 SYSTEM_OPERATIONS=1000000` is the long one; SYSTEM_SEED=N replays.
SYSTEM_SECONDS    ?= 60
SYSTEM_OPERATIONS ?= 0
SYSTEM_SEED       ?= 0
SYSTEM_FABRICS    ?= tcp shm
system: build ## break real clusters at random and check what clients saw: no violation (SYSTEM_SECONDS, SYSTEM_OPERATIONS, SYSTEM_SEED)
	@tools/install-deps.sh nftables
	@set -e; for fabric in $(SYSTEM_FABRICS); do \
	  $(BIN) check --fabric $$fabric --seconds $(SYSTEM_SECONDS) --operations $(SYSTEM_OPERATIONS) --seed $(SYSTEM_SEED); done

mutants: ## plant bugs in the protocol, one at a time: the checker of histories must find each
	@tools/install-deps.sh nftables
	$(GO) build -tags planted -ldflags '$(LDFLAGS)' -o $(BIN)-planted ./tools/dinomo
	cluster/nemesis/mutants.sh $(BIN)-planted

POOLFULS ?= 20
space: ## the pool's use of space over POOLFULS times its size of updates, as a curve
	SPACE_POOLFULS=$(POOLFULS) $(GO) test -count=1 -timeout 30m -v -run '^TestUpdatesSettle' ./dpm

mutants-crash: ## take every flush and fence of the pool away, one at a time: the crash tests must notice
	CRASH_MUTATIONS=1 $(GO) test -count=1 -timeout 30m -v -run '^TestCrashTestsBite$$' ./dpm

SOAK_SECONDS ?= 600
# Empty: no file with the samples.
MEMORY       ?=
soak: build ## run for SOAK_SECONDS and watch the KNs' memory: within cache and constant (MEMORY=file: samples as JSON)
	$(BIN) soak --seconds $(SOAK_SECONDS) --keys $(KEYS) --value $(VALUE) --kns $(KNS) --threads $(THREADS) --zipf $(ZIPF) \
	  --outstanding $(OUTSTANDING) --fabric $(FABRIC) $(if $(CACHE_MB),--cache-mb $(CACHE_MB)) $(if $(REPORT),--report $(REPORT)) $(if $(MEMORY),--memory $(MEMORY))

# What `make bench` writes beside its tables.
BENCH_JSON ?= bin/figures.json
bench: build ## the figures that are promised, as tables with their goals and as JSON in BENCH_JSON (about 3 minutes)
	@tools/install-deps.sh python3-zmq
	tools/bench/figures.sh $(BIN) $(BENCH_JSON)

microbench: ## every benchmark of the packages, as go test prints them
	$(GO) test -run '^$$' -bench . -benchmem ./dac ./dpm/... ./hashring ./messages ./actors/...

generate: ## regenerate what is generated
	@tools/install-deps.sh protobuf-compiler
	messages/generate.sh
	tools/python/generate.sh

check-generated: generate ## fail when generated files are not what generate makes
	@git diff --exit-code -- messages tools/python || { echo "generated files differ: commit what make generate wrote"; exit 1; }

check: lint test race nocgo check-generated ## everything that a change must pass

test-rdma: ## the ibverbs backend in one QEMU guest
	dpm/fabric/ibverbs/vm/test-rdma.sh one

test-rdma-pair: ## the ibverbs backend between two QEMU guests: tests, and a measurement from one to the other
	dpm/fabric/ibverbs/vm/test-rdma.sh pair

test-rdma-cluster: ## a whole cluster with fabric ibverbs in one QEMU guest: load, run, a KN and the DPM killed
	dpm/fabric/ibverbs/vm/test-rdma.sh cluster

test-rdma-pmem: ## durability on an emulated NVDIMM: the DPM killed, the guest reset in the middle of work
	dpm/fabric/ibverbs/vm/test-rdma.sh pmem

test-rdma-pmem-cluster: ## the same with whole clusters: ibverbs on a device-dax, tcp and shm on ext4 -o dax
	dpm/fabric/ibverbs/vm/test-rdma.sh pmem-cluster

test-rdma-all: test-rdma test-rdma-pair test-rdma-cluster test-rdma-pmem test-rdma-pmem-cluster ## everything that runs in QEMU guests

clean: ## remove what make built
	rm -rf bin
