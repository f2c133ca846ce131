-- The catalog of shard maps: one map per database, each under an epoch of its own. To be run in
-- the catalog's database by the schema's owner; running it again changes nothing. PostgreSQL 13
-- and later, no extensions. As one query string it is one transaction.
--
-- A map changes only together with its epoch: the transaction first raises pgm.cluster.epoch by
-- one, then changes rows. What is not a whole map is refused when it commits.
select pg_catalog.pg_advisory_xact_lock(8104923581637101);

create schema if not exists pgm;

create table if not exists pgm.catalog (
    only_one boolean primary key default true check (only_one),
    id uuid not null default pg_catalog.gen_random_uuid(),
    version integer not null
);
-- A newer program's catalog stays what it is.
insert into pgm.catalog as c (version) values (2)
    on conflict (only_one) do update set version = excluded.version
    where c.version < excluded.version;

create table if not exists pgm.cluster (
    database text primary key check (octet_length(database) between 1 and 63),
    epoch bigint not null check (epoch >= 1),
    home text not null,
    changed_in xid8 not null default pg_catalog.pg_current_xact_id(),
    changed_at timestamptz not null default pg_catalog.now()
);

create table if not exists pgm.shard (
    database text not null references pgm.cluster on delete cascade,
    name text not null check (octet_length(name) between 1 and 63),
    place integer not null check (place between 0 and 65534),
    primary key (database, name),
    unique (database, place) deferrable initially deferred
);

create table if not exists pgm.distribution (
    id bigint generated always as identity primary key,
    database text not null references pgm.cluster on delete cascade,
    name text not null check (octet_length(name) between 1 and 63),
    place integer not null check (place >= 0),
    kind text not null check (kind in ('hash', 'range', 'list', 'reference', 'single')),
    key_types text[] not null check (
        array_position(key_types, null) is null and key_types <@ array['smallint', 'integer',
        'bigint', 'text', 'varchar', 'uuid', 'bytea', 'date', 'timestamptz']),
    home text,
    unique (database, name),
    unique (database, place) deferrable initially deferred,
    unique (id, database),
    foreign key (database, home) references pgm.shard deferrable initially deferred,
    check ((home is not null) = (kind = 'single')),
    check (case when kind = 'hash' then cardinality(key_types) between 1 and 32
                when kind in ('range', 'list') then cardinality(key_types) = 1
                else cardinality(key_types) = 0 end)
);

-- Of kind hash: the hashes; of kind range: the first value, NULL for the very beginning.
create table if not exists pgm.key_range (
    distribution bigint not null,
    database text not null,
    shard text not null,
    hashes int8range check (not isempty(hashes)),
    starts text check (octet_length(starts) <= 1024),
    foreign key (distribution, database) references pgm.distribution (id, database)
        on delete cascade,
    foreign key (database, shard) references pgm.shard deferrable initially deferred,
    check (hashes is null or starts is null),
    constraint ranges_do_not_overlap
        exclude using gist (int8range(distribution, distribution, '[]') with &&, hashes with &&)
        deferrable initially deferred
);

create table if not exists pgm.list_value (
    distribution bigint not null,
    database text not null,
    value text not null check (octet_length(value) <= 1024),
    shard text not null,
    primary key (distribution, value),
    foreign key (distribution, database) references pgm.distribution (id, database)
        on delete cascade,
    foreign key (database, shard) references pgm.shard deferrable initially deferred
);

-- Keys that are on their way to another shard: borders as in pgm.key_range, or listed values.
create table if not exists pgm.moving (
    distribution bigint not null,
    database text not null,
    move bigint not null check (move > 0),
    source text not null,
    target text not null check (target <> source),
    paused boolean not null,
    starts text check (octet_length(starts) <= 1024),
    ends text check (octet_length(ends) <= 1024),
    list_values text[],
    primary key (database, move),
    foreign key (distribution, database) references pgm.distribution (id, database)
        on delete cascade,
    foreign key (database, source) references pgm.shard deferrable initially deferred,
    foreign key (database, target) references pgm.shard deferrable initially deferred,
    check (list_values is null or (starts is null and ends is null)),
    check (cardinality(list_values) > 0 and array_position(list_values, null) is null)
);

