"""Owns the checklist for psycopg 3. Usage: psycopg3.py URL CLIENTS."""

import datetime
import decimal
import sys
import threading
import time

import psycopg
from checklist import EXPECTED_SETTINGS, HEAVY_CLIENTS, Report, same
from psycopg import errors, sql
from psycopg.types.json import Jsonb


class Client:
    """One client: its connection and its own table."""

    def __init__(self, url, number):
        self.url = url
        self.number = number
        self.table = f"psycopg_{number}"
        self.conn = self.connect()

    def connect(self):
        """Opens another connection to the same URL."""
        return psycopg.connect(self.url, autocommit=True, prepare_threshold=None)

    def one(self, query, *args, **kwargs):
        """The single value of a query."""
        return self.conn.execute(query, args or None, **kwargs).fetchone()[0]

    def raises(self, kind, query, *args):
        """Runs a query that must fail with one kind of error."""
        try:
            self.conn.execute(query, args or None).fetchall()
        except kind as error:
            return error
        raise AssertionError(f"{query} did not fail")

    def count(self):
        """Rows of the client's table."""
        return self.one(f"SELECT count(*) FROM {self.table}")


def setup(c):
    c.conn.execute(f"DROP TABLE IF EXISTS {c.table}")
    c.conn.execute(f"CREATE TABLE {c.table} (id int PRIMARY KEY, v text, n numeric)")
    c.conn.execute(f"INSERT INTO {c.table} VALUES (1, 'one', 1.5)")


def simple(c):
    same(c.one("SELECT 1"), 1)
    same(c.conn.execute("SELECT 'a', NULL, 2.5").fetchone(), ("a", None, decimal.Decimal("2.5")))
    same(c.one(f"SELECT v FROM {c.table} WHERE id = 1"), "one")
    c.conn.execute(f"UPDATE {c.table} SET v = 'uno' WHERE id = 1")
    same(c.one(f"SELECT v FROM {c.table} WHERE id = 1"), "uno")


def transactions(c):
    with c.conn.transaction():
        c.conn.execute(f"INSERT INTO {c.table} VALUES (10, 'ten')")
    same(c.one(f"SELECT v FROM {c.table} WHERE id = 10"), "ten")
    with c.conn.transaction(force_rollback=True):
        c.conn.execute(f"DELETE FROM {c.table}")
        same(c.count(), 0)
    same(c.count(), 2)
    with c.conn.transaction():
        try:
            with c.conn.transaction():
                c.conn.execute("SELECT 1/0")
        except errors.DivisionByZero:
            pass
        c.conn.execute(f"INSERT INTO {c.table} VALUES (11, 'eleven')")
    same(c.count(), 3)


def failed_transaction(c):
    c.conn.execute("BEGIN")
    c.raises(errors.UndefinedTable, "SELECT * FROM no_such_table_here")
    c.raises(errors.InFailedSqlTransaction, "SELECT 1")
    same(c.conn.info.transaction_status, psycopg.pq.TransactionStatus.INERROR)
    c.conn.execute("ROLLBACK")
    same(c.one("SELECT 1"), 1)


def prepared_text(c):
    for i in range(6):
        same(c.one("SELECT %t::int + 1", i, prepare=True), i + 1)
        with c.conn.transaction():
            same(c.one(f"SELECT v FROM {c.table} WHERE id = %t", 1, prepare=True), "uno")


def prepared_binary(c):
    for i in range(6):
        cur = c.conn.execute("SELECT %b::int8 + 1, %b::text", (i, "é"), prepare=True, binary=True)
        same(cur.fetchone(), (i + 1, "é"))
        with c.conn.transaction():
            c.conn.execute(f"UPDATE {c.table} SET v = %b WHERE id = 11", (f"x{i}",), prepare=True)
        same(c.one(f"SELECT v FROM {c.table} WHERE id = %b", 11, prepare=True), f"x{i}")


def prepared_many(c):
    for _ in range(3):
        for i in range(40):
            same(c.one(f"SELECT %s::int + {i}", 100, prepare=True), 100 + i)


