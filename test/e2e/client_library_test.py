"""libetcdclient against Go's etcd and ours: test/etcdclient_check.c has the promises; here it gets
its servers. It is built with the sanitizers."""
import os
import subprocess

from client_common import servers
from harness import ROOT, Skip, run, test

NAMES = ["requests", "transactions", "async", "threads", "closing", "watches", "watch_calls_back",
         "watch_held_back", "leases", "locks", "lock_refusals", "session_is_lost", "elections",
         "stm_money_is_kept", "stm_isolation_levels", "stm_reads_one_revision"]


def checker():
    path = os.path.join(ROOT, "build/asan/test/etcdclient_check")
    if not os.access(path, os.X_OK):
        raise Skip("build/asan is not built: make asan")
    return path


def check(name):
    for server in servers():
        done = subprocess.run([checker(), server.url, name], capture_output=True, text=True, timeout=120, check=False)
        if done.returncode != 0 or f"ok - {name}\n" not in done.stdout:
            raise AssertionError(f"{server.binary}: status {done.returncode}\n{done.stdout}{done.stderr}")


def add(name):
    def one():
        check(name)

    one.__name__ = "library_" + name
    test(one)


for each in NAMES:
    add(each)

if __name__ == "__main__":
    run()
