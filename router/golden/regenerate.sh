#!/bin/sh
# Makes the files that are dumped from a real PostgreSQL 15 server: data/functions-15.txt,
# golden/facts.txt and golden/shards_facts.txt. Wants psql, and PGHOST, PGPORT, PGUSER of an empty, disposable server.
#   router/golden/regenerate.sh
set -eu
cd "$(dirname "$0")/.."
export PGOPTIONS='-c client_min_messages=warning'

{
    echo '# PostgreSQL 15 itself: its functions. Made by golden/regenerate.sh; do not edit.'
    echo '# One line per overload of a name that has a volatile one: name min_args max_args volatility.'
    psql -XAt -F ' ' -v ON_ERROR_STOP=1 -d postgres -c "
        select proname, pronargs - pronargdefaults,
               case when provariadic = 0 then pronargs::text else '*' end, provolatile
          from pg_proc p
         where pronamespace = 'pg_catalog'::regnamespace
           and exists (select 1 from pg_proc q
                        where q.proname = p.proname and q.pronamespace = p.pronamespace
                          and q.provolatile = 'v')
         group by 1, 2, 3, 4 order by 1, 2, 3, 4"
    echo '# Names without a volatile overload.'
    psql -XAt -v ON_ERROR_STOP=1 -d postgres -c "
        select proname from pg_proc where pronamespace = 'pg_catalog'::regnamespace
         group by 1 having bool_and(provolatile <> 'v') order by 1" |
        tr '\n' ' ' | fold -s -w 96 | sed 's/^/= /; s/ *$//'
    echo
} > data/functions-15.txt

psql -Xq -d postgres -c 'drop database if exists golden' -c 'drop role if exists golden_reader' \
    -c 'create database golden'
psql -Xq -v ON_ERROR_STOP=1 -d golden -f golden/schema.sql
{
    echo '# The facts of golden/schema.sql. Made by golden/regenerate.sh; do not edit.'
    echo '# Kind, then the columns of its query in COPY text format; pg_catalog is left out.'
    for kind in functions relations views policies types operators everywhere bodies; do
        query=$(grep -v '^--' "src/facts/sql/$kind.sql")
        psql -Xq -v ON_ERROR_STOP=1 -d golden -c "copy (
            select '$kind', rows.* from ($query) rows order by rows::text) to stdout" |
            grep -v -P "^$kind\t(pg_catalog|information_schema)\t" || true
    done
} > golden/facts.txt
psql -Xq -d postgres -c 'drop database golden' -c 'drop role golden_reader'

psql -Xq -d postgres -c 'drop database if exists golden' -c 'create database golden'
psql -Xq -v ON_ERROR_STOP=1 -d golden -f golden/shards.sql
{
    echo '# The facts of golden/shards.sql. Made by golden/regenerate.sh; do not edit.'
    echo '# Kind, then the columns of its query in COPY text format; pg_catalog is left out.'
    schema='database tables columns indexes foreign_keys definitions sequences'
    for kind in functions relations views policies types operators everywhere bodies $schema; do
        file="src/facts/sql/$kind.sql"
        [ -f "$file" ] || file="src/facts/sql/schema/$kind.sql"
        query=$(grep -v '^--' "$file")
        psql -Xq -v ON_ERROR_STOP=1 -d golden -c "copy (
            select '$kind', rows.* from ($query) rows order by rows::text) to stdout" |
            grep -v -P "^$kind\t(pg_catalog|information_schema)\t" || true
    done
} > golden/shards_facts.txt
psql -Xq -d postgres -c 'drop database golden'
