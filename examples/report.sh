#!/bin/sh
# Work report. Each task has a key of its own with a short lease and writes its progress there; a
# controller reads all of them with one request. A task that dies is missing after its lease.
set -eu
jobs=/jobs/build

task() { # name, steps; a task that is to die is killed from outside
    lease=$(etcdctl lease grant 3 | cut -d' ' -f2)
    etcdctl lease keep-alive "$lease" >/dev/null 2>&1 &
    keeper=$!
    trap 'kill $keeper 2>/dev/null' EXIT
    trap 'exit 1' TERM
    for step in $(seq 1 "$2"); do
        etcdctl put "$jobs/$1" "$step of $2" --lease="$lease" >/dev/null
        sleep 0.3
    done
    etcdctl put "$jobs/$1" "done" >/dev/null # without the lease: it stays
}

task compile 3 &
task link 1000 &
doomed=$!
trap 'kill $doomed 2>/dev/null || true' EXIT

until [ "$(etcdctl get $jobs/compile --print-value-only)" = "done" ]; do sleep 0.2; done
echo "Reported:"
etcdctl get --prefix $jobs/ --keys-only | grep .

echo "The linker dies."
kill $doomed
until [ -z "$(etcdctl get $jobs/link)" ]; do sleep 0.2; done
echo "Left:"
etcdctl get --prefix $jobs/
etcdctl del --prefix $jobs/ >/dev/null