def same_name(c):
    first, second = c.connect(), c.connect()
    with first, second:
        for i in range(5):
            row = first.execute("SELECT %s::int, 'first'", (i,), prepare=True).fetchone()
            same(row, (i, "first"))
            row = second.execute("SELECT 'second', %s::text", (str(i),), prepare=True).fetchone()
            same(row, ("second", str(i)))


def pipeline(c):
    with c.conn.pipeline() as p:
        cursors = [c.conn.execute("SELECT %s::int * 2", (i,)) for i in range(50)]
        p.sync()
        cursors += [c.conn.execute("SELECT %s::int * 2", (i,)) for i in range(50, 100)]
        same([cur.fetchone()[0] for cur in cursors], [i * 2 for i in range(100)])
    with c.conn.pipeline(), c.conn.transaction():
        for i in range(20):
            c.conn.execute(f"INSERT INTO {c.table} VALUES (%s, 'p')", (100 + i,))
    same(c.one(f"SELECT count(*) FROM {c.table} WHERE v = 'p'"), 20)


def pipeline_error(c):
    try:
        with c.conn.pipeline() as p:
            c.conn.execute(f"INSERT INTO {c.table} VALUES (200, 'q')")
            c.conn.execute("SELECT 1/0")
            c.conn.execute(f"INSERT INTO {c.table} VALUES (201, 'q')")
            p.sync()
        raise AssertionError("the pipeline did not fail")
    except errors.DivisionByZero:
        pass
    same(c.one("SELECT 5"), 5)
    same(c.one(f"SELECT count(*) FROM {c.table} WHERE v = 'q'"), 0)


def sql_errors(c):
    c.raises(errors.SyntaxError, "SELEC 1")
    error = c.raises(errors.UniqueViolation, f"INSERT INTO {c.table} VALUES (1, 'again') RETURNING 1")
    same(error.diag.constraint_name, f"{c.table}_pkey")
    c.raises(errors.DivisionByZero, "SELECT %s::int / 0", 1)
    same(c.one("SELECT 1"), 1)


def copy_text(c):
    with c.conn.cursor() as cur:
        with cur.copy(f"COPY {c.table} (id, v) FROM STDIN") as copy:
            for i in range(300, 800):
                copy.write_row((i, None if i % 7 == 0 else f"row\t{i}\n"))
        with cur.copy(f"COPY (SELECT id, v FROM {c.table} WHERE id >= 300 ORDER BY id) TO STDOUT") as copy:
            rows = list(copy.rows())
        same(len(rows), 500)
        same(rows[0], ("300", "row\t300\n"))
        same(rows[1], ("301", None))


def copy_csv(c):
    with c.conn.cursor() as cur:
        with cur.copy(f"COPY {c.table} (id, v) FROM STDIN (FORMAT csv, HEADER)") as copy:
            copy.write('id,v\n900,"a,""b"\n901,\n')
        with cur.copy(f"COPY (SELECT id, v FROM {c.table} WHERE id >= 900) TO STDOUT (FORMAT csv)") as copy:
            same(b"".join(copy), b'900,"a,""b"\n901,\n')


def copy_binary(c):
    with c.conn.cursor() as cur:
        with cur.copy(f"COPY {c.table} (id, v) FROM STDIN (FORMAT binary)") as copy:
            copy.set_types(["int4", "text"])
            for i in range(1000, 1100):
                copy.write_row((i, "b" * i))
        with cur.copy(f"COPY (SELECT id, v FROM {c.table} WHERE id >= 1000) TO STDOUT (FORMAT binary)") as copy:
            copy.set_types(["int4", "text"])
            same(sorted(copy.rows())[99], (1099, "b" * 1099))


def copy_fail(c):
    with c.conn.cursor() as cur:
        for data in ("2000\tok\nnot a number\tbad\n",):
            try:
                with cur.copy(f"COPY {c.table} (id, v) FROM STDIN") as copy:
                    copy.write(data)
                raise AssertionError("the copy did not fail")
            except errors.InvalidTextRepresentation:
                pass
        try:
            with cur.copy(f"COPY {c.table} (id, v) FROM STDIN") as copy:
                copy.write("2000\tok\n")
                raise KeyError("the application gives up")
        except KeyError:
            pass
    same(c.one(f"SELECT count(*) FROM {c.table} WHERE id = 2000"), 0)


