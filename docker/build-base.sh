#!/bin/bash
# Builds the two base images from Debian's packages alone, for places where no image registry is
# reachable: `pgmanifold-base` (what the proxy runs on) and `pgmanifold-postgres` (the servers).
# Needs root, docker and debootstrap. Existing images are kept; `--force` builds them anew.
#
#   SUITE    Debian release (bookworm)      MIRROR   package mirror (http://deb.debian.org/debian)
set -euo pipefail

suite=${SUITE:-bookworm}
mirror=${MIRROR:-http://deb.debian.org/debian}
force=${1:-}

have() { [ "$force" != --force ] && docker image inspect "$1" >/dev/null 2>&1; }

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# What no container needs: package lists, caches, documentation, translations.
slim() {
    rm -rf "$1"/var/cache/apt/* "$1"/var/lib/apt/lists/* "$1"/var/log/* \
        "$1"/usr/share/{doc,man,info,locale}/*
}

if ! have pgmanifold-base; then
    debootstrap --variant=minbase "$suite" "$work/base" "$mirror" >"$work/log" 2>&1 ||
        { tail -20 "$work/log" >&2; exit 1; }
    slim "$work/base"
    tar -C "$work/base" -c . | docker import - pgmanifold-base >/dev/null
fi

if ! have pgmanifold-postgres; then
    debootstrap --variant=minbase --include=postgresql "$suite" "$work/postgres" "$mirror" \
        >"$work/log" 2>&1 || { tail -20 "$work/log" >&2; exit 1; }
    bin=$(cd "$work/postgres" && echo /usr/lib/postgresql/*/bin)
    # The package's own cluster is not used. Volumes take over the owner of this directory.
    rm -rf "$work"/postgres/{etc,var/lib}/postgresql/*
    install -d -m 700 "$work/postgres/var/lib/postgresql/data"
    chroot "$work/postgres" chown postgres:postgres /var/lib/postgresql/data
    slim "$work/postgres"
    tar -C "$work/postgres" -c . | docker import \
        --change "ENV PATH=$bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin" \
        --change "VOLUME /var/lib/postgresql/data" - pgmanifold-postgres >/dev/null
fi

docker image ls --format '{{.Repository}}\t{{.Size}}' | grep '^pgmanifold-'
