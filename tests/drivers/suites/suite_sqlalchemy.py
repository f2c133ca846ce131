"""Owns the tests of SQLAlchemy, from its source distribution, by driver."""

import re

from suite import PytestSuite

SERVER_VERSION = re.compile(r"(postgresql\+\w+?)(_\d+)+\b")


class SqlAlchemy(PytestSuite):
    """The PostgreSQL dialect, the suite for all dialects, and the engine's tests."""

    package = "SQLAlchemy"
    chosen = ("test/dialect/postgresql, test/dialect/test_suite.py (the suite every dialect must pass), test/engine; "
              "of the thousands of tests of ranges, which are the same for every element type, those of int4range")
    databases = ["test"]
    setup_sql = [
        ("test", "create schema test_schema"), ("test", "create schema test_schema_2"),
        ("test", "create extension hstore"), ("test", "create extension citext"),
        ("test", "alter database test set default_text_search_config = 'pg_catalog.english'"),
    ]
    paths = ("test/dialect/postgresql", "test/dialect/test_suite.py", "test/engine")

    options = ("-k", "not (DateRange or DateTimeRange or DateTimeTZRange or Int8Range or NumRange "
                     "or DateMultiRange or DateTimeMultiRange or DateTimeTZMultiRange or Int8MultiRange "
                     "or NumMultiRange)")

    def __init__(self, driver):
        self.driver, self.name = driver, f"sqlalchemy-{driver}"

    def arguments(self, only):
        url = f"postgresql+{self.driver}://{next(iter(self.roles))}@127.0.0.1:{self.port}/{self.databases[0]}"
        return [*super().arguments(only), "--maxfail=1000000", "--backend-only", "--dburi", url]

    def environment(self, port):
        self.port = port
        return super().environment(port)

    def canonical(self, test):
        return SERVER_VERSION.sub(r"\1", test)
