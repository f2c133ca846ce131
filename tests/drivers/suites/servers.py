"""Owns what suites run against: a primary with one replica, and a pooler before them.

Servers listen on 127.0.0.1, live in a directory of their own and end with this process. It must
not know any suite.
"""

import glob
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time

START_TIMEOUT_S = 60
STOP_TIMEOUT_S = 20
POOL_SIZE = 20
MONITOR = "monitor"

# Beyond defaults: no wait for disks, two-phase commit and logical decoding on, as suites use them.
SETTINGS = """
listen_addresses = '127.0.0.1'
fsync = off
max_connections = 300
max_prepared_transactions = 50
wal_level = logical
autovacuum = off
timezone = 'UTC'
log_timezone = 'UTC'
log_min_messages = warning
"""

TRUST = "host all,replication all 127.0.0.1/32 trust\nlocal all,replication all trust\n"


def bin_dir():
    """The newest PostgreSQL server binaries, or those PGMANIFOLD_PG_BIN names."""
    named = os.environ.get("PGMANIFOLD_PG_BIN")
    found = [named] if named else glob.glob("/usr/lib/postgresql/*/bin")
    found = [path for path in found if os.path.exists(os.path.join(path, "initdb"))]
    if not found:
        raise SystemExit("no PostgreSQL server binaries found; tests/setup.sh drivers installs them")
    return max(found, key=lambda path: [int(n) for n in path.split("/") if n.isdigit()])


