"""pytest plugin: chooses the tests and writes their outcomes, see outcomes.py."""

import outcomes
import pytest


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items):
    items[:] = outcomes.wanted(items, lambda item: item.nodeid)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item):
    watch = outcomes.Watch(item.nodeid)
    item.suites_outcome = ("pass", "")
    try:
        return (yield)
    finally:
        watch.end()
        outcomes.write(item.nodeid, *item.suites_outcome)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    if report.failed and item.suites_outcome[0] != "fail":
        kind = type(call.excinfo.value).__name__ if call.excinfo else ""
        why = str(call.excinfo.value) if call.excinfo else report.longreprtext
        item.suites_outcome = ("fail", f"{call.when}: {kind}: {why}")
    elif report.skipped and item.suites_outcome[0] == "pass":
        item.suites_outcome = ("skip", "")
    return report
