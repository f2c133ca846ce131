-- What pgmanifold keeps on every shard. Installing it again changes nothing; run as one transaction
-- by a superuser. $NUMBER$ is the shard's number, from 0.

select pg_catalog.pg_advisory_xact_lock(8101513);

create schema if not exists pgm;

-- Functions here run with their owner's rights: nobody else may have made the schema.
do $do$
begin
  if not exists (select from pg_catalog.pg_namespace n join pg_catalog.pg_roles r on r.oid = n.nspowner
                 where n.nspname = 'pgm' and (r.rolsuper or r.rolname = current_user)) then
    raise exception using errcode = '42501',
      message = 'schema "pgm" belongs to somebody else';
  end if;
end $do$;

grant usage on schema pgm to public;

-- Who this shard is.
create table if not exists pgm.this_shard (
  only_row boolean primary key default true check (only_row),
  number integer not null check (number between 0 and 4095),
  version integer not null
);
grant select on pgm.this_shard to public;

do $do$
begin
  if exists (select from pgm.this_shard where number <> $NUMBER$) then
    raise exception using errcode = '55000',
      message = pg_catalog.format('this is shard %s, not shard %s',
                                  (select number from pgm.this_shard), $NUMBER$),
      hint = 'Ids made here contain the number of the shard: another number could repeat them.';
  end if;
end $do$;

insert into pgm.this_shard (number, version) values ($NUMBER$, $VERSION$)
  on conflict (only_row) do update set version = excluded.version;

-- Statements that go by a map below this epoch must not come here any more: keys were moved since.
alter table pgm.this_shard add column if not exists least_epoch bigint not null default 0;

-- Which server process works for which pgmanifold, by which epoch. Rows of processes that have ended
-- stay until their number comes again.
create unlogged table if not exists pgm.attached (
  pid integer primary key,
  started timestamptz not null,
  process text not null,
  epoch bigint not null
);

-- A pgmanifold says that it begins to send statements over this connection, and below which epoch
-- none of its statements runs any more. Whoever raises the least epoch takes the lock exclusively,
-- so afterwards everybody is either in the table or refused.
create or replace function pgm.attach(process text, epoch bigint) returns void
  language plpgsql security definer set search_path = pg_catalog, pg_temp
  as $fn$
declare
  least bigint;
begin
  if not pg_is_in_recovery() then
    perform pg_advisory_xact_lock_shared(8101514);
  end if;
  select least_epoch into least from pgm.this_shard;
  if attach.epoch < least then
    raise exception using errcode = 'PGM07',
      message = format('the shard map with epoch %s is too old for this shard', attach.epoch),
      detail = format('Keys were moved since. The shard asks for epoch %s at least.', least),
      hint = 'pgmanifold must read the map from the catalog first.';
  end if;
  if not pg_is_in_recovery() then
    insert into pgm.attached as a (pid, started, process, epoch)
      select pg_backend_pid(), s.backend_start, attach.process, attach.epoch
      from pg_stat_get_activity(pg_backend_pid()) s
      on conflict (pid) do update set started = excluded.started, process = excluded.process,
        epoch = excluded.epoch;
  end if;
end $fn$;
grant execute on function pgm.attach(text, bigint) to public;

-- Refuses statements from maps below this epoch from now on.
create or replace function pgm.raise_least_epoch(epoch bigint) returns void
  language plpgsql security definer set search_path = pg_catalog, pg_temp
  as $fn$
begin
  perform pg_advisory_xact_lock(8101514);
  update pgm.this_shard as t set least_epoch = raise_least_epoch.epoch
    where t.least_epoch < raise_least_epoch.epoch;
end $fn$;
revoke execute on function pgm.raise_least_epoch(bigint) from public;

-- Rows that tell how far changes have come which are on their way to another shard.
create table if not exists pgm.marker (
  move bigint not null,
  number bigint not null,
  primary key (move, number)
);

-- Trigger function: the keys are being moved to another shard, or were.
create or replace function pgm.reject_moved() returns trigger
  language plpgsql set search_path = pg_catalog, pg_temp
  as $fn$
begin
  raise exception using errcode = 'PGM01',
    message = format('keys of table %I.%I are being moved to another shard', tg_table_schema,
                     tg_table_name),
    hint = 'Repeat the transaction.';
end $fn$;

-- Trigger function: TRUNCATE would not reach the rows that are on their way.
create or replace function pgm.reject_truncate() returns trigger
  language plpgsql set search_path = pg_catalog, pg_temp
  as $fn$
