"""benchmark against our server and, where it is installed, another etcd: every sub-command sends what
it says, and reports it in the shape that etcd's own tool has."""
import json
import os
import re
import shutil
import subprocess
import time

from harness import BUILD, Server, contains, ctl, equal, run, test

BENCHMARK = os.path.join(BUILD, "benchmark")
OTHER = shutil.which("etcd", path=os.environ.get("PATH", "") + ":/usr/bin")
BINARIES = [None] + ([OTHER] if OTHER else [])


def benchmark(server, *args, status=0):
    """Runs it; returns (standard output, standard error)."""
    done = subprocess.run([BENCHMARK, "--endpoints", server.url.replace("http://", "")] + list(args),
                          capture_output=True, text=True, timeout=60, check=False)
    equal(done.returncode, status, f"benchmark {args}\n{done.stdout}{done.stderr}")
    return done.stdout, done.stderr


def report(text, total, number=r"\d+\.\d{4}"):
    """Checks the shape of one report and that its histogram counts `total`; returns its numbers."""
    values = {}
    for name, unit in (("Total", " secs."), ("Slowest", " secs."), ("Fastest", " secs."), ("Average", " secs."),
                       ("Stddev", " secs."), ("Requests/sec", "")):
        match = re.search(rf"^  {name}:\t({number}){re.escape(unit)}$", text, re.M)
        if match is None:
            raise AssertionError(f"no {name} in {text}")
        values[name] = float(match.group(1))
    bars = re.findall(rf"^  ({number}) \[(\d+)\]\t\|(∎*)$", text, re.M)
    equal(len(bars), 11, text)
    equal(sum(int(count) for _, count, _ in bars), total, text)
    equal(max(len(bar) for _, _, bar in bars), 40, text)
    percents = re.findall(rf"^  ([\d.]+)% in ({number}) secs\.$", text, re.M)
    shares = ["10", "25", "50", "75", "90", "95", "99", "99.9"]
    equal([share for share, _ in percents], shares if total >= 1000 else shares[:len(percents)], text)
    values.update((f"p{share}", float(value)) for share, value in percents)
    ordered = [values["Fastest"]] + [float(value) for _, value in percents] + [values["Slowest"]]
    equal(ordered, sorted(ordered), text)
    equal("Error distribution" in text, False, text)
    return values


def revision(server):
    return json.loads(ctl(server, "get", "x", "-w", "json")[1])["header"]["revision"]


def count(server):
    out = ctl(server, "get", "", "--from-key", "--count-only", "-w", "fields")[1]
    return int(re.search(r'"Count" : (\d+)', out).group(1))


def on_each(function):
    """The test, on every server there is."""
    def both():
        for binary in BINARIES:
            server = Server(binary=binary).start()
            function(server)
            server.stop()
    both.__name__ = function.__name__
    return test(both)


@on_each
def put_writes_each_key_once_when_they_come_in_order(server):
    before = revision(server)
    out, err = benchmark(server, "put", "--total", "1000", "--conns", "5", "--clients", "20", "--sequential-keys",
                         "--key-space-size", "1000", "--val-size", "100")
    report(out, 1000)
    equal(revision(server) - before, 1000)
    equal(count(server), 1000)
    contains(err, "1000 / 1000")
    contains(err, "100.00%")


@on_each
def put_keeps_to_sizes_prefix_and_key_space(server):
    benchmark(server, "put", "--total", "200", "--clients", "3", "--key-size", "20", "--val-size", "33",
              "--key-space-size", "7", "--prefix", "/some/prefix/", "--sequential-keys")
    equal(count(server), 7)
    kvs = json.loads(ctl(server, "get", "/some/prefix/", "--prefix", "-w", "json")[1])["kvs"]
    equal(len(kvs), 7)
    for kv in kvs:
        equal(len(kv["key"]), 44)    # base64 of 13 + 20 bytes
        equal(len(kv["value"]), 44)  # and of 33
    equal(sum(kv["version"] for kv in kvs), 200)


@on_each
def range_reads_and_changes_nothing(server):
    ctl(server, "put", "foo", "bar")
    before = revision(server)
    out, _ = benchmark(server, "range", "foo", "--total", "1000", "--conns", "4", "--clients", "8")
    contains(out, "bench with linearizable range\n")
    report(out, 1000)
    out, _ = benchmark(server, "range", "a", "z", "--total", "1000", "--consistency", "s", "--limit", "1")
    contains(out, "bench with serializable range\n")
    report(out, 1000)
    for flags in (["--prefix"], ["foo", "--count-only"], ["foo", "--keys-only"]):
        report(benchmark(server, "range", "--total", "50", *flags)[0], 50)
    equal(revision(server), before)


