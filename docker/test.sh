#!/bin/bash
# Smoke test of the image and of compose.yml: builds, starts, checks, removes everything.
# `make test-docker` runs it. Needs docker with compose, and a running daemon (DOCKER_HOST).
set -euo pipefail
cd "$(dirname "$0")/.."
project=pgmanifold-test file=docker/compose.yml
. docker/test-common.sh

build pgmanifold
docker run --rm --network none -v "$PWD/docker/pgmanifold.toml:/c.toml:ro" \
    -e APP_PASSWORD=a -e MONITOR_PASSWORD=m "$PGMANIFOLD_IMAGE" check --config /c.toml

step start
compose up --detach
wait_ready pgmanifold
[ "$(answer pgmanifold /health)" = 200 ] || fail "/health is not 200"
deadline=$((SECONDS + ready_timeout_s))
streaming="select count(*) from pg_stat_replication where state = 'streaming'"
until [ "$(compose exec -T primary psql -h /tmp -U postgres -Atc "$streaming")" = 2 ]; do
    [ "$SECONDS" -lt "$deadline" ] || fail "the replicas do not stream after $ready_timeout_s s"
    sleep 0.5
done

url=postgres://app:app@pgmanifold:6432/app
sql() { compose exec -T primary psql "$url" -XAtq -v ON_ERROR_STOP=1 "$@"; }
# A made-up setting of each server's own: asking for cluster_name would go to the primary.
server="current_setting('compose.server')"

step "a write is read back by its session"
seen=$(sql -c "create table t (n int)" -c "insert into t select generate_series(1, 100)" \
    -c "select count(*) from t")
[ "$seen" = 100 ] || fail "read $seen of 100 rows"

step "reads of fresh sessions run on replicas, writes on the primary"
sleep 1
for _ in 1 2 3 4 5 6 7 8 9 10; do
    where=$(sql -c "select $server from t limit 1")
    case $where in
        replica1 | replica2) ;;
        *) fail "a read ran on $where" ;;
    esac
done
where=$(sql -c "insert into t values (101) returning $server")
[ "$where" = primary ] || fail "a write ran on $where"

step "a statement can be cancelled"
begin=$SECONDS
message=$(compose exec -T primary timeout --signal INT 2 psql "$url" -Xc "select pg_sleep(60)" 2>&1) ||
    true
case $message in
    *"canceling statement due to user request"*) ;;
    *) fail "cancel answered: $message" ;;
esac
[ $((SECONDS - begin)) -lt 20 ] || fail "the cancel took $((SECONDS - begin)) s"

step "a wrong password is refused"
if compose exec -T primary psql "${url/app:app/app:wrong}" -Xc "select 1" >/dev/null 2>&1; then
    fail "a wrong password was let in"
fi

step "reads go on while the primary is down"
compose stop --timeout 10 primary >/dev/null 2>&1
count=$(compose exec -T replica1 psql "$url" -XAtqc "select count(*) from t")
[ "$count" = 101 ] || fail "read $count of 101 rows"

step "the image's health check is content"
container=$(compose ps -q pgmanifold)
deadline=$((SECONDS + ready_timeout_s))
until [ "$(docker inspect --format '{{.State.Health.Status}}' "$container")" = healthy ]; do
    [ "$SECONDS" -lt "$deadline" ] || fail "the container is not healthy"
    sleep 0.5
done

step "docker stop drains and ends with exit code 0"
compose stop pgmanifold >/dev/null 2>&1
code=$(docker inspect --format '{{.State.ExitCode}}' "$container")
[ "$code" = 0 ] || fail "exit code $code"

echo "all passed"
