"""Asks the console by psycopg 3. Usage: psycopg3.py URL. Prints `ok NAME`; fails at the first surprise."""

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
                assert all(isinstance(name, str) and isinstance(items, int) for name, items in rows)
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
        conn.add_notice_handler(said.append)
        conn.execute("SHOW HELP")
        assert said[0].message_primary == "Console usage" and "RELOAD" in said[0].message_detail


def settings():
    """What a driver sets is kept for the connection."""
    with psycopg.connect(url, autocommit=True, application_name="told at login") as conn:
        assert conn.execute("SHOW application_name").fetchone()[0] == "told at login"
        conn.execute("SET application_name TO 'told later'")
        assert conn.info.parameter_status("application_name") == "told later"
        conn.execute("RESET ALL")
        assert conn.execute("SHOW application_name").fetchone()[0] == "told at login"


for check in (simple, transactions, prepared, errors, pipeline, notices, settings):
    check()
    print("ok", check.__name__)