@on_each
def txn_put_makes_one_revision_of_several_puts(server):
    before = revision(server)
    out, _ = benchmark(server, "txn-put", "--total", "100", "--clients", "4", "--txn-ops", "5", "--key-space-size", "50")
    report(out, 100)
    equal(revision(server) - before, 100)
    equal(count(server), 50)


@on_each
def txn_mixed_reports_reads_and_writes_apart(server):
    before = revision(server)
    out, _ = benchmark(server, "txn-mixed", "--total", "2000", "--clients", "10", "--conns", "2", "--key-space-size", "100",
                       "--rw-ratio", "3", "--limit", "5")
    match = re.search(r"Total Read Ops: (\d+)\nDetails:(.*)Total Write Ops: (\d+)\nDetails:(.*)", out, re.S)
    reads, writes = int(match.group(1)), int(match.group(3))
    equal(reads + writes, 2000)
    if not 1350 < reads < 1650:
        raise AssertionError(f"{reads} of 2000 are not 3 in 4")
    report(match.group(2), reads)
    report(match.group(4), writes)
    equal(revision(server) - before, writes)


@on_each
def errors_are_told_and_counted(server):
    out, _ = benchmark(server, "put", "--total", "10", "--val-size", "2000000")
    equal("Summary" in out, False)
    equal(re.findall(r"\[(\d+)\]\t(.*)", out), [("10", "etcdserver: request is too large")])


@test
def precise_and_sample_change_the_report():
    server = Server().start()
    out, _ = benchmark(server, "--precise", "--sample", "put", "--total", "1000")
    report(out, 1000, r"\d[\d.]*(?:e-\d+)?")
    rows = re.search(r"Sample in one second \(unix latency throughput\):\n"
                     r"UNIX-SECOND,MIN-LATENCY-MS,AVG-LATENCY-MS,MAX-LATENCY-MS,AVG-THROUGHPUT\n(.*)", out, re.S)
    rows = [row.split(",") for row in rows.group(1).split()]
    equal(sum(int(row[4]) for row in rows), 1000)
    if abs(int(rows[0][0]) - time.time()) > 60:
        raise AssertionError(f"not now: {rows[0]}")
    server.stop()


@test
def rate_is_kept():
    server = Server().start()
    out, _ = benchmark(server, "put", "--total", "300", "--rate", "300", "--clients", "20", "--conns", "2")
    rate = report(out, 300)["Requests/sec"]
    if not 100 < rate < 310:  # a busy machine may be slower; nothing may be faster
        raise AssertionError(f"{rate} puts a second are not 300")
    server.stop()


@test
def compaction_and_hash_run_besides_the_load():
    server = Server().start()
    out, err = benchmark(server, "put", "--total", "600", "--rate", "400", "--compact-interval", "100ms",
                         "--compact-index-delta", "50", "--check-hashkv")
    equal("compaction:" in err, False, err)
    match = re.search(r"HashKV Summary:\n\tHashKV: (\d+)\n\tEndpoint: (\S+)\n\tTime taken to get hashkv: \S+s\n"
                      r"\tDB size: \d[\d.]* [kM]?B\n", out)
    equal(match.group(2), server.url.replace("http://", ""))
    hashed = json.loads(ctl(server, "endpoint", "hashkv", "-w", "json")[1])[0]["HashKV"]
    equal(int(match.group(1)), hashed["hash"])
    status, _, error = ctl(server, "get", "x", "--rev", "5", check=False)
    equal(status, 1)
    contains(error, "required revision has been compacted")
    server.stop()


@test
def two_endpoints_share_the_load_and_a_dead_one_is_refused():
    one, two = Server().start(), Server().start()
    before = revision(one), revision(two)
    both = f"{one.url.replace('http://', '')},{two.url.replace('http://', '')}"
    out, _ = benchmark(one, "--endpoints", both, "put", "--total", "100", "--clients", "2")
    # The first --endpoints counts too: the first server stands twice in the list.
    report(out, 100)
    written = revision(one) - before[0], revision(two) - before[1]
    equal(sum(written), 100)
    if not 20 < written[1] < 50:
        raise AssertionError(f"uneven: {written}")
    two.stop()
    _, err = benchmark(one, "--endpoints", both, "put", "--total", "100", "--dial-timeout", "2s", status=1)
    contains(err, "Error: dial error: ")
    one.stop()


@test
def a_server_that_dies_ends_the_load_with_an_error():
    server = Server().start()
    load = subprocess.Popen([BENCHMARK, "--endpoints", server.url.replace("http://", ""), "--clients", "5", "put",
                             "--total", "100000000"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    time.sleep(0.5)
    server.kill()
    out, err = load.communicate(timeout=20)
    equal(load.returncode, 1)
    contains(out, "Error distribution:")
    contains(err, "the connections were lost before all requests were sent")


run()
