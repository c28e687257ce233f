"""The wire of the real server: stock etcdctl by URL, gRPC over HTTP/2 row by row, and every command
of the comparison of Debian's etcdctl with ours, both against our server.

Rows come from test/grpc_wire_test.py and test/etcdctl_compare_test.py; each is a test here."""
import json
import os
import re
import subprocess
import sys

from harness import ETCD, ETCDCTL, ROOT, Server, Skip, contains, ctl, equal, run, test, which

# Where the two clients differ by rights: 3.4 does not know fields of 3.6's answers.
NEWER_FIELDS = {"main: 'endpoint status -w json'": "storageVersion, dbSizeQuota, downgradeInfo",
                "main: 'endpoint hashkv -w json'": "hash_revision",
                "main: 'endpoint hashkv --rev=8 -w json'": "hash_revision",
                "main: 'endpoint hashkv --cluster -w json'": "hash_revision",
                "quota: 'endpoint status -w json'": "storageVersion, dbSizeQuota, downgradeInfo"}

server = Server().start()


def every_member(binary):
    """etcdctl 3.4 sends the advertised URL as :authority, in hashkv even when told host:port."""
    out = json.loads(ctl(server, "endpoint", "hashkv", "--cluster", "-w=json", binary=binary)[1])
    equal([row["Endpoint"] for row in out], [server.url])
    equal(out[0]["HashKV"]["hash"] != 0, True)
    out = json.loads(ctl(server, "endpoint", "status", "--cluster", "-w=json", binary=binary)[1])
    equal([row["Endpoint"] for row in out], [server.url])
    equal(out[0]["Status"]["leader"], out[0]["Status"]["header"]["member_id"])
    _, out, err = ctl(server, "endpoint", "health", "--cluster", binary=binary)
    contains(out + err, f"{server.url} is healthy: successfully committed proposal")


@test
def the_stock_etcdctl_asks_every_member_by_its_url():
    every_member(which("etcdctl"))


@test
def our_etcdctl_asks_every_member_by_its_url():
    every_member(ETCDCTL)


def rows_of(program, *args):
    """(title, failed or not, lines of comment) of each row; the program's own trouble is one too."""
    done = subprocess.run([sys.executable, os.path.join(ROOT, "test", program)] + list(args), text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=200, check=False)
    rows = []
    plan = None
    for line in done.stdout.splitlines():
        match = re.match(r"(not )?ok \d+ - (.*)", line)
        if match:
            rows.append((match.group(2), bool(match.group(1)), []))
        elif line.startswith("1.."):
            plan = int(line.split()[0][3:])
        elif rows:
            rows[-1][2].append(line)
    if plan is None or plan != len(rows):
        rows.append((f"{program} ends as planned", True, done.stdout.splitlines()[-5:]))
    return rows


def add(prefix, title, failed, notes):
    def row():
        newer = NEWER_FIELDS.get(title)
        if newer is not None and failed:
            raise Skip(f"3.4 does not know {newer}")
        if failed:
            raise AssertionError("\n".join(notes))
    row.__name__ = f"{prefix} {title}".replace("#", "")
    test(row)


for row_title, row_failed, row_notes in rows_of("grpc_wire_test.py", "--ours", "--target",
                                                f"127.0.0.1:{server.port}"):
    add("grpc:", row_title, row_failed, row_notes)
for row_title, row_failed, row_notes in rows_of("etcdctl_compare_test.py", ETCDCTL, "--server", ETCD,
                                                "--session", "main", "--session", "lease", "--session", "quota"):
    add("etcdctl:", row_title, row_failed, row_notes)


@test
def etcdctl_the_session_with_authentication():
    raise Skip("authentication is not built yet")


run()
