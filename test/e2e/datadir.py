"""Data directories as a test looks at them: everything a member says about its state, in a form
that two servers on the same directory must agree on, and the checks of the database file."""
import os
import shutil
import subprocess
import time

from harness import BUILD, ROOT, START_SECONDS, Server, equal, scratch, which
from pbtiny import Client, message, parse, range_request

GOPATH = "/usr/share/gocode"
_bbolt = []


def long_form():
    """`make test-long` asks for more of everything."""
    return os.environ.get("ETCDC_LONG", "") not in ("", "0")


def note(text):
    print(f"# {text}", flush=True)


# ---- database files ------------------------------------------------------------------------------

def bolt_dump():
    for path in (os.environ.get("BOLT_DUMP", ""), os.path.join(BUILD, "src/storage/bolt_dump"),
                 os.path.join(ROOT, "build/asan/src/storage/bolt_dump")):
        if path and os.access(path, os.X_OK):
            return path
    raise AssertionError("bolt_dump is not built")


def bboltcheck():
    """The program over Go's bbolt, or None where there is no Go or no bbolt."""
    if not _bbolt:
        _bbolt.append(None)
        if shutil.which("go") and os.path.isdir(f"{GOPATH}/src/go.etcd.io/bbolt"):
            out = os.path.join(scratch("go"), "bboltcheck")
            env = dict(os.environ, GO111MODULE="off", GOPATH=GOPATH, GOFLAGS="")
            env.setdefault("GOCACHE", "/var/tmp/etcdc-go-cache")
            done = subprocess.run(["go", "build", "-o", out, "main.go"], env=env, text=True, capture_output=True,
                                  cwd=os.path.join(ROOT, "test/go/bboltcheck"), check=False)
            if done.returncode != 0:
                note(f"bboltcheck does not build: {done.stderr.strip()[-200:]}")
            else:
                _bbolt[0] = out
    return _bbolt[0]


def db_path(server):
    return os.path.join(server.data_dir, "member/snap/db")


def check_db(path, go=True):
    """The database of a stopped member is sound, to us and to Go's bbolt. Returns how many looked."""
    tools = [bolt_dump()] + ([bboltcheck()] if go and bboltcheck() else [])
    for tool in tools:
        done = subprocess.run([tool, "check", path], text=True, capture_output=True, check=False)
        if done.returncode != 0:
            raise AssertionError(f"{os.path.basename(tool)} check {path}: {done.stdout}{done.stderr}")
    return len(tools)


def rows(path, bucket):
    """{key: value} of a top-level bucket, as bytes."""
    done = subprocess.run([bolt_dump(), "dump", path], text=True, capture_output=True, check=True)
    out, inside = {}, False
    for line in done.stdout.splitlines():
        words = line.split(" ")
        if words[0] == "bucket":
            inside = words[1] == bucket.encode().hex()
        elif words[0] == "end":
            inside = False
        elif words[0] == "row" and inside:
            out[bytes.fromhex(words[1])] = bytes.fromhex(words[2]) if len(words) > 2 else b""
    return out


def consistent_index(path):
    return int.from_bytes(rows(path, "meta").get(b"consistent_index", b""), "big")


def files(server, folder, ending):
    path = os.path.join(server.data_dir, "member", folder)
    return sorted(n for n in os.listdir(path) if n.endswith(ending))


# ---- what a member says --------------------------------------------------------------------------

def serving(server):
    """Waits until a server that was started answers reads; with an alarm it is not healthy, yet serves."""
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end:
        if server.process.poll() is not None:
            raise AssertionError(f"server ended with {server.process.returncode}:\n{server.logged()[-4000:]}")
        client = Client(server)
        code, _, _ = client.call("/etcdserverpb.KV/Range", range_request(key=b"x", count_only=True), timeout=2)
        client.close()
        if code == "OK":
            return server
        time.sleep(0.02)
    raise AssertionError(f"server does not serve after {START_SECONDS} s:\n{server.logged()[-4000:]}")


def first(reply, number, default=0):
    for n, value in parse(reply):
        if n == number:
            return value
    return default


def must(answer, what=""):
    code, details, reply = answer
    if code != "OK":
        raise AssertionError(f"{what}: {code} {details}")
    return reply


def revision(client):
    return first(first(must(client.kv("Range", range_request(key=b"x", count_only=True))), 1, b""), 3)


def hash_kv(client, rev=0):
    """(hash, compact revision)"""
    reply = must(client.maintenance("HashKV", message(f1=rev)), f"HashKV at {rev}")
    compact = first(reply, 3)
    return first(reply, 2), compact - (1 << 64) if compact >> 63 else compact


def everything(client, rev=0):
    """The rows of all keys at a revision, and how many."""
    reply = must(client.kv("Range", range_request(key=b"\0", end=b"\0", rev=rev)), f"range at {rev}")
    return [value for n, value in parse(reply) if n == 2], first(reply, 4)


def observe(server, every=1):
    """All that must be the same for two servers on one directory: identity, members, alarms,
    revisions, and at each `every`th revision that can be read all rows and HashKV."""
    client = Client(server)
    try:
        now = revision(client)
        _, compact = hash_kv(client)
        header = first(must(client.maintenance("Status")), 1, b"")
        members = must(client.call("/etcdserverpb.Cluster/MemberList"))
        alarms = must(client.maintenance("Alarm"))
        seen = {"cluster": first(header, 1), "member": first(header, 2), "revision": now, "compact": compact,
                "members": [m for n, m in parse(members) if n == 2],
                "alarms": [a for n, a in parse(alarms) if n == 2], "at": {}}
        points = list(range(max(compact, 1), now, every)) + [now]
        for rev in points:
            hashed = hash_kv(client, rev) if rev > compact else None
            seen["at"][rev] = (everything(client, rev), hashed)
        return seen
    finally:
        client.close()


def same(got, want, what):
    """Compares two observations; a difference is told by its first place."""
    for name in ("cluster", "member", "revision", "compact", "members", "alarms"):
        equal(got[name], want[name], f"{what}: {name}")
    for rev in sorted(want["at"]):
        if rev in got["at"] or rev > want["compact"]:
            equal(got["at"].get(rev), want["at"][rev], f"{what}: rows or HashKV at revision {rev}")


# ---- one directory, two servers ------------------------------------------------------------------

class Directory:
    """A data directory that one server after the other runs on, under the same URLs."""

    def __init__(self, ours=(), go=()):
        self.flags = {"ours": list(ours), "go": list(go)}
        self.server = Server()
        self.binary = {"ours": self.server.binary, "go": which("etcd")}

    def start(self, who):
        self.server.binary = self.binary[who]
        self.server.flags = self.flags[who]
        self.server.start(wait=False)
        return serving(self.server)

    def db(self):
        return db_path(self.server)


def need(*programs):
    for program in programs:
        which(program)


def copy_directory(source, name):
    target = os.path.join(scratch(name), "data")
    shutil.copytree(source, target)
    return target


__all__ = [name for name in dir() if not name.startswith("_") and name not in ("os", "shutil", "subprocess", "time")]
