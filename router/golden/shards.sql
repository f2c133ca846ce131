-- The schema that golden/shards_*.txt assume, on every shard. Loaded into a real server by
-- golden/regenerate.sh. Which tables are sharded is said by `golden::shards_map()`.
CREATE SCHEMA app;
CREATE SCHEMA pgm;
CREATE FUNCTION pgm.next_id() RETURNS bigint LANGUAGE sql VOLATILE AS 'select 1::bigint';

-- Distribution customer, by hash of a bigint.
CREATE TABLE customers (id bigint PRIMARY KEY, name text, email text);
CREATE TABLE orders (customer_id bigint NOT NULL, id bigint NOT NULL, total numeric(10,2),
                     note text DEFAULT '', status text, created timestamptz DEFAULT now(),
                     PRIMARY KEY (customer_id, id),
                     FOREIGN KEY (customer_id) REFERENCES customers (id));
CREATE TABLE lines (customer_id bigint NOT NULL, order_id bigint NOT NULL, sku text, qty int,
                    FOREIGN KEY (customer_id, order_id) REFERENCES orders (customer_id, id));
CREATE TABLE parts (sku text NOT NULL, customer_id bigint NOT NULL, country text,
                    UNIQUE (sku, customer_id) INCLUDE (country));
-- A key that does not hold the shard key; one more with the check given up in the map.
CREATE TABLE tickets (id bigint PRIMARY KEY, customer_id bigint NOT NULL, title text);
CREATE TABLE notes (id bigint PRIMARY KEY DEFAULT pgm.next_id(), customer_id bigint NOT NULL,
                    body text);
CREATE TABLE mails (customer_id bigint NOT NULL, address text);
CREATE UNIQUE INDEX mails_address ON mails (lower(address));
-- Numbers from sequences.
CREATE TABLE serials (customer_id bigint NOT NULL, n serial, label text,
                      PRIMARY KEY (customer_id, n));
CREATE TABLE identities (customer_id bigint NOT NULL,
                         n bigint GENERATED ALWAYS AS IDENTITY (INCREMENT BY 64), label text,
                         double_n bigint GENERATED ALWAYS AS (customer_id * 2) STORED);
CREATE SEQUENCE counter;
CREATE SEQUENCE wide INCREMENT BY 64;
-- Triggers, rules and row security.
CREATE TABLE audit (at timestamptz, what text);
CREATE FUNCTION log_it() RETURNS trigger LANGUAGE plpgsql AS
    'begin insert into audit values (now(), new.body); return new; end';
CREATE FUNCTION stamp_it() RETURNS trigger LANGUAGE plpgsql AS
    'begin new.changed := now(); return new; end';
CREATE FUNCTION move_it() RETURNS trigger LANGUAGE plpgsql AS
    'begin new.customer_id := 7; return new; end';
CREATE TABLE watched (customer_id bigint NOT NULL, body text);
CREATE TRIGGER log AFTER INSERT ON watched FOR EACH ROW EXECUTE FUNCTION log_it();
CREATE TABLE stamped (customer_id bigint NOT NULL, changed timestamptz, country text);
CREATE TRIGGER stamp BEFORE INSERT OR UPDATE ON stamped FOR EACH ROW EXECUTE FUNCTION stamp_it();
CREATE TABLE moved (customer_id bigint NOT NULL, body text);
CREATE TRIGGER move BEFORE INSERT ON moved FOR EACH ROW EXECUTE FUNCTION move_it();
CREATE TABLE ruled (customer_id bigint NOT NULL, body text);
CREATE RULE ruled_log AS ON INSERT TO ruled DO ALSO INSERT INTO audit VALUES (now(), new.body);

-- Distribution tenant, by list of a varchar.
CREATE TABLE docs (tenant varchar(40) NOT NULL, id uuid DEFAULT gen_random_uuid(), title text,
                   PRIMARY KEY (tenant, id));
-- Distribution day, by ranges of a date.
CREATE TABLE events (day date NOT NULL, what text, country text);
-- Distribution pair, by hash of two columns.
CREATE TABLE cells (x int NOT NULL, y int NOT NULL, v text, PRIMARY KEY (x, y));

-- The same name in two schemas; only the one in app is sharded.
CREATE TABLE items (id int, name text);
CREATE TABLE app.items (customer_id bigint NOT NULL, name text);

-- Reference tables.
CREATE TABLE countries (code text PRIMARY KEY, name text, vat numeric DEFAULT 0);
CREATE TABLE rates (code text PRIMARY KEY, seen timestamptz DEFAULT now(), n serial);
-- All of it on the fourth shard.
CREATE TABLE archive (id int PRIMARY KEY, what text);
-- Tables of the home shard.
CREATE TABLE settings (key text PRIMARY KEY, value text);

-- What reaches them.
CREATE VIEW big_orders AS SELECT * FROM orders WHERE total > 100;
CREATE VIEW bigger_orders AS SELECT * FROM big_orders WHERE total > 1000;
CREATE VIEW country_names AS SELECT name FROM countries;
CREATE MATERIALIZED VIEW setting_keys AS SELECT key FROM settings;
CREATE FUNCTION count_orders() RETURNS bigint LANGUAGE sql STABLE AS 'select count(*) from orders';
CREATE FUNCTION count_more() RETURNS bigint LANGUAGE plpgsql STABLE AS
    'begin return count_orders() + 1; end';
CREATE FUNCTION setting(k text) RETURNS text LANGUAGE sql STABLE AS
    'select value from settings where key = k';
CREATE FUNCTION run_it(q text) RETURNS void LANGUAGE plpgsql AS 'begin execute q; end';
CREATE FUNCTION plus_one(x bigint) RETURNS bigint LANGUAGE sql IMMUTABLE AS 'select x + 1';
CREATE PROCEDURE close_orders() LANGUAGE sql AS 'update orders set status = ''closed''';
CREATE PROCEDURE tidy_settings() LANGUAGE sql AS 'delete from settings';
