#!/bin/sh
# An ordered lock: who asked first gets it first. Every contender has a key under the name of the
# lock; the one with the lowest create revision holds it, the others each wait for the one before
# them. So listing the keys by create revision shows the queue.
set -eu
name=/examples/ordered
turns="${TMPDIR:-/tmp}/ordered.$$"
trap 'rm -f "$turns"' EXIT
: >"$turns"

etcdctl lock $name -- sleep 2 &
until [ "$(etcdctl get --prefix $name/ --keys-only | grep -c .)" -eq 1 ]; do sleep 0.05; done
for who in ann bob carl; do
    TURNS=$turns WHO=$who etcdctl lock $name -- sh -c 'echo "$WHO" >>"$TURNS"' &
    # The next one asks when this one stands in line.
    want=$((${want:-1} + 1))
    until [ "$(etcdctl get --prefix $name/ --keys-only | grep -c .)" -eq $want ]; do sleep 0.05; done
done
echo "In line, the holder first: $(etcdctl get --prefix $name/ --keys-only --sort-by=CREATE | grep -c .) contenders."
wait
echo "They had their turn in this order:"
cat "$turns"
