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
