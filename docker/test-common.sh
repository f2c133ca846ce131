# What both smoke tests need; to be sourced from the project's root, with `file` (the compose file)
# and `project` set.
#
# Where no image registry is reachable the base images come from build-base.sh (needs root and
# debootstrap), and the binaries from `cargo build --release` on this machine.
export PGMANIFOLD_PORT=0 PGMANIFOLD_HTTP_PORT=0 PGMANIFOLD2_PORT=0 PGMANIFOLD2_HTTP_PORT=0
export PGMANIFOLD_IMAGE=pgmanifold-test
ready_timeout_s=90

if docker compose version >/dev/null 2>&1; then
    compose() { docker compose -p "$project" -f "$file" "$@"; }
else
    compose() { docker-compose -p "$project" -f "$file" "$@"; }
fi

clean_up() {
    status=$?
    [ "$status" = 0 ] || compose logs --tail=40 >&2 || true
    compose down --volumes --timeout 5 >/dev/null 2>&1 || true
    exit "$status"
}
fail() { echo "FAILED: $*" >&2; exit 1; }
step() { echo "== $* (${SECONDS} s)"; }

build() { # SERVICE: the image, from what there is
    step build
    if ! timeout 60 docker pull --quiet debian:bookworm-slim >/dev/null 2>&1; then
        echo "no registry: base images from Debian's packages, binaries from this machine"
        docker/build-base.sh
        cargo build --release --locked -p pgmanifold -p pgmanifold-rebalancer
        export BASE_IMAGE=pgmanifold-base POSTGRES_IMAGE=pgmanifold-postgres PGMANIFOLD_TARGET=prebuilt
    fi
    compose build "$1" >/dev/null
    docker image ls --format '{{.Repository}} {{.Size}}' "$PGMANIFOLD_IMAGE"
}

answer() { # SERVICE PATH: status code of its HTTP port
    local http
    http=$(compose port "$1" 9127)
    exec 3<>"/dev/tcp/${http%:*}/${http##*:}" || return 1
    printf 'GET %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n' "$2" >&3
    read -r _ status _ <&3 && echo "$status"
    exec 3>&-
}

wait_ready() { # SERVICE
    local deadline=$((SECONDS + ready_timeout_s))
    until [ "$(answer "$1" /ready 2>/dev/null)" = 200 ]; do
        [ "$SECONDS" -lt "$deadline" ] || fail "$1: /ready is not 200 after $ready_timeout_s s"
        sleep 0.5
    done
}

docker info >/dev/null 2>&1 || fail "no docker daemon answers (set DOCKER_HOST, or start dockerd)"
trap clean_up EXIT