def cancel(c):
    timer = threading.Timer(0.3, c.conn.cancel)
    timer.start()
    began = time.monotonic()
    c.raises(errors.QueryCanceled, "SELECT pg_sleep(30)")
    timer.join()
    assert time.monotonic() - began < 20, "the cancellation came late"
    same(c.one("SELECT 1"), 1)


def large_value(c):
    if c.number >= HEAVY_CLIENTS:
        return
    text = "x" * (10 << 20)
    same(c.one("SELECT length(%s)", text), len(text))
    c.conn.execute(f"INSERT INTO {c.table} VALUES (3000, %s)", (text,))
    assert c.one(f"SELECT v FROM {c.table} WHERE id = 3000") == text, "10 MB came back changed"


def large_result(c):
    if c.number >= HEAVY_CLIENTS:
        return
    rows = c.conn.execute("SELECT i, 'row ' || i FROM generate_series(1, 100000) i").fetchall()
    same((len(rows), rows[-1]), (100000, (100000, "row 100000")))


def nulls_and_empty(c):
    same(c.one("SELECT %s::int", None), None)
    same(c.conn.execute("").description, None)
    same(c.conn.execute("SELECT").fetchall(), [()])
    same(c.conn.execute(f"SELECT * FROM {c.table} WHERE false").fetchall(), [])


def multi_statement(c):
    cur = c.conn.execute(f"SELECT 1; SELECT 'two', 2; UPDATE {c.table} SET v = v WHERE false")
    same(cur.fetchall(), [(1,)])
    cur.nextset()
    same(cur.fetchall(), [("two", 2)])
    cur.nextset()
    same(cur.statusmessage, "UPDATE 0")
    c.raises(errors.DivisionByZero, f"INSERT INTO {c.table} VALUES (4000); SELECT 1/0")
    same(c.one(f"SELECT count(*) FROM {c.table} WHERE id = 4000"), 0)


def notices(c):
    seen = []
    handler = lambda diag: seen.append(diag.message_primary)
    c.conn.add_notice_handler(handler)
    c.conn.execute("DO $$ BEGIN RAISE NOTICE 'hello %', 7; END $$")
    c.conn.remove_notice_handler(handler)
    same(seen, ["hello 7"])


def notifications(c):
    with c.connect() as conn:
        channel = sql.Identifier(f"News of {c.number}")
        conn.execute(sql.SQL("LISTEN {}").format(channel))
        c.conn.execute("SELECT pg_notify(%s, %s)", (f"News of {c.number}", "from another"))
        conn.execute(sql.SQL("NOTIFY {}, 'own'").format(channel))
        seen = list(conn.notifies(timeout=10, stop_after=2))
        same([(n.channel, n.payload) for n in seen],
             [(f"News of {c.number}", "from another"), (f"News of {c.number}", "own")])
        same(seen[1].pid, conn.info.backend_pid)
        with conn.transaction():
            conn.execute(f"LISTEN second_{c.number}")
        c.conn.execute(f"NOTIFY second_{c.number}")
        same([n.channel for n in conn.notifies(timeout=10, stop_after=1)], [f"second_{c.number}"])
        same(len(conn.execute("SELECT pg_listening_channels()").fetchall()), 2)
        conn.execute("UNLISTEN *")
        c.conn.execute(f"NOTIFY second_{c.number}")
        same(list(conn.notifies(timeout=0.1)), [])


def server_cursor(c):
    with c.conn.transaction(), c.conn.cursor(name="cur") as cur:
        cur.itersize = 100
        cur.execute("SELECT i FROM generate_series(1, 1000) i")
        same(sum(row[0] for row in cur), 500500)


