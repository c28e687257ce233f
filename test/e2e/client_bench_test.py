"""benchmark's loads over streams: every event and every renewal is counted, on Go's etcd and on ours."""
import base64
import json
import os
import re
import subprocess
import time

from client_common import servers
from harness import BUILD, ctl, equal, run, test

BENCHMARK = os.path.join(BUILD, "benchmark")


def bench(server, *args, status=0):
    done = subprocess.run([BENCHMARK, "--endpoints", server.url[7:]] + list(args), capture_output=True, text=True,
                          timeout=120, check=False)
    equal(done.returncode, status, f"{args}: {done.stdout}{done.stderr}")
    return done.stdout, done.stderr


def revision(server):
    return json.loads(ctl(server, "get", "nothing", "-w", "json")[1])["header"]["revision"]


def counted(text):
    """How many results each report of the text has: the sum of its histogram."""
    return [sum(int(n) for n in re.findall(r"\[(\d+)\]\t\|", part)) for part in text.split("Response time histogram:")[1:]]


@test
def every_event_of_every_watch_is_counted():
    for server in servers():
        out, _ = bench(server, "watch", "--streams=3", "--watch-per-stream=7", "--watched-key-total=4", "--put-total=10")
        # 21 watches on 4 keys: 6, 5, 5, 5; 10 puts: 3, 3, 2, 2.
        equal(counted(out), [21, 10, 6 * 3 + 5 * 3 + 5 * 2 + 5 * 2])
        titles = re.findall(r"^(\w.*):$", out, re.M)
        equal([t for t in titles if t.endswith("summary")],
              ["Watch creation summary", "Put summary", "Watch events received summary"])


@test
def latency_counts_from_the_put():
    for server in servers():
        out, _ = bench(server, "--conns=2", "watch-latency", "--streams=4", "--watchers-per-stream=3",
                       "--put-total=20", "--put-rate=200", "--prevkv")
        equal(counted(out), [12, 20, 12 * 20])


@test
def every_watch_catches_up_beside_reads():
    for server in servers():
        out, err = bench(server, "--conns=2", "watch-get", "--watchers=300", "--streams=3", "--events=5")
        equal((out.startswith("Get during watch summary:\n"), err), (True, ""), out)
        equal(counted(out)[0] > 0, True)
        code, keys, _ = ctl(server, "get", "watchkey", "-w", "json")
        kv = json.loads(keys)["kvs"][0]
        equal((code, kv["version"], base64.b64decode(kv["value"])), (0, 5, b"4"))


@test
def every_transaction_is_counted_and_writes_what_it_should():
    for server in servers():
        for isolation in ("c", "r", "s", "ss"):
            before = revision(server)
            out, err = bench(server, "--conns=2", "--clients=4", "stm", f"--isolation={isolation}", "--keys=8",
                             "--keys-per-txn=3", "--txn-wr-percent=70", "--total=60")
            equal((counted(out), err), ([60], ""), isolation)
            # Three keys, 70 per cent of them: two are written, in one revision.
            equal(revision(server) - before, 60, isolation)
        out, _ = bench(server, "stm", "--total=10")  # half of one key is none
        equal((counted(out), revision(server) - before), ([10], 60))


@test
def transactions_take_turns_behind_a_lock():
    for server in servers():
        for locker in ("lock-client", "lock-rpc"):
            out, err = bench(server, "--conns=2", "--clients=4", "stm", f"--stm-locker={locker}", "--keys=1",
                             "--txn-wr-percent=100", "--total=40", "--isolation=ss")
            equal((counted(out), err), ([40], ""), locker)
        equal(ctl(server, "get", "--prefix", "stmlock", "--keys-only")[1], "")
        equal(ctl(server, "lease", "list")[1], "found 0 leases\n")


@test
def transactions_keep_to_a_rate():
    for server in servers():
        began = time.monotonic()
        out, _ = bench(server, "--clients=4", "stm", "--total=50", "--rate=100")
        equal((counted(out), time.monotonic() - began > 0.45), ([50], True))


@test
def every_renewal_is_counted():
    for server in servers():
        out, _ = bench(server, "--conns=2", "--clients=5", "lease-keepalive", "--total=500")
        equal(counted(out), [500])


@test
def what_makes_no_sense_is_refused():
    for server in servers():
        for args in (["watch", "--streams=0"], ["watch", "--key-size=4"], ["watch-latency", "--put-total=-1"],
                     ["lease-keepalive", "--total=-1"], ["--conns=0", "watch"], ["watch-get", "--events=0"],
                     ["stm", "--total=-1"]):
            out, err = bench(server, *args, status=1)
            equal((out, err.startswith("Error: --")), ("", True), f"{args}: {err}")


if __name__ == "__main__":
    run()
