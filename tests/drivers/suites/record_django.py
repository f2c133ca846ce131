"""Django's test runner, which chooses the tests and writes their outcomes, see outcomes.py."""

import unittest

import outcomes
from django.test.runner import DiscoverRunner, iter_test_cases


class Result(unittest.TextTestResult):
    """Writes one line for every test, and one for every class or module that fails to set up."""

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self.watch, self.outcome = None, None

    def startTest(self, test):
        super().startTest(test)
        self.watch, self.outcome = outcomes.Watch(test.id()), ("pass", "")

    def stopTest(self, test):
        super().stopTest(test)
        self.watch.end()
        outcomes.write(test.id(), *self.outcome)
        self.watch = None

    def _fail(self, test, error):
        why = f"{error[0].__name__}: {error[1]}"
        if self.watch is None:
            outcomes.write(test.id(), "fail", why)
        self.outcome = ("fail", why)

    def addError(self, test, error):
        super().addError(test, error)
        self._fail(test, error)

    def addFailure(self, test, error):
        super().addFailure(test, error)
        self._fail(test, error)

    def addSubTest(self, test, subtest, error):
        super().addSubTest(test, subtest, error)
        if error is not None:
            self._fail(test, error)

    def addSkip(self, test, reason):
        super().addSkip(test, reason)
        if self.watch is None:
            outcomes.write(test.id(), "skip")
        self.outcome = ("skip", "")


class Runner(DiscoverRunner):
    """Differs from Django's own in its results only."""

    def get_resultclass(self):
        return Result

    def build_suite(self, *arguments, **options):
        suite = super().build_suite(*arguments, **options)
        return self.test_suite(outcomes.wanted(iter_test_cases(suite), lambda test: test.id()))