create table if not exists pgm.sharded_table (
    database text not null,
    schema_name text not null check (octet_length(schema_name) between 1 and 63),
    table_name text not null check (octet_length(table_name) between 1 and 63),
    place integer not null check (place >= 0),
    distribution text not null,
    key_columns text[] not null check (array_position(key_columns, null) is null),
    unchecked_unique boolean not null default false,
    primary key (database, schema_name, table_name),
    foreign key (database, distribution) references pgm.distribution (database, name)
        on delete cascade
);

-- What each process has: the newest epoch it took into use, and the one below which nothing of it
-- runs any more. A name is one process's for ever. It writes its row before it reads its first map,
-- whenever one of the two epochs changes, and otherwise every poll_interval_ms, at most 10 s apart:
-- an older heartbeat is that of a process that has ended, hangs, or cannot reach the catalog. The
-- last one goes on by the map it has. Whoever deletes the row must have cut the process off from
-- the shards before; one that comes back writes it again before any shard lets it in.
create table if not exists pgm.proxy (
    database text not null,
    name text not null,
    seen_epoch bigint not null,
    acked_epoch bigint not null check (acked_epoch <= seen_epoch),
    heartbeat timestamptz not null default pg_catalog.clock_timestamp(),
    primary key (database, name)
);

-- Moves of keys: one row each, from its plan to its end. `state` is a word of the rebalancer's;
-- `journal` is what the state needs to go on after a crash.
create table if not exists pgm.move (
    id bigint generated always as identity primary key,
    database text not null references pgm.cluster on delete cascade,
    distribution text not null,
    mode text not null check (mode in ('online', 'offline')),
    starts text,
    ends text,
    list_values text[],
    source text not null,
    target text not null,
    state text not null,
    -- What somebody has asked for: 'pause', 'abort', 'rollback', 'cleanup'.
    wish text check (wish in ('pause', 'abort', 'rollback', 'cleanup')),
    journal jsonb not null default '{}',
    rows_total bigint,
    rows_copied bigint not null default 0,
    bytes_copied bigint not null default 0,
    rows_per_s double precision,
    lag_bytes bigint,
    write_pause_ms double precision,
    attempts integer not null default 0,
    last_error text,
    created_at timestamptz not null default pg_catalog.clock_timestamp(),
    started_at timestamptz,
    changed_at timestamptz not null default pg_catalog.clock_timestamp(),
    ended_at timestamptz
);

-- What happened to each move, for people.
create table if not exists pgm.move_event (
    id bigint generated always as identity primary key,
    move bigint not null references pgm.move on delete cascade,
    at timestamptz not null default pg_catalog.clock_timestamp(),
    state text not null,
    note text not null
);

-- Where load comes from: executions routed by key, by the part of the hash space (of 1024 equal
-- ones) that the key is in, as each process has counted them since it began.
create table if not exists pgm.load (
    database text not null,
    distribution text not null,
    process text not null,
    part integer not null check (part between 0 and 1023),
    executions bigint not null,
    counted_at timestamptz not null default pg_catalog.clock_timestamp(),
    primary key (database, distribution, process, part)
);

create table if not exists pgm.history (
    id bigint generated always as identity primary key,
    database text not null,
    epoch bigint not null,
    changed_at timestamptz not null default pg_catalog.now(),
    changed_by text not null default session_user,
    note text not null
);

create or replace function pgm.raise_epoch() returns trigger language plpgsql as $$
begin
    if tg_op = 'UPDATE' then
        if new.database <> old.database or new.epoch <> old.epoch + 1 then
            raise exception 'a change of a shard map raises its epoch by one'
                using errcode = 'integrity_constraint_violation';
        end if;
    end if;
    new.changed_in := pg_catalog.pg_current_xact_id();
    new.changed_at := pg_catalog.now();
    return new;
end $$;

create or replace function pgm.want_new_epoch() returns trigger language plpgsql as $$
declare
    names text[] := '{}';
