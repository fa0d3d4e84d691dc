# Two commands do all from a bare clone: `make demo` and `make test`. Needed before: Rust, a C++
# compiler, Python 3.10 or newer with its venv module.

PYTHON ?= python3
CARGO ?= cargo
# A lock file that does not fit Cargo.toml is an error here, not something to mend in passing.
LOCKED ?= --locked
# Packages that need no libtorch. Each command names its packages: with --workspace, cargo would unify
# the features of all, and the program would link libtorch.
LIBRARY = -p tch-tensorboard --no-default-features --features checkpoint,serde
CLI = -p tch-tensorboard-cli
TOOLS = -p tch-tensorboard-proto -p tch-tensorboard-interop -p tch-tensorboard-tidy
BENCHES = -p tch-tensorboard-benches

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help setup demo board test test-setup test-foreign test-wrong test-checker lint test-rust docs package check-range e2e \
	bench bench-peers bench-pictures bench-long-run bench-demo bench-mine bench-faults bench-wild bench-reader \
	bench-reliability fuzz shuttle wheel deny clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-17s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## find libtorch and TensorBoard, or install both into .venv (every target below that needs it does this)
	@command -v $(PYTHON) >/dev/null 2>&1 || { \
		echo "setup: error: '$(PYTHON)' is not on PATH: install Python 3.10 or newer, or name one: make PYTHON=/path/to/python3 demo" >&2; exit 1; }
	@$(PYTHON) scripts/setup

demo: setup ## train the CNN example, log it to runs/ and print the weight report (DEMO_ARGS=... are passed on)
	$(CARGO) run $(LOCKED) --example cnn -- $(DEMO_ARGS)

board: setup ## open TensorBoard on runs/; it prints its address (BOARD_ARGS=... are passed on)
	@python=$$($(PYTHON) scripts/setup --print-python) && exec "$$python" -m tensorboard.main --logdir runs $(BOARD_ARGS)

# Cheap and likely failures first.
test: test-setup lint test-rust test-foreign docs package check-range test-wrong e2e ## run every check that CI runs
	@echo "== all checks passed"

test-setup: setup
	@echo "== tests of the set-up"
	@$(PYTHON) -m unittest discover --start-directory scripts

lint: setup ## formatting, and clippy with and without the tch feature
	@echo "== formatting"
	$(CARGO) fmt --all --check
	@echo "== clippy without libtorch"
	$(CARGO) clippy $(LOCKED) $(LIBRARY) --all-targets -- -D warnings
	$(CARGO) clippy $(LOCKED) $(CLI) --all-targets -- -D warnings
	$(CARGO) clippy $(LOCKED) $(TOOLS) --all-targets -- -D warnings
	@echo "== clippy"
	$(CARGO) clippy $(LOCKED) -p tch-tensorboard $(BENCHES) --features tch-tensorboard/checkpoint,tch-tensorboard/serde --all-targets -- -D warnings

test-rust: setup ## unit, integration and documentation tests, with and without the tch feature
	@echo "== tests without libtorch"
	$(CARGO) test $(LOCKED) $(LIBRARY)
	@echo "== tests of the program"
	$(CARGO) test $(LOCKED) $(CLI)
	@echo "== tests of the repository, of the generated code, and beside other writers"
	$(CARGO) test $(LOCKED) $(TOOLS)
	@echo "== tests"
	$(CARGO) test $(LOCKED) --features checkpoint,serde

test-foreign: setup ## a program outside the workspace that follows the README, built as cargo does by default
	@echo "== tests of a foreign program"
	@CARGO="$(CARGO)" $(PYTHON) -m unittest discover --start-directory tests/foreign

docs: setup ## build the documentation with and without the tch feature; a warning is an error
	@echo "== documentation without libtorch"
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc $(LOCKED) --no-deps $(LIBRARY)
	@echo "== documentation"
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc $(LOCKED) --no-deps --features checkpoint,serde

package: ## what crates.io would get: the library and the program can be packaged
	@echo "== packages"
	$(CARGO) package $(LOCKED) --quiet --workspace --no-verify --allow-dirty

check-range: ## compile against the oldest and the newest tch of the range in Cargo.toml (needs no libtorch)
	@echo "== the range of tch versions"
	CARGO="$(CARGO)" scripts/check-range

test-wrong: ## what the compiler says of wrong programs (needs no libtorch; uses what check-range has compiled)
	@echo "== tests of wrong programs"
	@CARGO="$(CARGO)" $(PYTHON) -m unittest discover --start-directory tests/wrong_programs

test-checker: setup
	@echo "== tests of the end-to-end checker"
	@python=$$($(PYTHON) scripts/setup --print-python) && "$$python" -m unittest discover --start-directory tests/end_to_end

e2e: test-checker ## train, read the log back through the real TensorBoard (both loaders) and compare it with numpy
	@echo "== end to end, through TensorBoard"
	@python=$$($(PYTHON) scripts/setup --print-python) && CARGO="$(CARGO)" tests/end_to_end/run "$$python"

