"""Owns the tests of psycopg2, from its source distribution."""

import os

from suite import WORK, PytestSuite


class Psycopg2(PytestSuite):
    """All of tests/, the slow ones included."""

    name = "psycopg2"
    version = "2.9.13"
    chosen = "all of tests/; replication needs a replication connection and skips itself"
    databases = ["psycopg2_test"]
    setup_sql = [("psycopg2_test", "create extension hstore")]
    options = ("tests",)

    def folder(self):
        return os.path.join(WORK, f"psycopg2-{self.version}")

    def environment(self, port):
        # The folder lib/ beside tests/ is the package without its compiled part; its name is safe.
        return {**super().environment(port), "PSYCOPG2_TESTDB": self.databases[0]}
