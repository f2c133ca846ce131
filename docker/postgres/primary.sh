#!/bin/bash
# Makes the primary at the first start, and runs it. For the compose files; not for production:
# it has no backups and archives nothing. With DBA_PASSWORD there is a superuser `dba`, which the
# rebalancer needs on shards.
set -euo pipefail
: "${PGDATA:?}" "${APP_PASSWORD:?}" "${MONITOR_PASSWORD:?}" "${REPLICATION_PASSWORD:?}"

# Made under another name and renamed when complete: a container killed in between starts anew.
if [ ! -d "$PGDATA" ]; then
    new="$PGDATA.new"
    rm -rf "$new"
    # The superuser may log in through the container's own socket only: it has no password.
    initdb --pgdata "$new" --username postgres --auth-local trust --auth-host scram-sha-256 \
        --encoding UTF8 --locale C.UTF-8 --no-instructions
    {
        echo "host replication replicator all scram-sha-256"
        echo "host all all all scram-sha-256"
    } >>"$new/pg_hba.conf"
    pg_ctl --pgdata "$new" --wait --silent --log /dev/stderr \
        --options "-c listen_addresses='' -c unix_socket_directories=/tmp" start
    psql --host /tmp --username postgres --quiet --set ON_ERROR_STOP=1 \
        --set app="$APP_PASSWORD" --set monitor="$MONITOR_PASSWORD" \
        --set replication="$REPLICATION_PASSWORD" --set database="${DATABASE:-app}" \
        --set dba="${DBA_PASSWORD:-}" <<'SQL'
create role app login password :'app';
create role pgmanifold_monitor login password :'monitor' in role pg_monitor;
create role replicator login replication password :'replication';
create database :"database" owner app;
select format('create role dba login superuser password %L', :'dba') where :'dba' <> '' \gexec
SQL
    pg_ctl --pgdata "$new" --wait --silent --mode fast stop
    mv "$new" "$PGDATA"
fi

exec postgres -D "$PGDATA" -c listen_addresses='*' -c unix_socket_directories=/tmp \
    -c wal_level=logical -c hot_standby=on -c max_wal_senders=10 -c wal_keep_size=256MB \
    -c max_connections=200 -c max_prepared_transactions=100 \
    -c cluster_name="${SERVER_NAME:-primary}" -c compose.server="${SERVER_NAME:-primary}"
