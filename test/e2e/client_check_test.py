"""etcdctl check: what it refuses, what datascale prints; perf for its minute only in the long form."""
import os
import re

from client_common import Running, ctl, servers
from harness import Skip, equal, run, test, which

LONG = os.environ.get("ETCDC_LONG", "0") not in ("", "0")


@test
def unknown_loads_and_used_prefixes_are_refused_as_etcdctl_refuses_them():
    for server in servers():
        ctl(server, "put", "used/x", "y")
        for args in (["check", "perf", "--load=huge"], ["check", "datascale", "--load", ""],
                     ["check", "perf", "--prefix=used/"], ["check", "datascale", "--prefix=used/"]):
            ours = ctl(server, *args, check=False)
            equal(ours, ctl(server, *args, check=False, binary=which("etcdctl")), f"{args}")
            equal(ours[0], 3 if "--prefix=used/" in args else 4)


@test
def datascale_measures_and_cleans_up():
    for server in servers():
        out = ctl(server, "check", "datascale", "--auto-compact", "--auto-defrag")[1]
        lines = re.split("[\r\n]", out)
        equal(lines[0], "Start data scale check for work load [10000 key-value pairs, 1024 bytes per key-value, "
                        "50 concurrent clients].")
        assert any(re.fullmatch(r" 10000 / 10000  100\.00% \d+s", line) for line in lines), out
        assert "Compacting with revision 10002\nCompacted with revision 10002\n" in out, out
        endpoint = server.url[7:]
        assert f'Defragmenting "{endpoint}"\nDefragmented "{endpoint}"\n' in out, out
        assert re.search(r"\nPASS: Approximate system memory used : -?\d+\.\d\d MB\.\n$", out), out
        equal(ctl(server, "get", "--prefix", "/etcdctl-check-datascale/", "--keys-only")[1], "")


@test
def perf_writes_for_a_minute():
    if not LONG:
        raise Skip("a minute for each server: ETCDC_LONG=1")
    for server in servers():
        one = Running(server, "check", "perf")
        status = one.process.wait(150)
        out = one.read()
        lines = re.split("[\r\n]", out)
        assert " 60 / 60  100.00% 1m0s" in lines, out
        assert re.search(r"(PASS: Throughput is|FAIL: Throughput too low:) \d+ writes/s\n", out), out
        equal(lines[-2] == "PASS", status == 0)
        equal(ctl(server, "get", "--prefix", "/etcdctl-check-perf/", "--keys-only")[1], "")


if __name__ == "__main__":
    run()
