-- The tables of the hand-written cases: a shop, and one table with a column of every odd type.
create type mood as enum ('sad', 'ok', 'happy');
create table customers (
    id bigint primary key, name text not null, email varchar(60), city text collate "C",
    mood mood, credit numeric(12, 2), joined date, region text, referrer bigint);
create table orders (
    customer_id bigint, id bigint, placed timestamptz, total numeric(12, 2), status text, note text,
    country text, primary key (customer_id, id));
create table order_lines (
    customer_id bigint, order_id bigint, line int, product int, quantity int default 1,
    price numeric(12, 2), primary key (customer_id, order_id, line),
    foreign key (customer_id, order_id) references orders (customer_id, id) on delete cascade);
create table items (
    owner bigint, id serial, label text default 'none', size int check (size >= 0),
    doubled int generated always as (size * 2) stored, primary key (owner, id));
create table events (
    id uuid primary key, kind text, at timestamptz, payload jsonb, n int);
create table notes (name text primary key, body text, stars int);
create table days (day date, slot int, amount int, primary key (day, slot));
create table scores (at int, player int, points int, primary key (at, player));
create table stores (region text, id int, name text, primary key (region, id));
create table countries (code text primary key, name text, population bigint);
create table settings (key text primary key, value text, n int);
create table audit (id int primary key, what text);
create table zoo (
    id int primary key, n numeric, f double precision, r real, t timestamptz, ts timestamp, d date,
    x text, c text collate "C", m mood, a int[], ta text[], j jsonb, i inet, v interval, b bytea,
    o boolean, u uuid, p char(5), s smallint, l bigint);
create view big_orders as select * from orders where total > 50;
create view country_names as select code, name from countries;
create function order_count(bigint) returns bigint stable language sql as
    'select count(*) from orders where customer_id = $1';
create function twice(int) returns int immutable language sql as 'select $1 * 2';
create function bump(text) returns int volatile language sql as
    'update settings set n = n + 1 where key = $1 returning n';
create index on orders (placed);
create index on customers (city);
