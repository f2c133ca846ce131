"""Owns the checklist for asyncpg. Usage: asyncpg_t.py URL CLIENTS."""

import asyncio
import datetime
import io
import json
import sys
import time

import asyncpg
from checklist import EXPECTED_SETTINGS, HEAVY_CLIENTS, Report, same


class Client:
    """One client: its connection and its own table."""

    def __init__(self, url, number):
        self.url = url
        self.number = number
        self.table = f"asyncpg_{number}"
        self.conn = None

    async def connect(self):
        """Opens another connection to the same URL."""
        return await asyncpg.connect(self.url)

    async def raises(self, kind, query, *args):
        """Runs a query that must fail with one kind of error."""
        try:
            await self.conn.fetch(query, *args)
        except kind as error:
            return error
        raise AssertionError(f"{query} did not fail")

    async def count(self):
        """Rows of the client's table."""
        return await self.conn.fetchval(f"SELECT count(*) FROM {self.table}")


async def setup(c):
    await c.conn.execute(f"DROP TABLE IF EXISTS {c.table}")
    await c.conn.execute(f"CREATE TABLE {c.table} (id int PRIMARY KEY, v text, n numeric)")
    await c.conn.execute(f"INSERT INTO {c.table} VALUES (1, 'one', 1.5)")


async def simple(c):
    same(await c.conn.fetchval("SELECT 1"), 1)
    same(await c.conn.execute("SELECT 1"), "SELECT 1")
    same(await c.conn.execute(f"UPDATE {c.table} SET v = 'uno' WHERE id = 1"), "UPDATE 1")
    same(await c.conn.fetchval(f"SELECT v FROM {c.table} WHERE id = $1", 1), "uno")


async def transactions(c):
    async with c.conn.transaction():
        await c.conn.execute(f"INSERT INTO {c.table} VALUES (10, 'ten')")
    same(await c.conn.fetchval(f"SELECT v FROM {c.table} WHERE id = 10"), "ten")
    tx = c.conn.transaction()
    await tx.start()
    await c.conn.execute(f"DELETE FROM {c.table}")
    same(await c.count(), 0)
    await tx.rollback()
    same(await c.count(), 2)
    async with c.conn.transaction():
        try:
            async with c.conn.transaction():
                await c.conn.fetch("SELECT 1/0")
        except asyncpg.DivisionByZeroError:
            pass
        await c.conn.execute(f"INSERT INTO {c.table} VALUES (11, 'eleven')")
    same(await c.count(), 3)


async def failed_transaction(c):
    await c.conn.execute("BEGIN")
    await c.raises(asyncpg.UndefinedTableError, "SELECT * FROM no_such_table_here")
    await c.raises(asyncpg.InFailedSQLTransactionError, "SELECT 1")
    await c.conn.execute("ROLLBACK")
    same(await c.conn.fetchval("SELECT 1"), 1)


async def prepared_binary(c):
    statement = await c.conn.prepare(f"SELECT v, n, id::int8 FROM {c.table} WHERE id = $1")
    for _ in range(5):
        same((await statement.fetchrow(1))["v"], "uno")
        async with c.conn.transaction():
            await c.conn.execute(f"UPDATE {c.table} SET n = n + $1 WHERE id = 1", 1)
            same((await statement.fetchrow(1))["id"], 1)
    same([a.name for a in statement.get_attributes()], ["v", "n", "id"])


async def prepared_many(c):
    statements = [await c.conn.prepare(f"SELECT $1::int + {i}") for i in range(40)]
    for _ in range(3):
        for i, statement in enumerate(statements):
            same(await statement.fetchval(100), 100 + i)


async def same_name(c):
    first, second = await c.connect(), await c.connect()
    for i in range(5):
        same(tuple(await first.fetchrow("SELECT $1::int, 'first'", i)), (i, "first"))
        same(tuple(await second.fetchrow("SELECT 'second', $1::text", str(i))), ("second", str(i)))
    await first.close()
    await second.close()


async def pipeline(c):
    rows = [(100 + i, "p") for i in range(1000)]
    await c.conn.executemany(f"INSERT INTO {c.table} VALUES ($1, $2)", rows)
    same(await c.conn.fetchval(f"SELECT count(*) FROM {c.table} WHERE v = 'p'"), 1000)


async def pipeline_error(c):
    rows = [(5000, "q"), (5001, "q"), (1, "duplicate"), (5002, "q")]
    try:
        await c.conn.executemany(f"INSERT INTO {c.table} VALUES ($1, $2)", rows)
        raise AssertionError("the pipeline did not fail")
    except asyncpg.UniqueViolationError:
        pass
    same(await c.conn.fetchval(f"SELECT count(*) FROM {c.table} WHERE v = 'q'"), 0)