begin
  raise exception using errcode = 'PGM02',
    message = format('table %I.%I cannot be truncated while keys of it are being moved',
                     tg_table_schema, tg_table_name),
    hint = 'Repeat it when the move has ended, or use DELETE.';
end $fn$;

-- Tables of which keys are being moved: what pgm.reject_ddl protects.
create table if not exists pgm.moving_table (
  move bigint not null,
  relation oid not null,
  primary key (move, relation)
);

-- Event trigger function, of ddl_command_end and sql_drop: DDL of the tables of pgm.moving_table, or
-- of what belongs to them, would not reach the rows that are on their way. It runs with its owner's
-- rights, because anybody's DDL comes here.
create or replace function pgm.reject_ddl() returns event_trigger
  language plpgsql security definer set search_path = pg_catalog, pg_temp
  as $fn$
declare
  concerned text;
begin
  if tg_event = 'sql_drop' then
    select d.object_identity into concerned from pg_event_trigger_dropped_objects() d
      where (d.classid = 'pg_class'::regclass
             and d.objid in (select m.relation from pgm.moving_table m))
         or (d.object_type in ('table constraint', 'trigger', 'policy', 'rule', 'default value')
             and cardinality(d.address_names) >= 3
             and to_regclass(format('%I.%I', d.address_names[1], d.address_names[2]))
                 in (select m.relation from pgm.moving_table m))
      limit 1;
  else
    select c.object_identity into concerned from pg_event_trigger_ddl_commands() c
      where c.command_tag not in ('COMMENT', 'SECURITY LABEL', 'GRANT', 'REVOKE')
        and exists (
          select from pgm.moving_table m where m.relation = case c.classid
            when 'pg_class'::regclass then coalesce(
              (select i.indrelid from pg_index i where i.indexrelid = c.objid
               union all select h.inhparent from pg_inherits h where h.inhrelid = c.objid
                 and not exists (select from pg_index i where i.indexrelid = c.objid)
                 and c.objid not in (select o.relation from pgm.moving_table o) limit 1), c.objid)
            when 'pg_trigger'::regclass then
              (select t.tgrelid from pg_trigger t where t.oid = c.objid)
            when 'pg_policy'::regclass then
              (select p.polrelid from pg_policy p where p.oid = c.objid)
            when 'pg_rewrite'::regclass then
              (select w.ev_class from pg_rewrite w where w.oid = c.objid)
            when 'pg_constraint'::regclass then
              (select k.conrelid from pg_constraint k where k.oid = c.objid)
          end)
      limit 1;
  end if;
  if concerned is not null then
    raise exception using errcode = 'PGM02',
      message = format('%s cannot be changed while keys of the table are being moved', concerned),
      hint = 'Repeat it when the move has ended, on all shards.';
  end if;
end $fn$;

create or replace function pgm.shard() returns integer
  language sql stable parallel safe security definer set search_path = pg_catalog, pg_temp
  as $fn$ select number from pgm.this_shard $fn$;

-- How transactions ended whose home is this shard: 'c' committed, 'a' rolled back. There is one row
-- per transaction, and whoever inserts it first decides.
create table if not exists pgm.dtx (
  gid text collate "C" primary key,
  outcome "char" not null check (outcome in ('c', 'a')),
  decided_at timestamptz not null default pg_catalog.clock_timestamp(),
  parts text not null
);

-- Decides that the transaction is committed, together with the caller's own. The name ends in a
-- hash of a secret that only the coordinator knows: to have seen the name is not enough. A name
-- older than 12 hours is refused: by then its row may be forgotten.
create or replace function pgm.decide(gid text, secret text, parts text) returns void
  language plpgsql security definer set search_path = pg_catalog, pg_temp
  as $fn$
declare
  made_at bigint;
begin
  if right(gid, 32) is distinct from left(encode(sha256(decode(secret, 'hex')), 'hex'), 32) then
    raise exception using errcode = '42501',
      message = 'the secret is not the one of this transaction';
  end if;
  made_at := ('x' || left(right(gid, 44), 12))::bit(48)::bigint;
  if extract(epoch from clock_timestamp()) * 1000 - made_at > 43200000 then
    raise exception using errcode = '40001',
      message = 'the transaction took too long to commit';
  end if;
  insert into pgm.dtx as d (gid, outcome, parts) values (decide.gid, 'c', decide.parts)
    on conflict on constraint dtx_pkey do nothing;
  if not found then
    raise exception using errcode = '40001',
      message = 'the transaction was rolled back by recovery',
      detail = 'Its parts were prepared on the other shards for longer than '
               'two_phase_recovery_interval_ms.';
  end if;
end $fn$;
grant execute on function pgm.decide(text, text, text) to public;