# Builds a benchmark and prints where it lies.
executable = json=$$($(CARGO) bench $(LOCKED) $(BENCHES) $(1) --no-run --message-format json-render-diagnostics) && \
	printf '%s\n' "$$json" | sed -n 's/.*"executable":"\([^"]*\)".*/\1/p' | tail -n 1

# Timings are for reading; no test asserts one. Run these on a quiet machine.
bench: setup ## what logging costs, in copies of the same tensors (BENCH_ARGS="caller cpu resnet18" chooses)
	$(CARGO) bench $(LOCKED) $(BENCHES) --bench logger -- $(BENCH_ARGS)

# The peers are installed beside the build results: the Python that set-up has found may be the user's own.
bench-peers: setup ## the same work by this crate, torch.utils.tensorboard, tensorboardX and tensorboard-rs, to benches/results/
	@python=$$($(PYTHON) scripts/setup --print-python) && \
	"$$python" -m pip install --quiet --no-deps --upgrade --target target/peers --requirement benches/requirements.txt && \
	program=$$($(call executable,--bench peers)) && \
	PYTHONPATH=target/peers "$$python" benches/peers/peers.py "$$program" $(BENCH_ARGS)

bench-pictures: setup ## what log_image costs beside torch's add_image, and weight_map of the writer's time
	@python=$$($(PYTHON) scripts/setup --print-python) && \
	program=$$($(call executable,--bench pictures)) && \
	"$$python" benches/pictures/images.py "$$program" $(BENCH_ARGS) && echo && "$$program" map

bench-long-run: setup ## 100 000 calls for 300 tensors with the defaults, and how TensorBoard loads them
	rm -rf target/long_run
	$(CARGO) bench $(LOCKED) $(BENCHES) --bench long_run -- "$(CURDIR)/target/long_run/run"
	@python=$$($(PYTHON) scripts/setup --print-python) && "$$python" benches/board_load.py target/long_run

bench-reliability: setup ## the same faults for this crate, tensorboard-rs and torch.utils.tensorboard, as a table
	@python=$$($(PYTHON) scripts/setup --print-python) && \
	program=$$($(call executable,--no-default-features --bench reliability)) && \
	"$$python" benches/reliability/trial.py "$$program" $(BENCH_ARGS)

bench-demo: setup ## training time of the demo with and without logging
	$(CARGO) build $(LOCKED) --release --example cnn
	@python=$$($(PYTHON) scripts/setup --print-python) && "$$python" benches/demo.py target/release/examples/cnn

bench-mine: ## time and CPU time of a program of yours with and without logging (BENCH_ARGS="--pairs 15 -- target/release/train")
	@$(PYTHON) benches/mine.py $(BENCH_ARGS)

bench-faults: setup ## verdicts on training runs with a known fault and on healthy ones (BENCH_ARGS="--fault nan --verbose" chooses)
	$(CARGO) bench $(LOCKED) $(BENCHES) --bench faults -- $(or $(BENCH_ARGS),--output "$(CURDIR)/benches/results/faults.md")

bench-wild: setup ## verdicts on programs made after public reports (BENCH_ARGS="--only gan --check --verbose" chooses)
	$(CARGO) bench $(LOCKED) $(BENCHES) --bench wild -- $(or $(BENCH_ARGS),--output "$(CURDIR)/benches/results/wild.md")

bench-reader: ## how fast the program reads event files of several kinds, by subcommand
	$(CARGO) bench $(LOCKED) $(CLI) --bench reader -- $(BENCH_ARGS)

# Needs cargo-fuzz (cargo install cargo-fuzz) and a nightly toolchain. A finding stays in
# fuzz/artifacts; once fixed it belongs into fuzz/corpus, which the unit tests run.
FUZZ_SECONDS ?= 60
FUZZ_TARGETS ?= records events tags histogram checkpoint

fuzz: ## feed the readers, checkpoints, the report, layout patterns and histograms arbitrary bytes (FUZZ_SECONDS=1800 FUZZ_TARGETS=events)
	@for target in $(FUZZ_TARGETS); do \
		mkdir -p fuzz/target/corpus/$$target; \
		$(CARGO) +nightly fuzz run $$target fuzz/target/corpus/$$target fuzz/corpus/$$target -- \
			-max_total_time=$(FUZZ_SECONDS) -max_len=65536 -rss_limit_mb=2048 -timeout=20 || exit 1; \
	done

wheel: ## a Python wheel of the program, built, installed into a fresh environment, and tried
	scripts/wheel $(PYTHON)

deny: ## licences, sources and known faults of all crates used (needs cargo-deny and its database of advisories)
	$(CARGO) deny --all-features check

shuttle: ## try the queue and the pools between threads under many schedules
	RUSTFLAGS="--cfg shuttle" $(CARGO) test $(LOCKED) --no-default-features --lib --target-dir target/shuttle schedules

clean: ## remove build results; .venv and runs/ stay
	$(CARGO) clean
