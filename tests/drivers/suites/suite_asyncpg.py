"""Owns the tests of asyncpg, from its source distribution."""

from suite import PytestSuite


class Asyncpg(PytestSuite):
    """All of tests/ that runs on servers it did not start itself."""

    name = "asyncpg"
    package = "asyncpg"
    chosen = ("all of tests/ but test__sourcecode (linters) and test__environment; tests that need servers "
              "of their own skip themselves, as asyncpg does where PGHOST is set")
    databases = ["postgres"]
    later_databases = ["asyncpg_intro_test", "testdb"]
    options = ("--ignore=tests/test__sourcecode.py", "--ignore=tests/test__environment.py")
