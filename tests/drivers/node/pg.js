// Owns the checklist for node-postgres. Usage: node pg.js URL CLIENTS.
// It must not know what answers the URL.
'use strict';

const { Client, types } = require('pg');
const Cursor = require('pg-cursor');
const copy = require('pg-copy-streams');
const { pipeline: pump } = require('node:stream/promises');
const { Readable, Writable } = require('node:stream');
const assert = require('node:assert/strict');

const [url, clients] = [process.argv[2], Number(process.argv[3])];
const HEAVY_CLIENTS = 2;
const passed = new Map();
let failed = 0;

async function connect() {
  const client = new Client({ connectionString: url });
  client.on('error', () => {});
  await client.connect();
  return client;
}

async function one(c, text, values) {
  const result = await c.conn.query(text, values);
  return Object.values(result.rows[0])[0];
}

async function raises(promise, code) {
  try {
    await promise;
  } catch (error) {
    assert.equal(error.code, code);
    return error;
  }
  throw new Error(`expected an error ${code}`);
}

const checks = {
  async setup(c) {
    await c.conn.query(`DROP TABLE IF EXISTS ${c.table}`);
    await c.conn.query(`CREATE TABLE ${c.table} (id int PRIMARY KEY, v text)`);
    await c.conn.query(`INSERT INTO ${c.table} VALUES (1, 'one')`);
  },
  async simple(c) {
    assert.equal(await one(c, 'SELECT 1'), 1);
    assert.equal(await one(c, 'SELECT $1::int + 1', [4]), 5);
    await c.conn.query(`UPDATE ${c.table} SET v = 'uno' WHERE id = 1`);
    assert.equal(await one(c, `SELECT v FROM ${c.table} WHERE id = 1`), 'uno');
  },
  async transactions(c) {
    await c.conn.query('BEGIN');
    await c.conn.query(`INSERT INTO ${c.table} VALUES (2, 'two')`);
    await c.conn.query('COMMIT');
    assert.equal(await one(c, `SELECT v FROM ${c.table} WHERE id = 2`), 'two');
    await c.conn.query('BEGIN');
    await c.conn.query(`DELETE FROM ${c.table}`);
    await c.conn.query('ROLLBACK');
    assert.equal(await one(c, `SELECT count(*)::int FROM ${c.table}`), 2);
    await c.conn.query('BEGIN');
    await c.conn.query('SAVEPOINT s');
    await raises(c.conn.query('SELECT 1/0'), '22012');
    await raises(c.conn.query('SELECT 1'), '25P02');
    await c.conn.query('ROLLBACK TO s');
    await c.conn.query(`INSERT INTO ${c.table} VALUES (3, 'three')`);
    await c.conn.query('COMMIT');
    assert.equal(await one(c, `SELECT count(*)::int FROM ${c.table}`), 3);
  },
  async prepared_text(c) {
    for (let i = 0; i < 6; i++) {
      const query = { name: 'by-id', text: `SELECT v FROM ${c.table} WHERE id = $1`, values: [1] };
      assert.equal((await c.conn.query(query)).rows[0].v, 'uno');
      await c.conn.query('BEGIN');
      assert.equal((await c.conn.query(query)).rows[0].v, 'uno');
      await c.conn.query('COMMIT');
    }
  },
  async prepared_binary(c) {
    const query = { name: 'bin', text: 'SELECT $1::int4 AS n', values: [77], binary: true };
    for (let i = 0; i < 4; i++) assert.equal((await c.conn.query(query)).rows[0].n, 77);
    const bytes = Buffer.from([0, 1, 2, 255, 92, 39]);
    assert.deepEqual(await one(c, 'SELECT $1::bytea', [bytes]), bytes);
  },
  async prepared_many(c) {
    for (let round = 0; round < 3; round++) {
      for (let i = 0; i < 40; i++) {
        const query = { name: `many-${i}`, text: `SELECT $1::int + ${i} AS n`, values: [100] };
        assert.equal((await c.conn.query(query)).rows[0].n, 100 + i);
      }
    }
  },
  async same_name(c) {
    const [first, second] = [await connect(), await connect()];
    for (let i = 0; i < 5; i++) {
      const a = await first.query({ name: 'x', text: `SELECT $1::int, 'a' AS a`, values: [i] });
      const b = await second.query({ name: 'x', text: `SELECT $1::text AS b`, values: ['t'] });
      assert.deepEqual([a.rows[0].a, b.rows[0].b], ['a', 't']);
    }
    await first.end();
    await second.end();
    const name = { name: 'by-id', text: 'SELECT 1' };
    await assert.rejects(c.conn.query(name), /must be unique/);
  },
  async concurrent_queries(c) {
    const queries = [];
    for (let i = 0; i < 100; i++) queries.push(one(c, 'SELECT $1::int * 2', [i]));
    assert.deepEqual(await Promise.all(queries), [...Array(100).keys()].map((i) => i * 2));
  },
  async concurrent_error(c) {
    const outcomes = await Promise.allSettled([
      one(c, 'SELECT 1'), one(c, 'SELECT 1/0'), one(c, 'SELECT $1::int', [2]),
    ]);
    assert.deepEqual(outcomes.map((o) => o.status), ['fulfilled', 'rejected', 'fulfilled']);
  },
  async sql_errors(c) {
    await raises(c.conn.query('SELEC 1'), '42601');
    const error = await raises(c.conn.query(`INSERT INTO ${c.table} VALUES (1, '')`), '23505');
    assert.equal(error.constraint, `${c.table}_pkey`);
    await raises(c.conn.query('SELECT $1::int / 0', [1]), '22012');
    assert.equal(await one(c, 'SELECT 1'), 1);
  },
  async copy_text(c) {
    const lines = [...Array(500).keys()].map((i) => `${1000 + i}\trow ${i}\n`);
    const into = c.conn.query(copy.from(`COPY ${c.table} FROM STDIN`));
    await pump(Readable.from(lines), into);
    const chunks = [];
    const sink = new Writable({ write(chunk, _, done) { chunks.push(chunk); done(); } });
    const text = `COPY (SELECT * FROM ${c.table} WHERE id >= 1000 ORDER BY id) TO STDOUT`;
    await pump(c.conn.query(copy.to(text)), sink);
    assert.equal(Buffer.concat(chunks).toString(), lines.join(''));
  },
  async copy_csv(c) {
    const into = c.conn.query(copy.from(`COPY ${c.table} FROM STDIN (FORMAT csv)`));
    await pump(Readable.from(['2000,"a,""b"\n']), into);
    assert.equal(await one(c, `SELECT v FROM ${c.table} WHERE id = 2000`), 'a,"b');
  },
  async copy_fail(c) {
    const into = c.conn.query(copy.from(`COPY ${c.table} FROM STDIN`));
    await raises(pump(Readable.from(['bad\tbad\n']), into), '22P02');
    assert.equal(await one(c, 'SELECT 1'), 1);
  },
  async cancel(c) {
    const other = new Client({ connectionString: url });
    const running = c.conn.query('SELECT pg_sleep(30)');
    await new Promise((done) => setTimeout(done, 300));
    const began = Date.now();
    // node-postgres has no public cancellation: its connection sends the request.
    other.connection.on('connect', () =>
      other.connection.cancel(c.conn.processID, c.conn.secretKey));
    other.connection.on('error', () => {});
    other.connection.connect(c.conn.port, c.conn.host);
    await raises(running, '57014');
    assert.ok(Date.now() - began < 20000);
    assert.equal(await one(c, 'SELECT 1'), 1);
  },
  async large_value(c) {
    if (c.number >= HEAVY_CLIENTS) return;
    const text = 'x'.repeat(10 << 20);
    assert.equal(await one(c, 'SELECT length($1)', [text]), text.length);
    await c.conn.query(`INSERT INTO ${c.table} VALUES (3000, $1)`, [text]);
    assert.ok(await one(c, `SELECT v FROM ${c.table} WHERE id = 3000`) === text);
  },
  async large_result(c) {
    if (c.number >= HEAVY_CLIENTS) return;
    const { rows } = await c.conn.query('SELECT i FROM generate_series(1, 100000) i');
    assert.deepEqual([rows.length, rows[99999].i], [100000, 100000]);
  },
  async nulls_and_empty(c) {
    assert.equal(await one(c, 'SELECT $1::int', [null]), null);
    assert.equal((await c.conn.query('')).rows.length, 0);
    assert.equal((await c.conn.query(`SELECT * FROM ${c.table} WHERE false`)).rows.length, 0);
  },
  async multi_statement(c) {
    const results = await c.conn.query(`SELECT 1 AS a; SELECT 2 AS b; UPDATE ${c.table} SET v = v`);
    assert.deepEqual(results.map((r) => r.command), ['SELECT', 'SELECT', 'UPDATE']);
    await raises(c.conn.query(`INSERT INTO ${c.table} VALUES (4000); SELECT 1/0`), '22012');
    assert.equal(await one(c, `SELECT count(*)::int FROM ${c.table} WHERE id = 4000`), 0);
  },
  async notices(c) {
    const seen = [];
    const listener = (notice) => seen.push(notice.message);
    c.conn.on('notice', listener);
    await c.conn.query(`DO $$ BEGIN RAISE NOTICE 'hello %', 7; END $$`);
    c.conn.off('notice', listener);
    assert.deepEqual(seen, ['hello 7']);
  },
  async cursor(c) {
    await c.conn.query('BEGIN');
    const cursor = c.conn.query(new Cursor('SELECT i FROM generate_series(1, $1::int) i', [250]));
    let total = 0;
    for (let rows = await cursor.read(100); rows.length; rows = await cursor.read(100)) {
      total += rows.length;
    }
    await cursor.close();
    await c.conn.query('COMMIT');
    assert.equal(total, 250);
  },
  async settings(c) {
    const conn = await connect();
    const expected = {
      TimeZone: 'Asia/Tokyo', DateStyle: 'SQL, DMY', search_path: 'pg_catalog, public',
      application_name: 'checklist', statement_timeout: '77s',
    };
    for (const [name, value] of Object.entries(expected)) {
      const quoted = value.split(', ').map((item) => `'${item}'`).join(', ');
      await conn.query(`SET ${name} TO ${quoted}`);
    }
    for (let round = 0; round < 5; round++) {
      for (const [name, value] of Object.entries(expected)) {
        const shown = (await conn.query(`SHOW ${name}`)).rows[0];
        assert.equal(Object.values(shown)[0], value);
        await conn.query('BEGIN');
        const read = await conn.query('SELECT current_setting($1) AS s', [name]);
        assert.equal(read.rows[0].s, value);
        await conn.query('COMMIT');
      }
    }
    await conn.end();
  },
  async read_only(c) {
    await c.conn.query('BEGIN READ ONLY');
    assert.equal(await one(c, `SELECT v FROM ${c.table} WHERE id = 1`), 'uno');
    await raises(c.conn.query(`DELETE FROM ${c.table}`), '25006');
    await c.conn.query('ROLLBACK');
  },
  async isolation(c) {
    for (const level of ['serializable', 'repeatable read', 'read committed']) {
      await c.conn.query(`BEGIN ISOLATION LEVEL ${level}`);
      assert.equal(await one(c, 'SHOW transaction_isolation'), level);
      await c.conn.query('COMMIT');
    }
  },
  async types(c) {
    const moment = new Date('2024-02-29T12:00:00Z');
    assert.deepEqual(await one(c, 'SELECT $1::timestamptz', [moment]), moment);
    assert.deepEqual(await one(c, 'SELECT $1::int[]', [[1, null, 3]]), [1, null, 3]);
    assert.deepEqual(await one(c, 'SELECT $1::jsonb', [{ a: [1] }]), { a: [1] });
    assert.equal(types.builtins.INT4, 23);
  },
};

async function run(number) {
  const c = { number, table: `node_${number}`, conn: null };
  for (const [name, check] of Object.entries(checks)) {
    try {
      c.conn ??= await connect();
      await check(c);
      passed.set(name, (passed.get(name) ?? 0) + 1);
    } catch (error) {
      failed += 1;
      console.log(`FAIL ${name}: client ${number}: ${error.code ?? ''} ${error.stack ?? error}`);
      c.conn?.end().catch(() => {});
      c.conn = null;
    }
  }
  await c.conn?.query(`DROP TABLE ${c.table}`);
  await c.conn?.end();
}

Promise.all([...Array(clients).keys()].map(run)).then(() => {
  for (const [name, count] of passed) console.log(`ok ${name} (${count} clients)`);
  process.exit(failed ? 1 : 0);
});