async def sql_errors(c):
    await c.raises(asyncpg.PostgresSyntaxError, "SELEC 1")
    error = await c.raises(asyncpg.UniqueViolationError, f"INSERT INTO {c.table} VALUES (1, '')")
    same(error.constraint_name, f"{c.table}_pkey")
    await c.raises(asyncpg.DivisionByZeroError, "SELECT $1::int / 0", 1)
    same(await c.conn.fetchval("SELECT 1"), 1)


async def copy_text(c):
    data = io.BytesIO(b"".join(b"%d\trow %d\n" % (i, i) for i in range(6000, 6500)))
    tag = await c.conn.copy_to_table(c.table, source=data, columns=["id", "v"])
    same(tag, "COPY 500")
    out = io.BytesIO()
    await c.conn.copy_from_query(f"SELECT id, v FROM {c.table} WHERE id >= $1", 6498, output=out)
    same(out.getvalue(), b"6498\trow 6498\n6499\trow 6499\n")


async def copy_csv(c):
    data = io.BytesIO(b'id,v\n6600,"a,""b"\n')
    await c.conn.copy_to_table(c.table, source=data, columns=["id", "v"], format="csv", header=True)
    out = io.BytesIO()
    query = f"SELECT id, v FROM {c.table} WHERE id = 6600"
    await c.conn.copy_from_query(query, output=out, format="csv")
    same(out.getvalue(), b'6600,"a,""b"\n')


async def copy_binary(c):
    rows = [(7000 + i, "b" * i) for i in range(500)]
    tag = await c.conn.copy_records_to_table(c.table, records=rows, columns=["id", "v"])
    same(tag, "COPY 500")
    same(await c.conn.fetchval(f"SELECT v FROM {c.table} WHERE id = 7499"), "b" * 499)


async def copy_fail(c):
    try:
        await c.conn.copy_to_table(c.table, source=io.BytesIO(b"bad\tbad\n"), columns=["id", "v"])
        raise AssertionError("the copy did not fail")
    except asyncpg.InvalidTextRepresentationError:
        pass
    same(await c.conn.fetchval("SELECT 1"), 1)


async def cancel(c):
    began = time.monotonic()
    try:
        await c.conn.fetchval("SELECT pg_sleep(30)", timeout=0.3)
        raise AssertionError("pg_sleep was not cancelled")
    except asyncio.TimeoutError:
        pass
    same(await c.conn.fetchval("SELECT 1"), 1)
    assert time.monotonic() - began < 20, "the cancellation came late"


async def large_value(c):
    if c.number >= HEAVY_CLIENTS:
        return
    text = "x" * (10 << 20)
    same(await c.conn.fetchval("SELECT length($1::text)", text), len(text))
    await c.conn.execute(f"INSERT INTO {c.table} VALUES (8000, $1)", text)
    got = await c.conn.fetchval(f"SELECT v FROM {c.table} WHERE id = 8000")
    assert got == text, "10 MB came back changed"


async def large_result(c):
    if c.number >= HEAVY_CLIENTS:
        return
    rows = await c.conn.fetch("SELECT i, 'row ' || i FROM generate_series(1, 100000) i")
    same((len(rows), tuple(rows[-1])), (100000, (100000, "row 100000")))


async def nulls_and_empty(c):
    same(await c.conn.fetchval("SELECT $1::int", None), None)
    same(await c.conn.fetch(""), [])
    same(await c.conn.fetch(f"SELECT * FROM {c.table} WHERE false"), [])


async def multi_statement(c):
    await c.conn.execute(f"INSERT INTO {c.table} VALUES (8100, 'm'); SELECT 1; SELECT 2")
    same(await c.conn.fetchval(f"SELECT v FROM {c.table} WHERE id = 8100"), "m")
    try:
        await c.conn.execute(f"INSERT INTO {c.table} VALUES (8101, 'm'); SELECT 1/0")
        raise AssertionError("the string did not fail")
    except asyncpg.DivisionByZeroError:
        pass
    same(await c.conn.fetchval(f"SELECT count(*) FROM {c.table} WHERE id = 8101"), 0)


async def notices(c):
    seen = []
    listener = lambda conn, message: seen.append(message.message)
    c.conn.add_log_listener(listener)
    await c.conn.execute("DO $$ BEGIN RAISE NOTICE 'hello %', 7; END $$")
    await asyncio.sleep(0)
    c.conn.remove_log_listener(listener)
    same(seen, ["hello 7"])


