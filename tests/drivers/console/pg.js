// Asks the console by node-postgres. Usage: node pg.js URL.
'use strict';

const { Client } = require('pg');
const assert = require('node:assert/strict');

async function main() {
  const client = new Client({ connectionString: process.argv[2] });
  await client.connect();
  const simple = await client.query('SHOW VERSION');
  assert.match(simple.rows[0].version, /^pgmanifold \d+\.\d+\.\d+/);
  console.log('ok simple');
  for (let i = 0; i < 3; i++) {
    const prepared = await client.query({ name: 'lists', text: 'SHOW LISTS' });
    assert.equal(typeof prepared.rows[0].items, 'number');
  }
  console.log('ok prepared');
  await assert.rejects(client.query('SHOW nonsense'), { code: '42704' });
  await assert.rejects(client.query({ text: 'SHOW nonsense', values: [] }), { code: '42704' });
  await client.query('SHOW STATE');
  console.log('ok errors');
  await client.end();
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
