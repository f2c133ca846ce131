"""Asks the console by psycopg 3, and fails at the first surprise. Usage: psycopg3.py URL."""

import sys

import psycopg
from psycopg.rows import dict_row

url = sys.argv[1]


def simple():
    """Strings of commands, by a cursor that puts parameters in itself."""
    with psycopg.connect(url, cursor_factory=psycopg.ClientCursor, autocommit=True) as conn:
        version = conn.execute("SHOW VERSION").fetchone()[0]
        assert version.startswith("pgmanifold "), version
        pools = conn.cursor(row_factory=dict_row).execute("SHOW POOLS").fetchall()
        assert any(row["database"] == "pgbouncer" and row["cl_active"] >= 1 for row in pools), pools
        cursor = conn.execute("SHOW LISTS; SHOW STATE")
        assert cursor.description[0].name == "list"
        assert cursor.nextset() and cursor.description[0].name == "key"


def transactions():
    """psycopg begins a transaction before the first command, unless it is told not to."""
    with psycopg.connect(url) as conn:
        assert conn.execute("SHOW VERSION").fetchone()
        assert conn.info.transaction_status == psycopg.pq.TransactionStatus.INTRANS
        conn.commit()
        with conn.transaction(), conn.transaction():
            conn.execute("SHOW STATE")
        conn.rollback()
        assert conn.info.transaction_status == psycopg.pq.TransactionStatus.IDLE


def prepared():
    """The same command often enough to become a prepared statement, in text and in binary."""
    with psycopg.connect(url, autocommit=True) as conn:
        for binary in (False, True):
            cursor = conn.cursor(binary=binary)
            for _ in range(8):
                rows = cursor.execute("SHOW LISTS").fetchall()
                kinds = {(type(name), type(items)) for name, items in rows}
                assert kinds == {(str, int)}, kinds
            stats = conn.cursor(binary=binary, row_factory=dict_row).execute("SHOW STATS").fetchall()
            counts = [row["total_query_count"] for row in stats]
            assert all(count == int(count) for count in counts), counts
        conn.execute("DEALLOCATE ALL")
        assert conn.execute("SHOW VERSION", prepare=True).fetchone()


def errors():
    """An error leaves the connection usable."""
    with psycopg.connect(url) as conn:
        for prepare in (False, True):
            try:
                conn.execute("SHOW nonsense", prepare=prepare)
                raise AssertionError("no error")
            except psycopg.errors.UndefinedObject as error:
                assert "SHOW HELP" in error.diag.message_hint
                assert error.diag.statement_position == "6"
            conn.rollback()
            assert conn.execute("SHOW VERSION").fetchone()


def pipeline():
    """Many commands on their way at once; one of them is wrong."""
    with psycopg.connect(url, autocommit=True) as conn:
        with conn.pipeline():
            cursors = [conn.execute("SHOW STATE") for _ in range(20)]
        assert all(len(cursor.fetchall()) >= 3 for cursor in cursors)
        try:
            with conn.pipeline():
                conn.execute("SHOW STATE")
                conn.execute("SHOW nonsense")
                conn.execute("SHOW STATE")
            raise AssertionError("no error")
        except (psycopg.errors.UndefinedObject, psycopg.errors.PipelineAborted):
            pass
        assert conn.execute("SHOW VERSION").fetchone()


def notices():
    """SHOW HELP is a notice."""
    with psycopg.connect(url, autocommit=True) as conn:
        said = []
        hear = lambda diag: said.extend((diag.message_primary, diag.message_detail))
        conn.add_notice_handler(hear)
        conn.execute("SHOW HELP")
        assert said[0] == "Console usage" and "RELOAD" in said[1], said


def settings():
    """What a driver sets is kept for the connection."""
    with psycopg.connect(url, autocommit=True, application_name="told at login") as conn:
        assert conn.execute("SHOW application_name").fetchone()[0] == "told at login"
        conn.execute("SET application_name TO 'told later'")
        assert conn.info.parameter_status("application_name") == "told later"
        conn.execute("RESET ALL")
        assert conn.execute("SHOW application_name").fetchone()[0] == "told at login"


def select():
    """SQL with parameters, which psycopg sends as text or in binary, with types or without."""
    with psycopg.connect(url, autocommit=True) as conn:
        for marker, prepare in (("%s", False), ("%s", True), ("%b", True)):
            where = f"name = {marker} AND pool_size >= {marker}"
            sql = f"SELECT name, pool_size, pool_size * 1.5 AS more FROM databases WHERE {where}"
            for binary in (False, True):
                cursor = conn.cursor(binary=binary)
                rows = cursor.execute(sql, ("pgbouncer", 0), prepare=prepare).fetchall()
                assert len(rows) == 1 and float(rows[0][2]) == rows[0][1] * 1.5, rows
        name = conn.execute("SELECT %s::text", ("x",)).fetchone()[0]
        assert name == "x", name
        sql = "SELECT count(*) FROM clients WHERE database = %s"
        count = conn.execute(sql, ("pgbouncer",)).fetchone()[0]
        assert count >= 1, count
        try:
            conn.execute("SHOW STATE; SELECT 1 FROM pools WHERE nonsense")
            raise AssertionError("no error")
        except psycopg.errors.UndefinedColumn as error:
            assert error.diag.statement_position == "39", error.diag.statement_position


for check in (simple, transactions, prepared, errors, pipeline, notices, settings, select):
    check()
    print("ok", check.__name__)
