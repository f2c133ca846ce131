"""Owns the tests of psycopg2, from its source distribution."""

from suite import PytestSuite


class Psycopg2(PytestSuite):
    """All of tests/, the slow ones included."""

    name = "psycopg2"
    package = "psycopg2"
    chosen = "all of tests/; replication needs a replication connection and skips itself"
    databases = ["psycopg2_test"]
    setup_sql = [("psycopg2_test", "create extension hstore")]

    def environment(self, port):
        return {**super().environment(port), "PSYCOPG2_TESTDB": self.databases[0]}
