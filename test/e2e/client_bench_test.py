"""benchmark's loads over streams: every event and every renewal is counted, on Go's etcd and on ours."""
import os
import re
import subprocess

from client_common import servers
from harness import BUILD, equal, run, test

BENCHMARK = os.path.join(BUILD, "benchmark")


def bench(server, *args, status=0):
    done = subprocess.run([BENCHMARK, "--endpoints", server.url[7:]] + list(args), capture_output=True, text=True,
                          timeout=120, check=False)
    equal(done.returncode, status, f"{args}: {done.stdout}{done.stderr}")
    return done.stdout, done.stderr


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
def every_renewal_is_counted():
    for server in servers():
        out, _ = bench(server, "--conns=2", "--clients=5", "lease-keepalive", "--total=500")
        equal(counted(out), [500])


@test
def what_makes_no_sense_is_refused():
    for server in servers():
        for args in (["watch", "--streams=0"], ["watch", "--key-size=4"], ["watch-latency", "--put-total=-1"],
                     ["lease-keepalive", "--total=-1"], ["--conns=0", "watch"]):
            out, err = bench(server, *args, status=1)
            equal((out, err.startswith("Error: --")), ("", True), f"{args}: {err}")


if __name__ == "__main__":
    run()