def free_port():
    """A port nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def account():
    """The user servers run as: postgres when we are root, whom PostgreSQL refuses."""
    return pwd.getpwnam("postgres") if os.geteuid() == 0 else None


def command(arguments, user, death="QUIT"):
    """Runs as the user, or as ourselves, and gets the signal `death` when we end."""
    drop = ["--reuid", str(user.pw_uid), "--regid", str(user.pw_gid), "--clear-groups"] if user else []
    return ["setpriv", *drop, "--pdeathsig", death, "--", *arguments]


class Child:
    """A running server process; its log is `path`.log."""

    def __init__(self, name, arguments, directory, user, death="QUIT"):
        self.name, self.log = name, os.path.join(directory, f"{name}.log")
        arguments = command(arguments, user, death)
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                arguments, cwd=directory, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True, env={"PATH": os.environ["PATH"], "LC_ALL": "C", "TZ": "UTC"})

    def wait_for(self, what, ready):
        """Looks at `ready` until it is true."""
        deadline = time.monotonic() + START_TIMEOUT_S
        while not ready():
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"{self.name} is not {what}:\n{self.tail()}")
            time.sleep(0.05)

    def tail(self):
        """The end of its log."""
        with open(self.log, errors="replace") as log:
            return "".join(log.readlines()[-30:])

    def stop(self, number):
        """Sends the signal and waits for the end."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        try:
            self.process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class Cluster:
    """A primary and a replica, with the roles and databases of one suite."""

    def __init__(self, suite):
        base = "/dev/shm" if os.path.isdir("/dev/shm") else None
        self.bin = bin_dir()
        self.dir = tempfile.mkdtemp(prefix="pgm-suites-", dir=base)
        if account():
            os.chown(self.dir, account().pw_uid, account().pw_gid)
        self.children = []
        self.roles, self.databases = suite.roles, suite.databases
        self.all_databases = [*suite.databases, *suite.later_databases]
        try:
            self.port = self._start_primary()
            self._fill(suite.setup_sql)
            self.replica_port = self._start_replica()
        except BaseException:
            self.stop()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()

    def _tool(self, name, *arguments):
        done = subprocess.run(command([os.path.join(self.bin, name), *arguments], account()), cwd=self.dir,
                              capture_output=True, text=True, stdin=subprocess.DEVNULL)
        if done.returncode:
            raise SystemExit(f"{name} failed:\n{done.stdout}{done.stderr}")
        return done.stdout

    def _server(self, name, port):
        directory = os.path.join(self.dir, name)
        settings = ["-c", f"port={port}", "-c", f"unix_socket_directories={self.dir}",
                    "-c", f"cluster_name={name}"]
        child = Child(name, [os.path.join(self.bin, "postgres"), "-D", directory, *settings], self.dir,
                      account())
        self.children.insert(0, child)
        child.wait_for("ready", lambda: self._ready(port))

    def _ready(self, port):
        # As the account: pg_isready must not read anything of root's.
        arguments = [os.path.join(self.bin, "pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(port)]
        return subprocess.run(command(arguments, account()), cwd=self.dir).returncode == 0

    def _start_primary(self):
        data, port = os.path.join(self.dir, "primary"), free_port()
        self._tool("initdb", "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8", "-N")
        with open(os.path.join(data, "postgresql.conf"), "a") as conf:
            conf.write(SETTINGS)
        with open(os.path.join(data, "pg_hba.conf"), "w") as hba:
            hba.write(TRUST)
        self._server("primary", port)
        return port

    def _start_replica(self):
        data, port = os.path.join(self.dir, "replica"), free_port()
        self._tool("pg_basebackup", "-h", "127.0.0.1", "-p", str(self.port), "-U", "postgres",
                   "-D", data, "-R", "-c", "fast", "-X", "stream", "-N")
        self._server("replica", port)
        return port

    def sql(self, database, *statements):
        """Runs statements at the primary itself, as superuser."""
        arguments = ["psql", "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-h", "127.0.0.1",
                     "-p", str(self.port), "-U", "postgres", "-d", database]
        for statement in statements:
            arguments += ["-c", statement]
        done = subprocess.run(arguments, capture_output=True, text=True, cwd=self.dir)
        if done.returncode:
            raise SystemExit(f"{done.stderr}")
        return done.stdout

    def _fill(self, setup_sql):
        roles = [f'create role "{name}" {options}' for name, options in self.roles.items() if name != "postgres"]
        self.sql("postgres", f"create role {MONITOR} login in role pg_monitor", *roles)
        for name in self.databases:
            if name != "postgres":
                self.sql("postgres", f'create database "{name}"')
        for database, statement in setup_sql:
            self.sql(database, statement)

    def stop(self):
        """Ends all servers and removes the directory."""
        for child in self.children:
            child.stop(signal.SIGQUIT)
        shutil.rmtree(self.dir, ignore_errors=True)


class Direct:
    """No pooler: the primary itself."""

    name = "direct"

    def __init__(self, cluster, _binary):
        self.port = cluster.port

    def stop(self):
        """Nothing to stop."""

    def log(self):
        """It has no log."""
        return ""


class Pooler:
    """What both poolers share: a process that is ready when it answers a query."""

    name = ""

    def __init__(self, cluster, binary):
        self.port = free_port()
        self.cluster = cluster
        self.config = os.path.join(cluster.dir, f"{self.name}.conf")
        with open(self.config, "w") as config:
            config.write(self.text(cluster))
        self.child = self.start(cluster.dir, binary)
        self.child.wait_for("answering", self._answers)

    def _answers(self):
        user = next(iter(self.cluster.roles))
        done = subprocess.run(
            ["psql", "-X", "-h", "127.0.0.1", "-p", str(self.port), "-U", user, "-d",
             self.cluster.databases[0], "-c", "select 1"], capture_output=True, cwd=self.cluster.dir)
        return done.returncode == 0

    def stop(self):
        """Ends it at once."""
        self.child.stop(signal.SIGKILL)

    def log(self):
        """The whole log."""
        with open(self.child.log, errors="replace") as log:
            return log.read()


class Pgmanifold(Pooler):
    """The built binary, in transaction pooling, before both servers."""

    name = "pgmanifold"

    def text(self, cluster):
        """Defaults all over: what a user gets who names the hosts, users and databases."""
        users = "".join(f'[[user]]\nname = "{name}"\n' for name in cluster.roles)
        databases = "".join(f'[[database]]\nname = "{name}"\n' for name in cluster.all_databases)
        return (f'[[listener]]\naddress = "127.0.0.1:{self.port}"\nauth = "trust"\n{users}'
                f'[[shard]]\nname = "main"\nmonitor_user = "{MONITOR}"\ntls_mode = "disable"\n'
                f'hosts = ["127.0.0.1:{cluster.port}", "127.0.0.1:{cluster.replica_port}"]\n'
                f'[pool]\npool_mode = "transaction"\npool_size = {POOL_SIZE}\n{databases}')

    def start(self, directory, binary):
        """Runs as ourselves: it may live where the servers' account cannot look."""
        return Child(self.name, [binary, "run", "--config", self.config], directory, None, "KILL")


class PgBouncer(Pooler):
    """Debian's PgBouncer in transaction pooling, before the primary."""

    name = "pgbouncer"

    def text(self, cluster):
        """Parameters it does not know are ignored rather than refused: the kinder reading."""
        users = os.path.join(cluster.dir, "users.txt")
        with open(users, "w") as file:
            file.writelines(f'"{name}" ""\n' for name in cluster.roles)
        databases = "".join(f"{name} = host=127.0.0.1 port={cluster.port}\n" for name in cluster.all_databases)
        return (f"[databases]\n{databases}[pgbouncer]\nlisten_addr = 127.0.0.1\n"
                f"listen_port = {self.port}\nunix_socket_dir =\nauth_type = trust\nauth_file = {users}\n"
                f"pool_mode = transaction\ndefault_pool_size = {POOL_SIZE}\nmax_client_conn = 1000\n"
                "ignore_startup_parameters = extra_float_digits, options, search_path, "
                "statement_timeout, lock_timeout, jit, geqo, intervalstyle\n")

    def start(self, directory, _binary):
        """It refuses root as well."""
        return Child(self.name, ["/usr/sbin/pgbouncer", self.config], directory, account(), "KILL")


TARGETS = {target.name: target for target in (Direct, Pgmanifold, PgBouncer)}
