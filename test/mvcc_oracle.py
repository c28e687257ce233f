#!/usr/bin/env python3
"""Compares HashKV with a real etcd's on the same data.

usage: mvcc_oracle.py MVCC_HASH

Starts etcd on ports of its own, changes it with etcdctl in stages, and after each stage asks it for
its hash at several revisions, takes a snapshot, and has our store open that file and say the same.
Prints TAP. Skips, saying why, where etcd or etcdctl is missing.
"""
import json
import os
import random
import shutil
import socket
import subprocess
import sys
import tempfile
import time


def free_port():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


class Etcd:
    def __init__(self, scratch):
        client, peer = free_port(), free_port()
        self.endpoint = "127.0.0.1:%d" % client
        urls = {"client": "http://" + self.endpoint, "peer": "http://127.0.0.1:%d" % peer}
        argv = ["etcd", "--name", "oracle", "--data-dir", os.path.join(scratch, "data"),
                "--listen-client-urls", urls["client"], "--advertise-client-urls", urls["client"],
                "--listen-peer-urls", urls["peer"], "--initial-advertise-peer-urls", urls["peer"],
                "--initial-cluster", "oracle=" + urls["peer"]]
        self.log = open(os.path.join(scratch, "log"), "wb")
        self.process = subprocess.Popen(argv, stdout=self.log, stderr=self.log)
        for _ in range(100):
            if self.ctl("endpoint", "health", check=False).returncode == 0:
                return
            time.sleep(0.1)
        raise RuntimeError("etcd did not start")

    def ctl(self, *argv, stdin=None, check=True):
        env = dict(os.environ, ETCDCTL_API="3")
        return subprocess.run(["etcdctl", "--endpoints", self.endpoint, *argv], input=stdin, env=env,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, check=check)

    def hashkv(self, revision):
        """(hash, compact revision), or None when etcd refuses."""
        done = self.ctl("endpoint", "hashkv", "--rev", str(revision), "-w", "json", check=False)
        if done.returncode != 0 or not done.stdout.strip():
            return None
        answer = json.loads(done.stdout)[0]["HashKV"]
        return answer["hash"], answer["compact_revision"]

    def revision(self):
        answer = json.loads(self.ctl("endpoint", "status", "-w", "json").stdout)[0]
        return answer["Status"]["header"]["revision"]

    def stop(self):
        self.process.terminate()
        self.process.wait(timeout=30)
        self.log.close()


def change(etcd, rng, count):
    """Puts, overwrites, deletes of keys and ranges, leases and whole transactions."""
    lease = etcd.ctl("lease", "grant", "3600").stdout.split()[1]
    for _ in range(count):
        key = "key%02d" % rng.randrange(30)
        kind = rng.randrange(8)
        if kind < 4:
            etcd.ctl("put", key, "v" * rng.choice([0, 1, 10, 200, 5000]))
        elif kind == 4:
            etcd.ctl("put", "--lease", lease, key, "leased")
        elif kind == 5:
            etcd.ctl("del", key)
        elif kind == 6:
            etcd.ctl("del", key, "key%02d" % rng.randrange(30))
        else:
            ops = "".join("put t%d x%d\n" % (i, rng.randrange(100)) for i in range(5))
            etcd.ctl("txn", stdin="\n" + ops + "del key01\n\n\n")


class Comparison:
    def __init__(self, etcd, ours, scratch):
        self.etcd, self.ours, self.scratch = etcd, ours, scratch
        self.count = self.failed = 0

    def ok(self, condition, name, detail=""):
        self.count += 1
        self.failed += not condition
        print("%sok %d - mvcc_oracle: %s%s" % ("" if condition else "not ", self.count, name,
                                               "" if condition else " # " + detail), flush=True)

    def compare(self, name, revisions):
        file = os.path.join(self.scratch, name.replace(" ", "_"))
        self.etcd.ctl("snapshot", "save", file)
        want = {revision: self.etcd.hashkv(revision) for revision in revisions}
        done = subprocess.run([self.ours, file, *map(str, revisions)], stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, text=True)
        got = {}
        for line in done.stdout.splitlines():
            word = line.split()
            if word[0] == "hashkv":
                got[int(word[1])] = (int(word[2]), int(word[3])) if len(word) == 4 else None
        self.ok(done.returncode == 0, name + ": our store opens the snapshot", done.stderr.strip())
        self.ok(want == got and any(want.values()), "%s: hashes at %d revisions" % (name, len(want)),
                "etcd %s, ours %s" % (want, got))


def run(etcd, ours, scratch):
    rng = random.Random(5)
    check = Comparison(etcd, ours, scratch)
    change(etcd, rng, 60)
    now = etcd.revision()
    check.compare("before any compaction", [0, 1, 2, now // 2, now - 1, now, now + 1])
    etcd.ctl("put", "gone", "x")
    etcd.ctl("del", "gone")
    tombstone = etcd.revision()
    change(etcd, rng, 40)
    now = etcd.revision()
    etcd.ctl("compaction", "--physical", str(tombstone))
    check.compare("compacted at a tombstone",
                  [0, 2, tombstone - 1, tombstone, tombstone + 1, (tombstone + now) // 2, now])
    change(etcd, rng, 20)
    now = etcd.revision()
    etcd.ctl("compaction", "--physical", str(now - 7))
    check.compare("compacted again", [0] + list(range(now - 8, now + 1)))
    etcd.ctl("put", "last", "x")
    etcd.ctl("del", "", "--prefix")
    now = etcd.revision()
    etcd.ctl("compaction", "--physical", str(now - 1))
    check.compare("nothing lives, compacted before the last delete", [0, now - 1, now])
    etcd.ctl("compaction", "--physical", str(now))
    check.compare("nothing is left", [0])
    change(etcd, rng, 20)
    now = etcd.revision()
    check.compare("filled again", [0] + list(range(now - 10, now + 1)))
    print("1..%d" % check.count)
    return 1 if check.failed else 0


def main():
    for program in ("etcd", "etcdctl"):
        if shutil.which(program) is None:
            print("1..0 # SKIP %s is not installed" % program)
            return 0
    scratch = tempfile.mkdtemp(prefix="etcdc-mvcc-oracle-", dir="/var/tmp")
    etcd = None
    try:
        etcd = Etcd(scratch)
        return run(etcd, sys.argv[1], scratch)
    finally:
        if etcd is not None:
            etcd.stop()
        shutil.rmtree(scratch)


sys.exit(main())
