# Everything that people and CI type. `make help` lists it; ARGS is passed on to the program behind a target.

SHELL := bash
export PATH := $(CURDIR)/.tools/bin:$(PATH):$(HOME)/.cargo/bin:/usr/sbin:/sbin

buf_version := 1.75.0
buf_folder  := .tools/buf-$(buf_version)
compose     := .tools/compose/usr/libexec/docker/cli-plugins/docker-compose

.PHONY: help setup up test bench test-engines check check-format check-lints check-proto check-dependencies check-compose

help: ## this list
	@sed -nE 's/^([a-z-]+):[^#]*## /make \1\t/p' Makefile | expand -t 20

setup: ## install what is missing here
	@deploy/setup.sh

up: ## build Cooperage, start it, and show it in a guided tour
	@deploy/setup.sh run
	cargo build --release --locked -p cooper
	@exec target/release/cooper up --tour $(ARGS)

test: setup ## all tests, on the real parts
	cargo build --workspace --bins --locked
	cargo nextest run --workspace --locked $(ARGS)
	@if grep -rqE '^ *//[/!] *```(rust|should_panic|no_run)?$$' --include='*.rs' proto libs services tests; then \
	  echo 'cargo test --doc'; cargo test --doc --workspace --locked; fi

bench: setup ## the numbers: a table, and JSON under bench/
	cargo run --release --locked -p tests --bin bench -- $(ARGS)

test-engines: ## the engine-facing tests on Docker 28.5 with both image stores, and on this machine's own
	@deploy/setup.sh engines
	cargo build --workspace --bins --locked
	deploy/engines.sh each cargo nextest run -p tests --locked -E 'test(/engine/)' $(ARGS)

check: setup check-format check-lints check-proto check-dependencies check-compose ## formatting, lints, contract, licences

check-format:
	cargo fmt --all --check

check-lints:
	cargo clippy --workspace --all-targets --locked -- -D warnings

check-proto:
	@if command -v npm >/dev/null; then $(MAKE) -s $(buf_folder) && \
	  echo 'buf lint proto' && $(buf_folder)/node_modules/.bin/buf lint proto; \
	else echo '==> SKIPPED: buf lint, because there is no npm here (install Node.js 18 or newer)'; fi

# Into a folder of another name first, so that an interrupted installation is not taken for a whole one.
$(buf_folder):
	@echo '==> installing buf $(buf_version) into $@'
	@rm -rf $@.new && npm install --prefix $@.new --no-save --no-audit --no-fund --silent @bufbuild/buf@$(buf_version)
	@mv $@.new $@

# Advisories need a database from the network, so they are no part of this: `cargo deny check advisories`.
check-dependencies:
	@if command -v cargo-deny >/dev/null; then echo 'cargo deny check' && cargo deny --locked check bans licenses sources; \
	else echo '==> SKIPPED: licences and bans, because there is no cargo-deny here (cargo install cargo-deny --locked)'; fi

check-compose:
	@if docker compose version >/dev/null 2>&1; then echo 'docker compose config' && docker compose config -q; \
	elif $(MAKE) -s $(compose); then echo 'docker-compose config' && $(compose) config -q; \
	else echo '==> SKIPPED: docker compose config, because there is no compose plugin here'; fi

$(compose):
	@echo '==> fetching docker-compose from Debian testing into .tools/compose (no docker compose)'
	@deploy/debian.sh testing .tools/compose.new docker-compose && rm -rf .tools/compose && mv .tools/compose.new .tools/compose
