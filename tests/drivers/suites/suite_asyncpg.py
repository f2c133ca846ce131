"""Owns the tests of asyncpg, from its source distribution."""

import os

from suite import WORK, PytestSuite


class Asyncpg(PytestSuite):
    """All of tests/ that runs on servers it did not start itself."""

    name = "asyncpg"
    version = "0.32.0"
    chosen = ("all of tests/ but test__sourcecode (linters) and test__environment; tests that need servers "
              "of their own skip themselves, as asyncpg does where PGHOST is set")
    databases = ["postgres"]
    later_databases = ["asyncpg_intro_test", "testdb"]
    options = ("tests", "--ignore=tests/test__sourcecode.py", "--ignore=tests/test__environment.py")

    def folder(self):
        return os.path.join(WORK, f"asyncpg-{self.version}")
