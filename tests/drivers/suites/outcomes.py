"""Owns the lines a test program writes: the outcome of every test, as it happens.

The file is named by SUITES_RESULTS. A test that takes longer than SUITES_TEST_TIMEOUT_S ends the
whole process, because a driver may wait inside C; the caller goes on with the tests behind it.
"""

import faulthandler
import json
import os
import sys
import threading

WHY_CHARACTERS = 400
_timeout_s = float(os.environ["SUITES_TEST_TIMEOUT_S"])
_file = open(os.environ["SUITES_RESULTS"], "a", buffering=1)


def write(test, outcome, why=""):
    """One line; a later line of the same test replaces an earlier one."""
    print(json.dumps([test, outcome, " ".join(why.split())[:WHY_CHARACTERS]]), file=_file)


def wanted(tests, name):
    """Those of `tests` that are to be run: SUITES_ONLY when it is given, without SUITES_DONE."""
    only, done = _lines("SUITES_ONLY"), _lines("SUITES_DONE") or set()
    return [t for t in tests if name(t) not in done and (only is None or name(t) in only)]


def _lines(variable):
    path = os.environ.get(variable)
    if not path or not os.path.exists(path):
        return None
    with open(path) as file:
        return set(file.read().splitlines())


class Watch:
    """Lives as long as a test runs, and ends the process when that is too long."""

    def __init__(self, test):
        # Replaced by the outcome, unless there is none.
        write(test, "fail", "the process died in it")
        self.timer = threading.Timer(_timeout_s, self._too_late, [test])
        self.timer.daemon = True
        self.timer.start()

    def _too_late(self, test):
        write(test, "fail", f"takes longer than {_timeout_s:.0f} s")
        faulthandler.dump_traceback(file=sys.__stderr__)
        os._exit(3)

    def end(self):
        """The test has ended."""
        self.timer.cancel()
