#!/bin/sh
# An exclusive lock. Ten processes each read a number, think, and write it back plus one. Without the
# lock some of them would overwrite each other; with it the sum is right.
set -eu
etcdctl put /examples/counter 0 >/dev/null

for _ in 1 2 3 4 5 6 7 8 9 10; do
    # ETCD_LOCK_REV grows from holder to holder: whatever is protected can refuse an older one.
    etcdctl lock /examples/counter-lock -- sh -c '
        n=$(etcdctl get --print-value-only /examples/counter)
        sleep 0.05
        etcdctl put /examples/counter $((n + 1)) >/dev/null' &
done
wait

echo "The counter is $(etcdctl get --print-value-only /examples/counter) after 10 increments."
etcdctl del /examples/counter >/dev/null
