#!/bin/bash
# Asks /health of the pgmanifold in this container; bash speaks TCP itself, so no curl is needed.
# Another port: PGMANIFOLD_HTTP_PORT.
set -eu
exec 3<>"/dev/tcp/127.0.0.1/${PGMANIFOLD_HTTP_PORT:-9127}"
printf 'GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n' >&3
read -r _ status _ <&3
test "$status" = 200
