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
def the_time_that_is_left_never_grows_while_the_bar_stands():
    stock, ours = servers()
    for server, binary in ((stock, which("etcdctl")), (ours, None)):
        one = Running(server, "check", "perf", binary=binary)
        one.until(" 4 / 60 ")
        one.process.kill()
        one.process.wait()
        ctl(server, "del", "--prefix", "/etcdctl-check-perf/")
        left = {}
        for count, minutes, seconds in re.findall(r"\r (\d+) / 60 +\d+\.\d\d%(?: (\d\d)m(\d\d)s)?(?=\r)", one.read()):
            left.setdefault(int(count), []).append(60 * int(minutes) + int(seconds) if minutes else 0)
        equal(left.pop(0).count(0) > 1, True, "before the first second nothing is known")
        for count, times in list(left.items())[:3]:
            equal(times, sorted(times, reverse=True), f"{binary or 'ours'} at {count}")
            assert len(times) > 2 and 57 - count <= times[-1] <= times[0] <= 62 - count, (binary, count, times)


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
