"""Owns what is said of results: the comparison of targets, the committed lists, results.md."""

import os
from collections import Counter

from suite import HERE, read_lines, say, write_lines


def count(results):
    """`12 pass, 1 fail`."""
    counts = Counter(outcome for outcome, _ in results.values())
    return ", ".join(f"{counts[outcome]} {outcome}" for outcome in ("pass", "fail", "skip"))


def differing(direct, results):
    """{id: why} of tests that pass directly and do not pass here."""
    found = {}
    for test, (outcome, _) in direct.items():
        if outcome == "pass":
            here, why = results.get(test, ("missing", ""))
            if here != "pass":
                found[test] = why if here == "fail" else f"{here} {why}".strip()
    return found


def known(suite):
    """{id: reason} of known/SUITE.txt: `id  # reason` lines."""
    found = {}
    for line in read_lines(os.path.join(HERE, "known", f"{suite}.txt")):
        test, _, reason = line.partition("  # ")
        if test.strip() and not line.startswith("#"):
            found[test.strip()] = reason.strip()
    return found


def compare(name, results, write_lists):
    """Prints what differs from the direct run; 1 when pgmanifold has failures nobody knows."""
    direct, ours, theirs = (results[target] for target in ("direct", "pgmanifold", "pgbouncer"))
    bouncer = differing(direct, theirs) if theirs else None
    if bouncer is not None:
        say(f"{name}: {len(bouncer)} tests that pass directly fail through pgbouncer")
        if write_lists:
            os.makedirs(os.path.join(HERE, "pgbouncer"), exist_ok=True)
            write_lines(os.path.join(HERE, "pgbouncer", f"{name}.txt"), sorted(bouncer))
    if not ours:
        return 0
    failed, listed = differing(direct, ours), known(name)
    say(f"{name}: {len(failed)} tests that pass directly fail through pgmanifold, "
        f"{len(failed.keys() & listed.keys())} of them known")
    bad = 0
    for test, why in sorted(failed.items()):
        if test not in listed:
            say(f"  NEW {test}\n      {why}")
            bad = 1
        if bouncer is not None and test not in bouncer:
            say(f"  PASSES THROUGH PGBOUNCER {test}\n      {why}")
            bad = 1
    for test in sorted(listed.keys() - failed.keys()):
        say(f"  no longer fails: {test}")
    for test, (outcome, why) in sorted(ours.items()):
        if outcome == "pass" and why:
            say(f"  passed when tried again: {test}\n      {why}")
    return bad


def write(suites, results):
    """Writes results.md from all stored results."""
    text = [
        "# Suites of others", "",
        "<!-- Written by `make test-drivers WRITE=1`. -->", "",
        "Tests that pass on PostgreSQL itself and fail through a pooler in transaction mode, by suite. "
        "What is run and how: [README](README.md).", "",
        "| suite | version | tests | pass directly | of these fail: pgmanifold | PgBouncer 1.18 |",
        "|---|---|---|---|---|---|",
    ]
    lists = []
    for name, suite in suites.items():
        direct, ours, theirs = (results[name][target] for target in ("direct", "pgmanifold", "pgbouncer"))
        if not (direct and ours and theirs):
            continue
        passed = sum(outcome == "pass" for outcome, _ in direct.values())
        failed, bouncer = differing(direct, ours), differing(direct, theirs)
        text.append(f"| {name} | {suite.version} | {len(direct)} | {passed} | {len(failed)} | "
                    f"[{len(bouncer)}](pgbouncer/{name}.txt) |")
        lists += ["", f"## {name}", "", f"Run: {suite.chosen}.", ""]
        reasons = known(name)
        lists += [f"- `{test}`: {reasons.get(test, 'not explained')}"
                  + ("" if test in bouncer else " **Passes through PgBouncer.**") for test in sorted(failed)]
        lists += [] if failed else ["Nothing fails through pgmanifold."]
    write_lines(os.path.join(HERE, "results.md"), text + lists)
