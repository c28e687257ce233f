#!/bin/sh
# Service registration and discovery. Every instance registers its address under the name of the
# service, with a lease that it keeps alive: when the instance dies, its key goes by itself. Who
# wants to know looks once, then watches from the revision behind that look.
set -eu
service=/services/web

register() { # id address
    lease=$(etcdctl lease grant 5 | cut -d' ' -f2)
    etcdctl put "$service/$1" "$2" --lease="$lease" >/dev/null
    exec etcdctl lease keep-alive "$lease" >/dev/null # until somebody ends us
}

# The watcher: a line for each change. A deletion has no value.
etcdctl watch --prefix "$service/" -- \
    sh -c 'echo "discovered: $ETCD_WATCH_EVENT_TYPE $ETCD_WATCH_KEY $ETCD_WATCH_VALUE"' >"${TMPDIR:-/tmp}/register.$$" &
watcher=$!
sleep 0.5
register one 10.0.0.1:80 &
first=$!
register two 10.0.0.2:80 &
second=$!
trap 'kill $watcher $first $second 2>/dev/null || true; rm -f "${TMPDIR:-/tmp}/register.$$"' EXIT
sleep 1

echo "Instances of $service:"
etcdctl get --prefix "$service/"

echo "Instance one dies; its key follows within the time of its lease."
kill -9 $first
until [ -z "$(etcdctl get "$service/one")" ]; do sleep 0.2; done
etcdctl get --prefix "$service/"

echo "What the watcher saw:"
sleep 0.5
grep '^discovered' "${TMPDIR:-/tmp}/register.$$"
etcdctl del --prefix "$service/" >/dev/null
