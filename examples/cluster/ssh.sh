#!/bin/sh
# Starts one command on each host: HOSTS="one two" URL=postgresql://spip@db.example/spip ./ssh.sh
# Each host has pytest-spip[postgres], and the password of the database in ~/.pgpass.
set -eu
: "${HOSTS:?names of hosts}" "${URL:?the database}"
run=${RUN:-run-$(date +%Y%m%d-%H%M%S)}
matrix=${MATRIX:-click>=7}
pids=""
for host in $HOSTS; do
    ssh "$host" "mkdir -p spip && cd spip && pytest --spip-matrix='$matrix' -n auto --spip-queue='$URL' --spip-run='$run'" &
    pids="$pids $!"
done
status=0
for pid in $pids; do
    wait "$pid" || status=$?
done
exit "$status"
