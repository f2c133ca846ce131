#!/bin/sh
# Owns the checklist for psql. Usage: run.sh URL CLIENTS. It must not know what answers the URL.
# Every client runs checklist.sql; its output must be checklist.expected, byte for byte.
#
# psql is of the servers' own version where there is one (an old psql ends CSV data in a way that a server
# since 18 takes for data). Every other client asks for the newest protocol its libpq knows; libpq before 18
# ignores the variable.
set -u
url=$1
clients=$2
here=$(dirname "$0")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
psql=psql
[ -x "${PGMANIFOLD_PG_BIN:-}/psql" ] && psql=$PGMANIFOLD_PG_BIN/psql

run_client() {
    [ $(($1 % 2)) = 0 ] || export PGMAXPROTOCOLVERSION=latest
    "$psql" "$url" -X -v table="psql_$1" -f "$here/checklist.sql" >"$work/$1.out" 2>&1
    sed -e "s/psql_$1/TABLE/g" -e 's/^psql:[^ ]*: //' "$work/$1.out" >"$work/$1.clean"
    # A cancellation: psql passes the interrupt on as a cancel request.
    timeout -s INT 3 "$psql" "$url" -X -q -c '\set VERBOSITY sqlstate' \
        -c 'SELECT pg_sleep(30)' >"$work/$1.cancel" 2>&1
    touch "$work/$1.done"
}

client=0
while [ "$client" -lt "$clients" ]; do
    run_client "$client" &
    client=$((client + 1))
done
wait

status=0
client=0
while [ "$client" -lt "$clients" ]; do
    if diff -u "$here/checklist.expected" "$work/$client.clean" >"$work/diff"; then
        echo "ok checklist (client $client)"
    else
        echo "FAIL checklist: client $client: $(cat "$work/diff")"
        status=1
    fi
    if grep -q 57014 "$work/$client.cancel"; then
        echo "ok cancel (client $client)"
    else
        echo "FAIL cancel: client $client: $(cat "$work/$client.cancel")"
        status=1
    fi
    client=$((client + 1))
done
exit $status
