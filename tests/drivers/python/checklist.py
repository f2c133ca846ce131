"""Owns the runner shared by the Python driver programs: clients, results, exit code.

A driver program takes a URL and a number of clients. It runs its checklist in every client at
once and prints `ok NAME` or `FAIL NAME: why` lines. It must not know what answers the URL.
"""

import sys
import traceback

EXPECTED_SETTINGS = {
    "TimeZone": "Asia/Tokyo",
    "DateStyle": "SQL, DMY",
    "search_path": "pg_catalog, public",
    "application_name": "checklist",
    "statement_timeout": "77s",
}

# Clients above this number skip the checks that move many bytes.
HEAVY_CLIENTS = 2


class Report:
    """Collects the outcome of every check of every client."""

    def __init__(self):
        self.passed = {}
        self.failed = 0

    def ok(self, name):
        """One client passed one check."""
        self.passed[name] = self.passed.get(name, 0) + 1

    def fail(self, name, client, error):
        """One client failed one check."""
        self.failed += 1
        why = "".join(traceback.format_exception_only(type(error), error)).strip()
        frames = traceback.extract_tb(error.__traceback__)
        where = [frame.lineno for frame in frames if "drivers" in frame.filename]
        print(f"FAIL {name}: client {client}: {why!r} at lines {where}", flush=True)

    def finish(self):
        """Prints what passed and ends the program."""
        for name, count in self.passed.items():
            print(f"ok {name} ({count} clients)")
        sys.exit(1 if self.failed else 0)


def same(got, expected):
    """Fails the check when two values differ."""
    if got != expected:
        raise AssertionError(f"got {got!r:.300}, expected {expected!r:.300}")
