# What one types here. Everything goes through cargo and npm; this file only says it shorter.
#
# Builds go to CARGO_TARGET_DIR, or target/; reports always to target/.

export PATH := $(PATH):$(HOME)/.cargo/bin

TARGET := $(or $(CARGO_TARGET_DIR),target)
INSTALL := loadtest/scripts/install.sh
API := loadtest/express-api

# Requests of `make oracle`.
REQUESTS ?= 200000
# Pairs of `make bench-positions`.
PAIRS ?= 200000
# More options for the program that a target runs: make bench-peers ARGS='--rounds 9', ARGS='--scenario requests', or to
# profile ARGS='--scenario requests --only gateway --rounds 1 --span 20'.
ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help demo test lint bench bench-peers bench-latency bench-positions bench-changes oracle gameday

help: ## Says what there is
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 20

demo: ## Four regions on this machine, and real requests through them; ONCE=1 ends by itself
	@$(INSTALL) build world
	cargo build --release --locked --workspace --bins
	@ONCE=$(ONCE) $(TARGET)/release/demo $(ARGS)

test: ## All tests of the workspace, those of the Express API, then `make lint`
	@$(INSTALL) build world
	cargo test --workspace --locked --no-fail-fast
	npm --prefix $(API) test
	@$(MAKE) --no-print-directory lint

lint: ## cargo fmt and clippy, where these components are installed
	@if cargo fmt --version >/dev/null 2>&1; then set -x; cargo fmt --all --check; \
		else echo 'cargo fmt is not installed: format not checked'; fi
	@if cargo clippy --version >/dev/null 2>&1; then set -x; \
		cargo clippy --workspace --all-targets --locked -- -D warnings; \
		else echo 'cargo clippy is not installed: lints not checked'; fi

bench: ## What the parts on the request path cost: decision, token cache, headers
	@$(INSTALL) build
	cargo bench --locked --package residency --bench '*' $(if $(ARGS),-- $(ARGS))

bench-peers: ## The gateway beside nginx and HAProxy on this machine; a table and target/bench/peers.json
	@$(INSTALL) build peers
	cargo build --profile dist --locked -p residency --bins -p residency-loadtest --bin bench-peers
	$(TARGET)/dist/bench-peers $(ARGS)

bench-latency: ## What users wait for: everything in us-east, and the regions; target/bench/latency.json and .svg
	@$(INSTALL) build world
	cargo build --profile dist --locked -p residency --bins -p residency-loadtest --bin bench-latency
	$(TARGET)/dist/bench-latency $(ARGS)

gameday: ## Regions fall silent, die, are replaced and come back, under load; ONCE=1 ends by itself
	@$(INSTALL) build world
	cargo build --release --locked --workspace --bins
	@ONCE=$(ONCE) $(TARGET)/release/gameday $(ARGS)

bench-positions: ## PAIRS writes, each read back at once while replicas lag, and a count of stale reads; target/bench/positions.json
	@$(INSTALL) build world
	cargo build --release --locked --workspace --bins
	$(TARGET)/release/bench-positions --pairs $(PAIRS) $(ARGS)

bench-changes: ## How soon a change in a register is in force at every gateway; target/bench/changes.json
	@$(INSTALL) build world
	cargo build --release --locked --workspace --bins
	$(TARGET)/release/bench-changes $(ARGS)

oracle: ## REQUESTS random requests over links that break, and an oracle that counts unlawful deliveries
	@$(INSTALL) build world
	cargo build --release --locked --workspace --bins
	$(TARGET)/release/oracle --requests $(REQUESTS) $(ARGS)
