#!/bin/bash
# Smoke test of compose.shards.yml: two shards, catalog, two pgmanifold; keys are moved between the
# shards, back again, and counted. `make test-docker` runs it. Needs docker with compose, and a
# running daemon (DOCKER_HOST).
set -euo pipefail
cd "$(dirname "$0")/.."
project=pgmanifold-test-shards file=docker/compose.shards.yml
. docker/test-common.sh

build pgmanifold1
step start
compose up --detach
wait_ready pgmanifold1
wait_ready pgmanifold2

sql() { # PROXY, then arguments of psql
    local proxy=$1
    shift
    compose exec -T catalog psql "postgres://app:app@$proxy:6432/shop" -XAtq \
        -v ON_ERROR_STOP=1 "$@"
}
rows_on() { # SERVER: rows of orders that lie there
    compose exec -T "$1" psql -h /tmp -U postgres -d shop -XAtqc "select count(*) from orders"
}
rebalancer() { compose run --rm -T rebalancer "$@"; }

step "tables on both shards, 1000 rows"
sql pgmanifold1 -c "create table customers (id bigint primary key, name text)" \
    -c "create table orders (customer_id bigint, n int, primary key (customer_id, n))" \
    -c "create table countries (code text primary key)"
for n in 1 2 3 4 5; do
    values=$(seq -s, -f "(%g,$n)" 1 200)
    sql pgmanifold1 -c "insert into orders values $values"
done
[ "$(sql pgmanifold2 -c 'select count(*) from orders')" = 1000 ] || fail "not 1000 rows"
north=$(rows_on north) south=$(rows_on south)
[ $((north + south)) = 1000 ] || fail "$north + $south rows on the shards"

step "the upper half of north's keys moves to south"
rebalancer apply --distribution customer --from -4611686018427387904 --to 0 --target south --cleanup
moved_north=$(rows_on north) moved_south=$(rows_on south)
[ $((moved_north + moved_south)) = 1000 ] || fail "$moved_north + $moved_south rows afterwards"
[ "$moved_north" -lt "$north" ] || fail "nothing has moved"
for proxy in pgmanifold1 pgmanifold2; do
    [ "$(sql "$proxy" -c 'select count(*) from orders')" = 1000 ] || fail "$proxy: not 1000 rows"
done
sql pgmanifold2 -c "update orders set n = n + 100 where customer_id <= 200"
[ "$(sql pgmanifold1 -c 'select sum(n) from orders')" = 103000 ] || fail "a wrong sum"

step "and back, by rollback of a second move"
rebalancer apply --distribution customer --from -9223372036854775807 --to -4611686018427387904 \
    --target south
rebalancer rollback 2
[ "$(rows_on north)" = "$moved_north" ] || fail "the rollback left $(rows_on north) rows on north"
[ "$(sql pgmanifold2 -c 'select sum(n) from orders')" = 103000 ] || fail "a wrong sum"
compose exec -T pgmanifold1 pgmanifold map verify --user dba \
    --config /etc/pgmanifold/pgmanifold.toml
rebalancer status

echo "all passed"
