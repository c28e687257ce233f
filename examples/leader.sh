#!/bin/sh
# Leader election. Candidates propose their address; one leads, the others wait. Whoever wants to know
# listens. When the leader goes, by will or by death, the next one in line leads.
set -eu
name=/examples/leader
heard="${TMPDIR:-/tmp}/leader.$$"

etcdctl elect -l $name >"$heard" &
listener=$!
etcdctl elect $name 10.0.0.1 >/dev/null &
first=$!
until grep -q 10.0.0.1 "$heard"; do sleep 0.1; done
etcdctl elect $name 10.0.0.2 >/dev/null &
second=$!
trap 'kill $listener $first $second 2>/dev/null || true; rm -f "$heard"' EXIT
until [ "$(etcdctl get --prefix $name/ --keys-only | grep -c .)" -eq 2 ]; do sleep 0.1; done

echo "Leads: $(grep '^10' "$heard" | tail -n 1)"
echo "It resigns."
kill $first
until grep -q 10.0.0.2 "$heard"; do sleep 0.1; done
echo "Leads: $(grep '^10' "$heard" | tail -n 1)"