def settings(c):
    with c.connect() as conn:
        for name, value in EXPECTED_SETTINGS.items():
            conn.execute(
                sql.SQL("SET {} TO {}").format(
                    sql.Identifier(name.lower()),
                    sql.SQL(", ").join(map(sql.Literal, value.split(", "))),
                )
            )
        for _ in range(5):
            for name, value in EXPECTED_SETTINGS.items():
                same(conn.execute(f"SHOW {name}").fetchone()[0], value)
                with conn.transaction():
                    same(conn.execute("SELECT current_setting(%s)", (name,)).fetchone()[0], value)
        same(conn.info.parameter_status("TimeZone"), "Asia/Tokyo")
        same(conn.execute("SELECT '2024-07-01 00:00+00'::timestamptz::text").fetchone()[0],
             "01/07/2024 09:00:00 JST")
        with conn.transaction(force_rollback=True):
            conn.execute("SET TIME ZONE 'UTC'")
        same(conn.execute("SHOW TimeZone").fetchone()[0], "Asia/Tokyo")
        with conn.transaction():
            conn.execute("SET LOCAL statement_timeout = '5s'")
            same(conn.execute("SHOW statement_timeout").fetchone()[0], "5s")
        same(conn.execute("SHOW statement_timeout").fetchone()[0], "77s")
        conn.execute("RESET ALL")
        same(conn.execute("SHOW statement_timeout").fetchone()[0], "0")


def read_only(c):
    with c.connect() as conn:
        conn.read_only = True
        with conn.transaction():
            same(conn.execute("SHOW transaction_read_only").fetchone()[0], "on")
            same(conn.execute(f"SELECT v FROM {c.table} WHERE id = 1").fetchone()[0], "uno")
        try:
            with conn.transaction():
                conn.execute(f"DELETE FROM {c.table}")
            raise AssertionError("a read-only transaction wrote")
        except errors.ReadOnlySqlTransaction:
            pass
        conn.read_only = None
        with conn.transaction():
            same(conn.execute("SHOW transaction_read_only").fetchone()[0], "off")


def isolation(c):
    with c.connect() as conn:
        for level in ("serializable", "repeatable read", "read committed"):
            with conn.transaction():
                conn.execute(f"SET TRANSACTION ISOLATION LEVEL {level}")
                same(conn.execute("SHOW transaction_isolation").fetchone()[0], level)
        conn.isolation_level = psycopg.IsolationLevel.SERIALIZABLE
        with conn.transaction():
            same(conn.execute("SHOW transaction_isolation").fetchone()[0], "serializable")
            conn.execute(f"UPDATE {c.table} SET n = 2 WHERE id = 1")


def types(c):
    moment = datetime.datetime(2024, 2, 29, 12, 0, tzinfo=datetime.timezone.utc)
    same(c.one("SELECT %s::timestamptz", moment), moment)
    same(c.one("SELECT %s::int[]", [1, None, 3]), [1, None, 3])
    same(c.one("SELECT %s::text[]", ["a,b", '"', "\\"]), ["a,b", '"', "\\"])
    same(c.one("SELECT %s::jsonb", Jsonb({"a": [1, {"b": None}]})), {"a": [1, {"b": None}]})
    same(c.one("SELECT %s::bytea", bytes(range(256))), bytes(range(256)))
    same(c.one("SELECT count(*) FROM unnest(%s::int[])", list(range(5000))), 5000)


CHECKS = [
    setup, simple, transactions, failed_transaction, prepared_text, prepared_binary, prepared_many,
    same_name, pipeline, pipeline_error, sql_errors, copy_text, copy_csv, copy_binary, copy_fail,
    cancel, large_value, large_result, nulls_and_empty, multi_statement, notices, notifications,
    server_cursor, settings, read_only, isolation, types,
]


def run(url, number, report):
    try:
        client = Client(url, number)
    except psycopg.Error as error:
        report.fail("connect", number, error)
        return
    for check in CHECKS:
        try:
            check(client)
            report.ok(check.__name__)
        except Exception as error:
            report.fail(check.__name__, number, error)
            client.conn.close()
            client.conn = client.connect()
    client.conn.execute(f"DROP TABLE {client.table}")
    client.conn.close()


def main():
    report = Report()
    clients = range(int(sys.argv[2]))
    threads = [threading.Thread(target=run, args=(sys.argv[1], n, report)) for n in clients]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    report.finish()


main()
