# Two commands on a fresh machine: `make demo` and `make test`.

TARGET := $(or $(CARGO_TARGET_DIR),target)
SERIN := $(TARGET)/release/serin
PLUGINS := plugins/outreach-rules plugins/outreach-rules-next plugins/outreach-score plugins/outreach-tenure

.PHONY: setup build demo test bench lint artifacts

# Installs what is missing, and says what and why. Quick where nothing is.
setup:
	@.ci/setup

# The release host and the example artifacts; lays the demo deployment out, so that
# `serin serve --config host/demo/serin.toml` serves it.
build: setup
	cargo build --release --locked -p serin
	@mkdir -p host/demo/plugins
	@for plugin in $(PLUGINS); do $(SERIN) plugin build --quiet $$plugin || exit 1; done
	@cp plugins/outreach-rules/dist/outreach-rules-1.0.0.wasm plugins/outreach-score/dist/outreach-score-1.1.0.wasm host/demo/plugins/

# Plays the demo; the host stays up until Ctrl-C.
demo: build
	@$(SERIN) demo

# Everything that CI checks.
test: setup lint
	cargo nextest run --locked --workspace
	cargo test --locked --workspace --doc

lint:
	cargo fmt --all --check
	cargo clippy --locked --workspace --all-targets -- -D warnings

# One table, and the same as JSON in $(TARGET)/bench.json.
bench: build
	cargo bench --locked -p serin --bench serin
