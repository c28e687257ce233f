#!/usr/bin/env python3
"""Exchanges database files with Go's bbolt, in both directions.

usage: bolt_oracle.py BOLT_DUMP SOURCE_ROOT

Ours -> Go: files of every kind that the random tests make must pass Tx.Check and read back as the
model says; then Go changes them, and we must read what Go reads.
Go -> ours: files that Go wrote must pass bolt_check and dump equal; then we change them, and Go
must agree again.

Prints TAP. Skips, saying why, where Go or its bbolt package is missing.
"""
import os
import shutil
import subprocess
import sys
import tempfile

KINDS = ["even", "growing", "shrinking", "nested"]
SEEDS = 3
GOPATH = "/usr/share/gocode"
PACKAGE = "go.etcd.io/bbolt"


def build_oracle(root, scratch):
    go = shutil.which("go")
    if go is None:
        return None, "go is not installed"
    if not os.path.isdir(os.path.join(GOPATH, "src", PACKAGE)):
        return None, "the package golang-github-coreos-bbolt-dev is not installed"
    env = dict(os.environ, GO111MODULE="off", GOPATH=GOPATH, GOFLAGS="",
               GOCACHE=os.path.join(scratch, "cache"), HOME=scratch)
    target = os.path.join(scratch, "bboltcheck")
    source = os.path.join(root, "test/go/bboltcheck/main.go")
    subprocess.run([go, "build", "-o", target, source], env=env, check=True)
    return target, None


class Exchange:
    def __init__(self, ours, go, scratch):
        self.ours, self.go, self.scratch = ours, go, scratch
        self.count = self.failed = 0

    def run(self, *argv):
        done = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        if done.returncode != 0:
            raise RuntimeError("%s: %s" % (" ".join(argv), done.stderr.decode().strip()))
        return done.stdout

    def agree(self, path, expected=None):
        """Both check the file, and both read the same from it."""
        self.run(self.go, "check", path)
        self.run(self.ours, "check", path)
        theirs = self.run(self.go, "dump", path)
        mine = self.run(self.ours, "dump", path)
        if mine != theirs:
            raise RuntimeError("%s: the dumps differ" % path)
        if expected is not None and expected != theirs:
            raise RuntimeError("%s: Go reads something else than was written" % path)

    def ours_first(self, path, kind, seed):
        self.agree(path, self.run(self.ours, "make", path, str(seed), kind))
        self.run(self.go, "change", path, str(seed + 1))
        self.agree(path)
        self.agree(path, self.run(self.ours, "change", path, str(seed + 2), kind))

    def go_first(self, path, kind, seed):
        self.run(self.go, "make", path, str(seed))
        self.agree(path)
        self.agree(path, self.run(self.ours, "change", path, str(seed + 1), kind))
        self.run(self.go, "change", path, str(seed + 2))
        self.agree(path)

    def case(self, what, kind, seed):
        self.count += 1
        path = os.path.join(self.scratch, "db%d" % self.count)
        name = "%s, kind %s, seed %d" % (what.__name__, kind, seed)
        try:
            what(path, kind, seed)
            print("ok %d - %s" % (self.count, name))
            os.unlink(path)
        except RuntimeError as error:
            self.failed += 1
            print("not ok %d - %s" % (self.count, name))
            print("# %s" % error)
        sys.stdout.flush()


def main():
    ours, root = sys.argv[1], sys.argv[2]
    with tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR", "/var/tmp")) as scratch:
        go, missing = build_oracle(root, scratch)
        if go is None:
            print("1..0 # SKIP %s" % missing)
            return 0
        exchange = Exchange(ours, go, scratch)
        print("1..%d" % (2 * SEEDS * len(KINDS)))
        for number, kind in enumerate(KINDS):
            for seed in range(SEEDS):
                exchange.case(exchange.ours_first, kind, 100 * number + seed)
                exchange.case(exchange.go_first, kind, 100 * number + seed)
        return 1 if exchange.failed else 0


sys.exit(main())
