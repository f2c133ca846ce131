"""Owns how a suite is run to its end: restarts after a hang or a crash, and reads its results.

What is particular to one suite stands in its own file. It must not know what a target is.
"""

import json
import os
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.normpath(os.path.join(HERE, "../../.."))
WORK = os.path.join(ROOT, "target/suites")
PYTHON = os.path.join(WORK, "venv/bin/python")
TEST_TIMEOUT_S = 40
# A suite that dies more often than this is not gone on with; its other tests count as missing.
MAX_RESTARTS = 150


class Suite:
    """One suite: what it needs on the servers, and how its tests are started."""

    name = ""
    # Its name in sources.txt, when it comes from PyPI.
    package = ""
    # What of it is run, for the report.
    chosen = ""
    # Role names with their options; the first is the one clients log in as.
    roles = {"suite": "superuser login"}
    # The first is the one clients ask for.
    databases = ["suite"]
    # Those that tests make themselves; poolers know of them beforehand.
    later_databases = ()
    # Pairs of database and statement, run before anything else.
    setup_sql = ()

    @property
    def version(self):
        """As pinned."""
        pinned = dict(line.split("==") for line in read_lines(os.path.join(HERE, "sources.txt")))
        return pinned[self.package]

    def environment(self, port):
        """Environment variables that lead the suite to 127.0.0.1:`port`."""
        return {
            "PGHOST": "127.0.0.1", "PGPORT": str(port), "PGUSER": next(iter(self.roles)),
            "PGDATABASE": self.databases[0], "PGSSLMODE": "disable", "PGTZ": "UTC", "TZ": "UTC",
        }

    def arguments(self, only):
        """The program that runs the tests; it may leave out files that have none of `only`."""
        raise NotImplementedError

    def folder(self):
        """Where it runs: what setup.sh unpacked."""
        return os.path.join(WORK, f"{self.package.lower()}-{self.version}")

    def canonical(self, test):
        """The id of a test without what changes from server to server."""
        return test

    def run(self, port, scratch, only=None):
        """Runs all tests, or `only` those, and returns {id: (outcome, why)}."""
        results = os.path.join(scratch, "results.jsonl")
        done, wanted = os.path.join(scratch, "done"), os.path.join(scratch, "only")
        for path in (results, done, wanted):
            if os.path.exists(path):
                os.unlink(path)
        environment = {**os.environ, **self.environment(port), "SUITES_RESULTS": results,
                       "SUITES_DONE": done, "SUITES_TEST_TIMEOUT_S": str(TEST_TIMEOUT_S),
                       "PYTHONPATH": HERE, "PYTHONDONTWRITEBYTECODE": "1"}
        if only is not None:
            write_lines(wanted, only)
            environment["SUITES_ONLY"] = wanted
        with open(os.path.join(scratch, "output.log"), "ab") as output:
            for _ in range(MAX_RESTARTS):
                code = subprocess.run(self.arguments(only), cwd=self.folder(), env=environment,
                                      stdin=subprocess.DEVNULL, stdout=output, stderr=output).returncode
                before = len(read_lines(done))
                write_lines(done, read_results(results))
                if self.is_end(code) or len(read_lines(done)) == before:
                    break
        return read_results(results)

    def is_end(self, code):
        """Whether the program ran to its end, failed tests or not."""
        return code in (0, 1)


class PytestSuite(Suite):
    """A suite that pytest runs."""

    options = ()
    paths = ("tests",)

    def arguments(self, only):
        paths = self.paths if only is None else sorted({test.split("::")[0] for test in only})
        return [PYTHON, "-m", "pytest", "-p", "record_pytest", "-p", "no:cacheprovider", "-q",
                *self.options, *paths]

    def is_end(self, code):
        # 0: passed, 1: failed, 5: no tests left.
        return code in (0, 1, 5)


def read_results(path):
    """{id: (outcome, why)}; the last line of a test holds."""
    found = {}
    if os.path.exists(path):
        with open(path) as file:
            for line in file:
                try:
                    test, outcome, why = json.loads(line)
                except ValueError:
                    continue  # cut short by the death of the process
                found[test] = (outcome, why)
    return found


def read_lines(path):
    """Lines of a file that may not be there."""
    if not os.path.exists(path):
        return []
    with open(path) as file:
        return file.read().splitlines()


def write_lines(path, lines):
    """One line each."""
    with open(path, "w") as file:
        file.writelines(f"{line}\n" for line in lines)


def say(text):
    """Progress, at once."""
    print(text, file=sys.stderr, flush=True)
