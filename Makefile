# Two commands on a fresh machine: `make demo` and `make test`.

TARGET := $(or $(CARGO_TARGET_DIR),target)
# The binary that was built last, by `make build` or `make release`.
SERIN := $(TARGET)/serin
PEERS := $(abspath $(TARGET))/peers
PYTHON := $(abspath $(TARGET))/python-venv/bin/python
PYTHON_PLUGINS := plugins/outreach-hardship plugins/outreach-explore
JAVASCRIPT_PLUGINS := plugins/outreach-uplift
PLUGINS := plugins/outreach-rules plugins/outreach-rules-next plugins/outreach-score plugins/outreach-tenure

.PHONY: setup build release demo test test-python test-javascript soak fuzz screenshots bench bench-peers lint

# Installs what is missing, and says what and why. Quick where nothing is.
setup:
	@.ci/setup

# The host and the example artifacts; lays the demo deployment out, so that
# `serin serve --config host/demo/serin.toml` serves it. The same profile and packages as the tests,
# so that dependencies are compiled once.
build: setup
	cargo build --locked --workspace
	@ln -sfn debug/serin $(SERIN)
	@mkdir -p host/demo/plugins
	@for plugin in $(PLUGINS); do $(SERIN) plugin build --quiet $$plugin || exit 1; done
	@cp plugins/outreach-rules/dist/outreach-rules-1.0.0.wasm plugins/outreach-score/dist/outreach-score-1.1.0.wasm host/demo/plugins/

# The optimised host, for production and for measuring, its code laid out by a profile where llvm-bolt is to be had;
# and what it is built from as CycloneDX JSON.
release: setup
	@.ci/release
	@$(TARGET)/supply-venv/bin/python .ci/sbom.py serin $(TARGET)/serin.cdx.json

# Plays the demo; the host stays up until Ctrl-C.
demo: build
	@$(SERIN) demo

# Everything that CI checks.
test: setup lint
	cargo nextest run --locked --workspace
	cargo test --locked --workspace --doc
	@$(MAKE) --no-print-directory -j2 test-python test-javascript

# The SDKs' own tests, and the examples' without Wasm.
test-python:
	cd guest-sdk/python && $(PYTHON) -m mypy && $(PYTHON) -m pytest -q
	@for plugin in $(PYTHON_PLUGINS); do (cd $$plugin && export PYTHONPATH=$(CURDIR)/guest-sdk/python && \
		$(PYTHON) -m serin_guest check . && $(PYTHON) -m pytest -q) || exit 1; done

test-javascript: export SERIN := $(abspath $(TARGET))/debug/serin
test-javascript: export SERIN_NODE := $(abspath $(TARGET))/node
test-javascript:
	node --test guest-sdk/javascript/test/strategy.test.js guest-sdk/javascript/test/build.test.js
	@for plugin in $(JAVASCRIPT_PLUGINS); do \
		node guest-sdk/javascript/bin/serin-guest.js check $$plugin && node --test $$plugin/strategy.test.js || exit 1; done

lint:
	cargo fmt --all --check
	cargo clippy --locked --workspace --all-targets -- -D warnings
	.ci/deny

# New seeds of the simulations: of experiments, of deployments by which check and a host are compared, and of files
# that change under load. For an hour, or for as many seconds as are asked for. And 300 versions of one Python code.
soak: setup
	SERIN_SEEDS=$(or $(SECONDS),3600)s cargo nextest run --locked --workspace --success-output immediate --profile soak \
		-E 'test(::seeds_that_are_asked_for) | test(~three_hundred)'

# New mutations of the corpus in tests/fuzz, for an hour a target or for as many seconds as are asked for. What is found
# is kept there, and `make test` gives it to the target ever after. Then the same of the core's readers, by coverage.
fuzz: setup
	FUZZ_SECONDS=$(or $(SECONDS),3600) cargo nextest run --locked --workspace --success-output immediate --profile soak \
		-E 'test(/^fuzz::mutated/)'
	tests/fuzz/guided/run $(or $(SECONDS),3600)

# The README's pictures of the console, from the test that draws every page into $(TARGET)/screenshots.
screenshots: setup
	cargo nextest run --locked --workspace -E 'test(=console::browser::every_page_works_in_a_browser)'
	@mkdir -p host/demo/screenshots
	@for page in overview experiment; do cp $(TARGET)/screenshots/readme-$$page.png host/demo/screenshots/$$page.png || exit 1; done

# One table, and the same as JSON in $(TARGET)/bench.json. What is served is the optimised host.
bench: release
	SERIN_BENCH_PROGRAM=$(abspath $(SERIN)) cargo bench --locked -p serin --bench serin

# The same decision in other engines, which are compiled here and nowhere else. As JSON in $(TARGET)/bench-peers.json.
bench-peers: release
	$(abspath $(SERIN)) plugin build --quiet host/benches/peers/strategy
	cd host/benches/peers && CARGO_TARGET_DIR=$(PEERS) cargo build --release --locked -p peers
	cd host/benches/peers && CARGO_TARGET_DIR=$(PEERS) cargo build --release --locked -p extism-guest --target wasm32-unknown-unknown
	SERIN_PEERS_PROGRAM=$(abspath $(SERIN)) SERIN_PEERS_OUTPUT=$(abspath $(TARGET))/bench-peers.json \
		SERIN_PEERS_STRATEGY=host/benches/peers/strategy/dist/mean-1.0.0.wasm \
		SERIN_PEERS_EXTISM=$(PEERS)/wasm32-unknown-unknown/release/extism_guest.wasm $(PEERS)/release/peers
