#!/bin/sh
# A first-in-first-out queue. A producer puts jobs under keys of which each is new (a transaction that
# only holds if the key is not there). A consumer takes the oldest: it deletes the key in a
# transaction that only holds if nobody has deleted it before, so that a job has one taker.
set -eu
queue=/queue/jobs
taken="${TMPDIR:-/tmp}/queue.$$"
trap 'rm -f "$taken"' EXIT
: >"$taken"

produce() { # number
    printf 'create("%s/%04d") = "0"\n\nput %s/%04d job-%d\n\n\n' $queue "$1" $queue "$1" "$1" |
        etcdctl txn >/dev/null
}

take() { # prints a job; fails when there is none
    while :; do
        pair=$(etcdctl get --prefix $queue/ --sort-by=CREATE --order=ASCEND --limit=1)
        [ -n "$pair" ] || return 1
        key=$(echo "$pair" | head -n 1)
        answer=$(printf 'create("%s") > "0"\n\ndel %s\n\n\n' "$key" "$key" | etcdctl txn)
        case "$answer" in
        SUCCESS*) echo "$pair" | tail -n 1; return 0 ;;
        esac # somebody else was faster: the next one
    done
}

for n in 1 2 3 4 5 6; do produce $n; done
echo "Queued: $(etcdctl get --prefix $queue/ --keys-only | grep -c .) jobs."

consumer() { # name
    while job=$(take); do echo "$job" >>"$taken"; done
}
consumer a &
consumer b &
wait
echo "Taken, each once:"
sort "$taken"
