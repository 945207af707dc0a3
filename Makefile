# The commands of the project; `make help` lists them.

# What is slow to make lies outside the checkout, so that a fresh clone finds it again.
CACHE := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/hookd
export CARGO_TARGET_DIR ?= $(CACHE)/target
export HOOKD_DEVCLUSTER_DIR ?= /var/lib/hookd-devcluster

# rust-toolchain.toml pins the compiler. Where rustup cannot install that version, its stable one is used.
ifeq ($(shell rustc -V 2>/dev/null),)
ifneq ($(shell RUSTUP_TOOLCHAIN=stable rustc -V 2>/dev/null),)
$(warning the compiler of rust-toolchain.toml is not installed; using stable, which may lint and format otherwise)
export RUSTUP_TOOLCHAIN := stable
endif
endif
TRIPLE := $(shell { rustc -vV || RUSTUP_TOOLCHAIN=stable rustc -vV; } 2>/dev/null | sed -n 's/^host: //p')
# Binaries without shared libraries: they run in images that have none.
export HOOKD_BIN_DIR := $(CARGO_TARGET_DIR)/static
STATIC := RUSTFLAGS="-C target-feature=+crt-static" cargo build --locked --target $(TRIPLE)

.PHONY: help compiler python prometheus helm build image demo test test-unit test-arm test-examples test-cluster faults parity fuzz bench fmt lint site cluster-up cluster-down cluster-status

help: ## list the commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-16s %s\n", $$1, $$2 }' Makefile

compiler:
	@command -v cc >/dev/null || { apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -q -y gcc libc6-dev; } </dev/null

# The tests call hookd's API with a Python client too.
python:
	@python3 -c 'import ensurepip' 2>/dev/null || { apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -q -y python3-venv; } </dev/null

# One test starts a Prometheus, which reads hookd's metrics by the dashboard and the alerts of deploy/monitoring.
prometheus:
	@{ command -v prometheus && command -v promtool; } >/dev/null || deploy/devcluster/packages.sh prometheus

helm:
	@.ci/chart --helm >/dev/null

build: compiler ## build hookd, hook and stepd, and the fake runner, as static binaries
	$(STATIC) --release -p hookd
	$(STATIC) --profile tiny -p hook
	$(STATIC) --profile tiny -p stepd
	$(STATIC) --profile tiny -p fake-runner
	@mkdir -p $(HOOKD_BIN_DIR)
	@install $(CARGO_TARGET_DIR)/$(TRIPLE)/release/hookd $(addprefix $(CARGO_TARGET_DIR)/$(TRIPLE)/tiny/,hook stepd fake-runner) $(HOOKD_BIN_DIR)

# The image of deploy/Containerfile, of the programs that `make build` has made.
image: build ## make hookd's image without a container engine: target/hookd.oci.tar
	deploy/devcluster/images.sh archive $(HOOKD_BIN_DIR) target/hookd.oci.tar

demo: export PLACEMENT ?= runner-pod
demo: build ## build a Dockerfile action with Kaniko and run it; ACTION=<folder> for one of yours, PLACEMENT=own-pod
	@deploy/demo/demo.sh $(ACTION)

test: test-unit test-cluster test-examples ## run all tests, those on the cluster included

test-unit: compiler ## run the tests that need no cluster
	cargo test --locked --workspace

test-arm: compiler ## compile hook and stepd for arm64, and run them and their unit tests under qemu
	.ci/arm64

test-examples: compiler python ## run the example clients against hookd's API; needs Go and Python
	.ci/examples

test-cluster: build cluster-up python prometheus helm ## run the tests on the cluster
	@. $(HOOKD_DEVCLUSTER_DIR)/env && deploy/devcluster/images.sh hookd $(HOOKD_BIN_DIR) && \
	export HOOKD_TEST_TIMES=$(abspath $(CARGO_TARGET_DIR))/test-times && rm -f $$HOOKD_TEST_TIMES && \
	{ cargo test --locked --workspace --features cluster --test cluster -- --test-threads=3 && \
	cargo test --locked --workspace --test tunnel; code=$$?; \
	tests/e2e/slowest.sh $$HOOKD_TEST_TIMES; exit $$code; }

# The table comes on standard output, a line for each outcome on standard error while it runs.
faults: build cluster-up python ## break everything while steps run; FAULTS=<n> runs it n times
	@. $(HOOKD_DEVCLUSTER_DIR)/env && deploy/devcluster/images.sh hookd $(HOOKD_BIN_DIR) && \
	cargo test --locked -p e2e --features cluster --test faults

# A line for each that differs comes on standard output, one for each context on standard error.
parity: export PARITY_BUILDER = $(BUILDER)
parity: build cluster-up python ## build Dockerfiles and compare with docker's images; PARITY_ONLY=<names> for some, BUILDER=buildkit or buildkitd
	@case "$(BUILDER)" in buildkit*) deploy/devcluster/buildkit.sh ;; esac
	@. $(HOOKD_DEVCLUSTER_DIR)/env && deploy/devcluster/images.sh hookd $(HOOKD_BIN_DIR) && \
	cargo test --locked -p e2e --features cluster --test parity && \
	{ [ "$(BUILDER)" != buildkit ] || cargo test --locked -p e2e --features cluster --test cluster -- --ignored buildkit; }

# Each parser of what a job writes; FUZZ_SEED begins elsewhere. `make test` gives each a second.
fuzz: export FUZZ_SECONDS ?= 60
fuzz: compiler ## feed each parser with hostile inputs, 60 s each; FUZZ_SECONDS=<n> for n
	cargo test --locked --release -p hookd --test fuzz -- --nocapture
	cargo test --locked --release -p hook fuzz -- --nocapture
	HOOKD_MEMORY_INPUTS=$${HOOKD_MEMORY_INPUTS:-100000} cargo test --locked --release -p hookd --test memory -- --nocapture

bench: build cluster-up ## measure on the cluster; prints a table and writes target/bench.json
	@. $(HOOKD_DEVCLUSTER_DIR)/env && deploy/devcluster/images.sh hookd $(HOOKD_BIN_DIR) && \
	cargo bench --locked -p e2e --features cluster --bench cluster

fmt: ## format the code
	cargo fmt --all

lint: ## check format, lints, docs, dependencies, the APIs, the Go example, the chart, workflows and the site
	cargo fmt --all --check
	cargo clippy --locked --workspace --all-targets --all-features -- -D warnings
	cargo clippy --locked --workspace --test examples --test tunnel -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --locked --workspace --no-deps --quiet
	.ci/deny
	.ci/proto
	.ci/go-example
	.ci/chart
	.ci/workflows
	.ci/site --lint

site: ## make the site of the documents in target/site
	.ci/site

cluster-up: ## start a one-node Kubernetes on this machine (root; some minutes the first time)
	@deploy/devcluster/up.sh

cluster-down: ## end it and leave nothing behind
	@deploy/devcluster/down.sh

cluster-status: ## say what of it runs
	@deploy/devcluster/status.sh
