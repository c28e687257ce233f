#!/usr/bin/env python3
"""Write-ahead logs both ways: what Go etcd wrote reads the same here, and what we wrote reads the
same there. Prints TAP. Without a Go etcd, or without its wal package, the part that needs it is
skipped."""
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time

from harness import free_port

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
DUMP = os.environ.get("WAL_DUMP", os.path.join(ROOT, "build/asan/src/storage/wal_dump"))
GOPATH = "/usr/share/gocode"

count = 0


def report(ok, name):
    global count
    count += 1
    print(f"{'ok' if ok else 'not ok'} {count} - wal: {name}", flush=True)


def skip(name, reason):
    global count
    count += 1
    print(f"ok {count} - wal: {name} # SKIP {reason}", flush=True)


def run(*args, **kwargs):
    return subprocess.run(args, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, check=False, **kwargs)


def same(name, ours, theirs):
    ok = ours.returncode == 0 and theirs.returncode == 0 and ours.stdout == theirs.stdout and ours.stdout != ""
    report(ok, name)
    if not ok:
        a, b = ours.stdout.splitlines(), theirs.stdout.splitlines()
        print(f"# exit {ours.returncode} and {theirs.returncode}; {len(a)} and {len(b)} lines; {ours.stderr} {theirs.stderr}")
        for x, y in zip(a, b):
            if x != y:
                print(f"# ours:   {x}\n# theirs: {y}")
                break


def build_oracle(tmp):
    """The Go program, or the reason why there is none."""
    if shutil.which("go") is None or not os.path.isdir(f"{GOPATH}/src/go.etcd.io/etcd/wal"):
        return None, "no Go toolchain or no golang-etcd-server-dev"
    out = os.path.join(tmp, "waldump")
    env = dict(os.environ, GO111MODULE="off", GOPATH=GOPATH, GOFLAGS="")
    env.setdefault("GOCACHE", "/var/tmp/etcdc-go-cache")
    done = run("go", "build", "-o", out, "main.go", cwd=os.path.join(ROOT, "test/go/waldump"), env=env)
    return (out, "") if done.returncode == 0 else (None, "the oracle does not build: " + done.stderr.strip()[-200:])


def start_etcd(data, port, *flags):
    client, peer = f"http://127.0.0.1:{port}", f"http://127.0.0.1:{free_port()}"
    env = {k: v for k, v in os.environ.items() if not k.startswith("ETCD")}
    server = subprocess.Popen(
        ["etcd", "--name", "m", "--data-dir", data, "--listen-client-urls", client, "--advertise-client-urls", client,
         "--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer, "--initial-cluster", f"m={peer}", *flags],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=env)
    for _ in range(100):
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return server
        except OSError:
            time.sleep(0.1)
    server.kill()
    raise RuntimeError("etcd does not start")


def put(port, key, value):
    env = dict({k: v for k, v in os.environ.items() if not k.startswith("ETCD")}, ETCDCTL_API="3")
    return run("etcdctl", "--endpoints", f"127.0.0.1:{port}", "put", key, value, env=env).returncode == 0


def real_etcd(tmp, oracle, stop_by):
    """Some writes to a Go etcd that is then stopped or killed."""
    data = os.path.join(tmp, f"data-{stop_by}")
    port = free_port()
    server = start_etcd(data, port, "--snapshot-count", "10")
    try:
        acknowledged = sum(put(port, f"key{i}", "v" * (i * 100)) for i in range(30))
    finally:
        (server.terminate if stop_by == "SIGTERM" else server.kill)()
        server.wait()
    log = os.path.join(data, "member/wal")
    ours = run(DUMP, "read", log)
    entries = [line for line in ours.stdout.splitlines() if line.startswith("entry ") and int(line.split()[4]) > 0]
    state = [int(n) for n in ours.stdout.splitlines()[1].split()[1:]] if ours.returncode == 0 else [0, 0, 0]
    # One entry for the member, a few of its own, and one for every put.
    report(acknowledged == 30 and len(entries) >= 31 and state[2] >= 31,
           f"every acknowledged put of an etcd ended by {stop_by} is in its log")
    if oracle:
        same(f"the log of an etcd ended by {stop_by} reads as Go reads it", ours, run(oracle, "read", log))


def main():
    if not os.path.exists(DUMP):
        print(f"Bail out! {DUMP} is not built")
        return 1
    with tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR", "/var/tmp"), prefix="etcdc-wal-") as tmp:
        oracle, reason = build_oracle(tmp)
        if oracle is None:
            skip("logs written here and by Go", reason)
        else:
            for segment in ("64000000", "100000"):
                ours, theirs = os.path.join(tmp, f"ours-{segment}"), os.path.join(tmp, f"theirs-{segment}")
                wrote = run(DUMP, "write", ours, segment, "300").returncode == 0
                wrote = run(oracle, "write", theirs, segment, "300").returncode == 0 and wrote
                report(wrote, f"both write a log in segments of {segment} bytes")
                names = [sorted(n for n in os.listdir(d) if n.endswith(".wal")) for d in (ours, theirs)]
                report(names[0] == names[1], f"and cut it into segments of the same names ({len(names[0])})")
                if len(names[0]) > 1:  # the first segment ends before the snapshot record, which 3.4 writes shorter
                    first = [open(os.path.join(d, names[0][0]), "rb").read() for d in (ours, theirs)]
                    report(first[0] == first[1], f"the first segment is the same in all its {len(first[0])} bytes")
                same("ours reads there as here", run(DUMP, "read", ours), run(oracle, "read", ours))
                same("theirs reads here as there", run(DUMP, "read", theirs), run(oracle, "read", theirs))
                same("both hold the same", run(DUMP, "read", ours), run(DUMP, "read", theirs))
                same("and so from the snapshot on", run(DUMP, "read", ours, "150", "2"), run(oracle, "read", theirs, "150", "2"))
        if shutil.which("etcd") is None or shutil.which("etcdctl") is None:
            skip("logs of a real etcd", "no etcd and etcdctl installed")
        else:
            real_etcd(tmp, oracle, "SIGTERM")
            real_etcd(tmp, oracle, "SIGKILL")
    print(f"1..{count}")
    return 0


sys.exit(main())
