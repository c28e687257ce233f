#!/bin/sh
# Configuration push. A program loads its configuration when it starts, and is told of every change
# from then on: the watch begins at the revision behind the one that was loaded, so that no change
# falls in between.
set -eu
config=/config/app
seen="${TMPDIR:-/tmp}/config.$$"

etcdctl put $config/workers 4 >/dev/null
etcdctl put $config/level info >/dev/null

loaded=$(etcdctl get --prefix $config/ -w fields | sed -n 's/^"Revision" : //p' | head -n 1)
echo "Loaded at revision $loaded:"
etcdctl get --prefix $config/

# The command is run at each change, with what changed in its environment.
etcdctl watch --prefix $config/ --rev=$((loaded + 1)) -- \
    sh -c 'echo "reload: $ETCD_WATCH_KEY is now $ETCD_WATCH_VALUE"' >"$seen" &
watcher=$!
trap 'kill $watcher 2>/dev/null || true; rm -f "$seen"' EXIT

etcdctl put $config/workers 8 >/dev/null
# Several keys at once: those who watch get both in one revision.
printf '\n\nput %s/workers 16\nput %s/level debug\n\n\n' $config $config | sed 1d | etcdctl txn >/dev/null

until grep -q '^reload.*debug' "$seen"; do sleep 0.1; done
grep '^reload' "$seen"
etcdctl del --prefix $config/ >/dev/null
