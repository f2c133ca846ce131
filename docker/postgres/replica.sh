#!/bin/bash
# Copies the primary at the first start (waiting for it as long as it takes), and streams from it.
set -euo pipefail
: "${PGDATA:?}" "${PRIMARY_HOST:?}" "${REPLICA_NAME:?}" "${REPLICATION_PASSWORD:?}"

# Made under another name and renamed when complete: a container killed in between starts anew.
if [ ! -d "$PGDATA" ]; then
    new="$PGDATA.new"
    rm -rf "$new"
    until PGPASSWORD="$REPLICATION_PASSWORD" pg_basebackup --pgdata "$new" --checkpoint fast \
        --wal-method stream --write-recovery-conf \
        --dbname "host=$PRIMARY_HOST user=replicator application_name=$REPLICA_NAME"; do
        echo "waiting for $PRIMARY_HOST" >&2
        rm -rf "$new"
        sleep 1
    done
    chmod 700 "$new"
    mv "$new" "$PGDATA"
fi

exec postgres -D "$PGDATA" -c listen_addresses='*' -c unix_socket_directories=/tmp \
    -c hot_standby=on -c max_connections=200 -c max_prepared_transactions=100 -c wal_level=logical \
    -c cluster_name="$REPLICA_NAME" -c compose.server="$REPLICA_NAME"