-- How the transaction ended. If it was not decided, it is now: it is rolled back.
create or replace function pgm.resolve(gid text) returns "char"
  language plpgsql security definer set search_path = pg_catalog, pg_temp
  as $fn$
declare
  result "char";
begin
  insert into pgm.dtx as d (gid, outcome, parts) values (resolve.gid, 'a', '')
    on conflict on constraint dtx_pkey do nothing;
  select d.outcome into strict result from pgm.dtx as d where d.gid = resolve.gid;
  return result;
end $fn$;
revoke execute on function pgm.resolve(text) from public;

-- Deletes up to 10,000 decisions of this home that are older than a day, except those of `live`
-- transactions, and returns how many. Names begin with the time they were made at.
create or replace function pgm.forget(home text, live text[]) returns bigint
  language plpgsql security definer set search_path = pg_catalog, pg_temp
  as $fn$
declare
  day_ago timestamptz := clock_timestamp() - interval '1 day';
  first text := 'pgm:' || home || ':';
  deleted bigint;
begin
  delete from pgm.dtx as d where d.gid in (
    select o.gid from pgm.dtx as o
    where o.gid > first
      and o.gid < first || lpad(to_hex((extract(epoch from day_ago) * 1000)::bigint), 12, '0')
      and o.decided_at < day_ago and o.gid <> all (live)
    order by o.gid limit 10000);
  get diagnostics deleted = row_count;
  return deleted;
end $fn$;
revoke execute on function pgm.forget(text, text[]) from public;

-- Ids that no other shard makes: 41 bits of milliseconds since 2020-01-01, 12 bits of the shard's
-- number, 10 bits of a counter. The first and the last part are one number of 51 bits, drawn from
-- `id_next`. It is drawn without a lock; `id_step` moves it forward to the clock when it has
-- fallen behind by more than a second, and allows values up to `id_end`.
--
-- Why no number comes twice: `id_next` only ever moves forward. Only `id_step` sets it, and one at
-- a time (`id_gate`). It sets it 262,144 beyond the larger of its value and of `id_end`. Who
-- wants a number draws it only after having seen that `id_next` has not reached `id_end`, which
-- stands still meanwhile; so between the look of `id_step` and its step, `id_next` can pass what
-- was seen by one per backend at most, and PostgreSQL has at most 262,143 backends. A step that
-- is half done when the server dies leaves an `id_next` beyond `id_end`, from which nobody draws.
-- No clock is part of the argument: where it steps back, ids go on from where they are, and where
-- more than 512 ids per millisecond are wanted for long, they run ahead of it.
create sequence if not exists pgm.id_next as bigint;
create sequence if not exists pgm.id_end as bigint;
create table if not exists pgm.id_gate ();

create or replace function pgm.id_step() returns void
  language plpgsql security definer set search_path = pg_catalog, pg_temp
  as $fn$
declare
  clock bigint;
  reached bigint;
  allowed bigint;
begin
  begin
    lock table pgm.id_gate in exclusive mode;
    clock := (floor(extract(epoch from clock_timestamp()) * 1000)::bigint - 1577836800000) << 10;
    select n.last_value, e.last_value into reached, allowed from pgm.id_next n, pgm.id_end e;
    if reached >= allowed or reached < clock - 1048576 then
      clock := greatest(clock, greatest(reached, allowed) + 262144);
      perform setval('pgm.id_next', clock);
      perform setval('pgm.id_end', clock + 262144);
    end if;
    -- Gives the lock back now and not at the end of the transaction. What setval did stays.
    raise exception using errcode = 'PGM99';
  exception when sqlstate 'PGM99' then
    null;
  end;
end $fn$;
revoke execute on function pgm.id_step() from public;

create or replace function pgm.next_id() returns bigint
  language plpgsql security definer set search_path = pg_catalog, pg_temp
  as $fn$
declare
  clock bigint;
  reached bigint;
  allowed bigint;
  drawn bigint;
begin
  loop
    clock := (floor(extract(epoch from clock_timestamp()) * 1000)::bigint - 1577836800000) << 10;
    select n.last_value, e.last_value into reached, allowed from pgm.id_next n, pgm.id_end e;
    if reached < allowed and reached >= clock - 1048576 then
      drawn := nextval('pgm.id_next');
      select e.last_value into allowed from pgm.id_end e;
      if drawn <= allowed then
        return ((drawn >> 10) << 22) | ($NUMBER$ << 10) | (drawn & 1023);
      end if;
    end if;
    perform pgm.id_step();
  end loop;
end $fn$;
grant execute on function pgm.next_id() to public;
