"""Owns the tests of Go's lib/pq, from Debian's package.

The test program is built once, and every test runs in a process of its own: the testing package
of Go ends the whole program when one test panics or hangs.
"""

import os
import re
import subprocess

from suite import TEST_TIMEOUT_S, WORK, Suite, read_lines

PACKAGES = ("github.com/lib/pq", "github.com/lib/pq/hstore")
SOURCE = "/usr/share/gocode"
RESULT = re.compile(r"^(\s*)--- (PASS|FAIL|SKIP): (\S+)")


class LibPq(Suite):
    """All tests of the package and of its hstore package; no benchmarks."""

    name = "libpq-go"
    chosen = "lib/pq and lib/pq/hstore, every test in a process of its own; no benchmarks"
    databases = ["pqgotest"]
    roles = {"suite": "superuser login", "pqgotest": "login", "pqgossltest": "login", "pqgosslcert": "login"}
    setup_sql = [("pqgotest", "create extension hstore")]

    @property
    def version(self):
        shown = subprocess.run(["dpkg-query", "-W", "-f", "${Version}", "golang-github-lib-pq-dev"],
                               capture_output=True, text=True)
        return shown.stdout.strip()

    def run(self, port, scratch, only=None):
        environment = {**os.environ, **self.environment(port), "GO111MODULE": "off", "GOPATH": SOURCE,
                       "GOCACHE": os.path.join(WORK, "go-cache"), "GOFLAGS": ""}
        results = {}
        for package in PACKAGES:
            program = os.path.join(WORK, os.path.basename(package) + ".test")
            subprocess.run(["go", "test", "-c", "-o", program, package], env=environment, check=True)
            listed = subprocess.run([program, "-test.list", "."], env=environment, capture_output=True, text=True)
            tests = [t for t in listed.stdout.split() if t.startswith(("Test", "Example"))]
            for test in tests:
                name = f"{package}.{test}"
                # A subtest is run with the test it belongs to.
                if only is None or any(f"{known}/".startswith(f"{name}/") for known in only):
                    results.update(self.one(program, package, test, environment, scratch))
        return results

    def one(self, program, package, test, environment, scratch):
        """Runs one test and its subtests."""
        try:
            ran = subprocess.run(
                [program, "-test.run", f"^{test}$", "-test.v", "-test.timeout", f"{TEST_TIMEOUT_S}s"],
                env=environment, cwd=os.path.join(SOURCE, "src", package), capture_output=True, text=True,
                errors="replace", timeout=TEST_TIMEOUT_S + 10)
            output, code = ran.stdout + ran.stderr, ran.returncode
        except subprocess.TimeoutExpired as expired:
            output, code = f"{expired.stdout}", -1
        with open(os.path.join(scratch, "output.log"), "a") as log:
            log.write(f"=== {package}.{test}: {code}\n{output}\n")
        found = {}
        lines = output.splitlines()
        for line in lines:
            if match := RESULT.match(line):
                found[f"{package}.{match[3]}"] = ({"PASS": "pass", "FAIL": "fail", "SKIP": "skip"}[match[2]], "")
        why = " | ".join(line.strip() for line in lines if not line.startswith(("===", "---", "ok", "PASS")))
        if code != 0 or f"{package}.{test}" not in found:
            found[f"{package}.{test}"] = ("fail" if code else "skip", why[:400])
        for name, (outcome, _) in found.items():
            if outcome == "fail":
                found[name] = (outcome, why[:400])
        return found
