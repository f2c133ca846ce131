"""Asks the console by asyncpg, which always prepares and always takes binary. Usage: asyncpg_t.py URL."""

import asyncio
import decimal
import sys

import asyncpg

url = sys.argv[1]


async def commands(conn):
    """Rows of each type."""
    version = await conn.fetchval("SHOW VERSION")
    assert version.startswith("pgmanifold "), version
    lists = dict(await conn.fetch("SHOW LISTS"))
    assert lists["databases"] >= 2, lists
    stats = await conn.fetch("SHOW STATS")
    assert all(isinstance(row["total_query_count"], decimal.Decimal) for row in stats)
    assert await conn.execute("SET application_name = 'x'") == "SET"


async def prepared(conn):
    """One statement, many times."""
    statement = await conn.prepare("SHOW POOLS")
    assert [column.name for column in statement.get_attributes()][:2] == ["database", "user"]
    for _ in range(5):
        assert await statement.fetch()


async def transactions(conn):
    """Blocks and a block within."""
    async with conn.transaction():
        await conn.fetch("SHOW STATE")
        async with conn.transaction():
            await conn.fetch("SHOW STATE")


async def cursors(conn):
    """A few rows at a time: Execute with a limit."""
    async with conn.transaction():
        rows = [row async for row in conn.cursor("SHOW CONFIG", prefetch=3)]
    assert rows == await conn.fetch("SHOW CONFIG") and len(rows) > 10


async def errors(conn):
    """An error leaves the connection usable."""
    try:
        await conn.fetch("SHOW nonsense")
        raise AssertionError("no error")
    except asyncpg.UndefinedObjectError as error:
        assert "SHOW HELP" in error.hint
    assert await conn.fetchval("SHOW VERSION")


async def main():
    conn = await asyncpg.connect(url)
    for check in (commands, prepared, transactions, cursors, errors):
        await check(conn)
        print("ok", check.__name__)
    await conn.close()


asyncio.run(main())