async def notifications(c):
    conn = await c.connect()
    seen = asyncio.Queue()
    take = lambda connection, pid, name, payload: seen.put_nowait((pid, name, payload))
    following = lambda: asyncio.wait_for(seen.get(), 10)
    channel = f"News of {c.number}"
    await conn.add_listener(channel, take)
    await c.conn.execute("SELECT pg_notify($1, $2)", channel, "from another")
    same((await following())[1:], (channel, "from another"))
    await conn.execute(f"NOTIFY \"{channel}\", 'own'")
    same(await following(), (conn.get_server_pid(), channel, "own"))
    async with conn.transaction():
        await conn.add_listener(f"second_{c.number}", take)
    await c.conn.execute(f"NOTIFY second_{c.number}")
    same((await following())[1], f"second_{c.number}")
    same(await conn.fetchval("SELECT pg_listening_channels()"), channel)
    await conn.remove_listener(channel, take)
    await c.conn.execute("SELECT pg_notify($1, $2)", channel, "no")
    await conn.reset()
    same(await conn.fetch("SELECT pg_listening_channels()"), [])
    await c.conn.execute(f"NOTIFY second_{c.number}")
    await conn.fetchval("SELECT 1")
    same(seen.empty(), True)
    await conn.close()


async def portal_cursor(c):
    async with c.conn.transaction():
        total = 0
        query = "SELECT i FROM generate_series(1, $1::int) i"
        async for row in c.conn.cursor(query, 1000, prefetch=100):
            total += row["i"]
        same(total, 500500)
        cursor = await c.conn.cursor("SELECT i FROM generate_series(1, 10) i")
        await cursor.forward(3)
        same([row["i"] for row in await cursor.fetch(2)], [4, 5])


async def settings(c):
    conn = await c.connect()
    for name, value in EXPECTED_SETTINGS.items():
        await conn.execute(f"SELECT set_config('{name}', '{value}', false)")
    for _ in range(5):
        for name, value in EXPECTED_SETTINGS.items():
            same(await conn.fetchval(f"SHOW {name}"), value)
            async with conn.transaction():
                same(await conn.fetchval("SELECT current_setting($1)", name), value)
    same(conn.get_settings().TimeZone, "Asia/Tokyo")
    await conn.close()


async def read_only(c):
    async with c.conn.transaction(readonly=True):
        same(await c.conn.fetchval(f"SELECT v FROM {c.table} WHERE id = 1"), "uno")
        await c.raises(asyncpg.ReadOnlySQLTransactionError, f"DELETE FROM {c.table}")


async def isolation(c):
    for level in ("serializable", "repeatable_read", "read_committed"):
        async with c.conn.transaction(isolation=level):
            got = await c.conn.fetchval("SHOW transaction_isolation")
            same(got, level.replace("_", " "))
    async with c.conn.transaction(isolation="serializable", readonly=True, deferrable=True):
        same(await c.conn.fetchval(f"SELECT id FROM {c.table} WHERE id = 1"), 1)


async def types(c):
    moment = datetime.datetime(2024, 2, 29, 12, 0, tzinfo=datetime.timezone.utc)
    same(await c.conn.fetchval("SELECT $1::timestamptz", moment), moment)
    same(await c.conn.fetchval("SELECT $1::int[]", [1, None, 3]), [1, None, 3])
    same(json.loads(await c.conn.fetchval("SELECT $1::jsonb", '{"a": [1]}')), {"a": [1]})
    same(await c.conn.fetchval("SELECT $1::bytea", bytes(range(256))), bytes(range(256)))
    same(await c.conn.fetchval("SELECT count(*) FROM unnest($1::int[])", list(range(5000))), 5000)
    same(tuple(await c.conn.fetchval("SELECT ROW(1, 'a'::text)")), (1, "a"))


CHECKS = [
    setup, simple, transactions, failed_transaction, prepared_binary, prepared_many, same_name,
    pipeline, pipeline_error, sql_errors, copy_text, copy_csv, copy_binary, copy_fail, cancel,
    large_value, large_result, nulls_and_empty, multi_statement, notices, notifications,
    portal_cursor, settings, read_only, isolation, types,
]


async def run(url, number, report):
    client = Client(url, number)
    for check in CHECKS:
        try:
            if client.conn is None:
                client.conn = await client.connect()
            await check(client)
            report.ok(check.__name__)
        except Exception as error:
            report.fail(check.__name__, number, error)
            if client.conn is not None:
                client.conn.terminate()
            client.conn = None
    if client.conn is not None:
        await client.conn.execute(f"DROP TABLE {client.table}")
        await client.conn.close()


async def main():
    report = Report()
    await asyncio.gather(*(run(sys.argv[1], n, report) for n in range(int(sys.argv[2]))))
    report.finish()


asyncio.run(main())
