"""Go's clientv3 and its concurrency package, from Debian's sources, against our binary.

Builds test/go/clientv3 in GOPATH mode with what golang-etcd-server-dev brings, and passes its TAP
on. Skipped, with the reason, where Go or those sources are not installed.
"""
import os
import shutil
import subprocess
import sys

from harness import ROOT, Server, scratch

GOPATH = "/usr/share/gocode"


def skip(why):
    print(f"1..0 # SKIP {why}")
    sys.exit(0)


def main():
    if not shutil.which("go"):
        skip("Go is not installed")
    if not os.path.isdir(os.path.join(GOPATH, "src/go.etcd.io/etcd/clientv3/concurrency")):
        skip("golang-etcd-server-dev is not installed")
    program = os.path.join(scratch("go"), "clientv3")
    env = dict(os.environ, GO111MODULE="off", GOPATH=GOPATH, GOFLAGS="", CGO_ENABLED="0",
               GOCACHE=os.environ.get("GOCACHE", "/var/tmp/etcdc-go-cache"))
    built = subprocess.run(["go", "build", "-o", program, os.path.join(ROOT, "test/go/clientv3/main.go")],
                           env=env, text=True, capture_output=True, check=False)
    if built.returncode != 0:
        print(f"1..1\n# {built.stderr}\nnot ok 1 - build".replace("\n# \n", "\n"))
        sys.exit(1)
    server = Server().start()
    done = subprocess.run([program, f"127.0.0.1:{server.port}"], check=False)
    server.stop()
    sys.exit(done.returncode)


main()