begin
    if tg_op <> 'INSERT' then names := names || old.database; end if;
    if tg_op <> 'DELETE' then names := names || new.database; end if;
    -- Without a row the map is being deleted as a whole.
    if exists (select from pgm.cluster c
                where c.database = any (names)
                  and c.changed_in <> pg_catalog.pg_current_xact_id()) then
        raise exception 'a shard map changes only with its epoch'
            using errcode = 'integrity_constraint_violation',
                  hint = 'Raise pgm.cluster.epoch by one in the same transaction first.';
    end if;
    if tg_op = 'DELETE' then return old; end if;
    return new;
end $$;

create or replace function pgm.check_values(type text, given text[]) returns void
language plpgsql set datestyle = 'ISO, YMD' set timezone = 'UTC' as $$
declare
    repeated boolean;
begin
    execute pg_catalog.format(
        'select count(*) <> count(distinct v::%s) from pg_catalog.unnest($1) v', type)
        into repeated using given;
    if repeated then
        raise exception 'a value stands twice in a shard map'
            using errcode = 'integrity_constraint_violation';
    end if;
end $$;

create or replace function pgm.check_map() returns trigger language plpgsql as $$
declare
    d record;
    wrong text;
begin
    for d in select * from pgm.distribution where database = new.database order by place loop
        wrong := null;
        if d.kind = 'hash' then
            select case when count(*) = 0 then 'there are no ranges'
                        when bool_or(hashes is null) then 'a range is not of hashes'
                        when bool_or(lower(hashes) is distinct from before) then
                            'there is a gap or an overlap between its ranges'
                        when not bool_or(upper_inf(hashes)) then 'the last hashes are nobody''s'
                   end into wrong
              from (select hashes, lag(upper(hashes)) over (
                               order by lower(hashes) nulls first) as before
                      from pgm.key_range where distribution = d.id) r;
        elsif d.kind = 'range' then
            select case when bool_or(hashes is not null) then 'a range is not of values'
                        when count(*) filter (where starts is null) <> 1 then
                            'there is not exactly one range from the very beginning'
                   end into wrong
              from pgm.key_range where distribution = d.id;
            perform pgm.check_values(d.key_types[1], array(
                select starts from pgm.key_range
                 where distribution = d.id and starts is not null));
        elsif exists (select from pgm.key_range where distribution = d.id) then
            wrong := 'it cannot have ranges';
        end if;
        if d.kind = 'list' then
            if not exists (select from pgm.list_value where distribution = d.id) then
                wrong := 'there are no listed values';
            end if;
            perform pgm.check_values(d.key_types[1], array(
                select value from pgm.list_value where distribution = d.id));
        elsif exists (select from pgm.list_value where distribution = d.id) then
            wrong := 'it cannot have listed values';
        end if;
        if exists (select from pgm.moving m
                    where m.distribution = d.id
                      and (d.kind not in ('hash', 'range', 'list')
                           or (d.kind = 'list') <> (m.list_values is not null))) then
            wrong := 'the keys of a move are not such as it has';
        end if;
        if exists (select from pgm.sharded_table t
                    where t.database = d.database and t.distribution = d.name
                      and cardinality(t.key_columns) <> cardinality(d.key_types)) then
            wrong := 'a table has another number of key columns';
        end if;
        if wrong is not null then
            raise exception 'distribution % of database %: %', d.name, d.database, wrong
                using errcode = 'integrity_constraint_violation';
        end if;
    end loop;
    if not exists (select from pgm.shard where database = new.database and name = new.home)
       and exists (select from pgm.cluster where database = new.database) then
        raise exception 'database %: its home is not one of its shards', new.database
            using errcode = 'integrity_constraint_violation';
    end if;
    return null;
end $$;

drop trigger if exists raise_epoch on pgm.cluster;
create trigger raise_epoch before insert or update on pgm.cluster
    for each row execute function pgm.raise_epoch();
drop trigger if exists check_map on pgm.cluster;
create constraint trigger check_map after insert or update on pgm.cluster
    deferrable initially deferred for each row execute function pgm.check_map();
do $$
declare
    name text;
begin
    foreach name in array array['shard', 'distribution', 'key_range', 'list_value',
                                'moving', 'sharded_table'] loop
        execute format('drop trigger if exists want_new_epoch on pgm.%I', name);
        execute format('create trigger want_new_epoch before insert or update or delete '
                       'on pgm.%I for each row execute function pgm.want_new_epoch()', name);
    end loop;
end $$;
