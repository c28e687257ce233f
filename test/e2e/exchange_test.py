"""One data directory, served in turn by Go etcd and by ours: whoever comes next finds everything,
byte for byte, and goes on. Also snapshot files, both ways. ETCDC_LONG=1 makes many more rounds."""
import hashlib
import json
import os
import random
import re
import shutil
import signal
import subprocess
import time

from datadir import (Directory, check_db, consistent_index, files, long_form, must, need, note, observe, revision,
                     rows, same)
from harness import Server, alarm_comes, contains, ctl, equal, run, scratch, test, which
from pbtiny import Client, compare, delete_request, message, op, put_request, txn_request

ROUNDS = 24 if long_form() else 2
LEASE = 0x1234ABCD
exchanges = [0]


def work(server, seed, count=60):
    """Random changes of every kind; all of them acknowledged."""
    rng = random.Random(seed)
    client = Client(server)

    def key():
        return b"k/%d" % rng.randrange(25)

    def value():
        return rng.randbytes(rng.choice([0, 3, 40, 400, 5000]))

    for _ in range(count):
        kind = rng.randrange(10)
        if kind < 5:
            must(client.kv("Put", put_request(key(), value())))
        elif kind < 7:
            end = b"" if rng.randrange(3) else b"k/3"
            must(client.kv("DeleteRange", delete_request(key(), end)))
        elif kind < 9:
            ops = [op(put=put_request(b"t/%d" % i, value())) for i in range(rng.randrange(1, 6))]
            ops.append(op(delete=delete_request(key())))
            guard = compare(1, 0, key(), 0)  # version > 0: it is there
            must(client.kv("Txn", txn_request([guard], ops, [op(put=put_request(b"else", value()))])))
        elif rng.randrange(3) == 0:
            must(client.kv("Compact", message(f1=max(1, revision(client) - rng.randrange(1, 30)))), "compact") \
                if revision(client) > 40 and compactable(client) else None
    client.close()


def compactable(client):
    """Is there a revision that is not compacted and well below the current one?"""
    code, _, _ = client.maintenance("HashKV", message(f1=max(1, revision(client) - 30)))
    return code == "OK"


def settle(server):
    """Waits until a compaction that is under way has removed its last row."""
    client = Client(server)
    now = revision(client)
    code, details, _ = client.kv("Compact", message(f1=now, f2=True))
    if code != "OK":
        contains(details, "compacted")
    client.close()


def turn(directory, who, seen, stop, seed, writes=60):
    """Starts `who`, compares with what was seen last, writes, and stops. Returns what is seen then."""
    server = directory.start(who)
    if seen is not None:
        same(observe(server), seen, f"{who} after {'kill' if stop == signal.SIGKILL else 'stop'}, seed {seed}")
        exchanges[0] += 1
    work(server, seed, writes)
    ctl(server, "put", f"by-{who}-{seed}", f"written by {who}")
    seen = observe(server)
    server.stop(stop)
    return seen


def rounds(stops, ours=(), go=(), seed=0, writes=60):
    """ours and Go in turn, ROUNDS times, stopped by the signals in turn."""
    need("etcd", "etcdctl")
    directory = Directory(ours, go)
    seen = None
    for step in range(2 * ROUNDS + 1):
        who = ("go", "ours")[step % 2]
        seen = turn(directory, who, seen, stops[step % len(stops)], seed + step, writes)
        if stops[step % len(stops)] == signal.SIGTERM or who == "ours":
            check_db(directory.db())
    server = directory.start("ours")
    same(observe(server), seen, "the last turn")
    for step in range(2 * ROUNDS + 1):
        who = ("go", "ours")[step % 2]
        equal(ctl(server, "get", f"by-{who}-{seed + step}", "--print-value-only")[1], f"written by {who}\n")
    server.stop()
    check_db(directory.db())
    return directory


# ---- turns ---------------------------------------------------------------------------------------

@test
def clean_stops():
    rounds([signal.SIGTERM], seed=100)


@test
def kills_both_ways():
    rounds([signal.SIGKILL], seed=200)


@test
def kills_with_entries_that_are_only_in_the_log():
    """The database is committed at long intervals only: what comes last is nowhere but in the WAL."""
    flags = ["--backend-batch-interval", "10m", "--backend-batch-limit", "1000000"]
    directory = rounds([signal.SIGKILL], ours=flags, go=flags, seed=300)
    for who, other in (("go", "ours"), ("ours", "go")):
        server = directory.start(who)
        for i in range(40):
            ctl(server, "put", f"tail-{who}-{i}", f"only in the log {who} {i}")
        seen = observe(server)
        server.kill()
        with open(directory.db(), "rb") as db:
            if f"only in the log {who} 39".encode() in db.read():
                raise AssertionError("the database has the last write: this tests nothing")
        server = directory.start(other)
        same(observe(server), seen, f"{other} after a killed {who}")
        exchanges[0] += 1
        equal(ctl(server, "get", f"tail-{who}-39", "--print-value-only")[1], f"only in the log {who} 39\n")
        server.stop()


@test
def snapshots_and_kills_at_small_counts():
    ours = ["--snapshot-count", "7", "--snapshot-catchup-entries", "3"]
    directory = rounds([signal.SIGTERM, signal.SIGKILL, signal.SIGKILL], ours=ours, go=["--snapshot-count", "11"], seed=400)
    snaps = files(directory.server, "snap", ".snap")
    note(f"{len(snaps)} .snap files at the end")
    if len(snaps) < 3:
        raise AssertionError(f"snapshots were to be made: {snaps}")


@test
def segments_are_cut_by_either_side():
    """Over 64 MB in each turn, so that the log of one continues in segments of the other."""
    need("etcd", "etcdctl")
    flags = ["--snapshot-count", "50", "--max-request-bytes", "3000000"]
    directory = Directory(ours=flags + ["--snapshot-catchup-entries", "10"], go=flags)
    seen = None
    for step, who in enumerate(("go", "ours", "go", "ours") if long_form() else ("ours", "go")):
        server = directory.start(who)
        if seen is not None:
            same(observe(server, every=20), seen, f"{who} at step {step}")
            exchanges[0] += 1
        client = Client(server)
        for i in range(36):
            must(client.kv("Put", put_request(b"big/%d" % (i % 3), bytes([i]) * 2000000)))
        must(client.kv("Compact", message(f1=revision(client) - 2, f2=True)))
        client.close()
        before = len(files(server, "wal", ".wal"))
        if before < 2 + step:
            raise AssertionError(f"{who} did not cut its log: {files(server, 'wal', '.wal')}")
        seen = observe(server, every=20)
        server.stop(signal.SIGKILL if step % 2 == 0 else signal.SIGTERM)
    server = directory.start("ours")
    same(observe(server, every=20), seen, "after the last")
    note(f"segments: {files(server, 'wal', '.wal')}")
    server.stop()


# ---- what ours does not serve yet ----------------------------------------------------------------

def stock(server, *args, **more):
    return ctl(server, *args, binary=which("etcdctl"), **more)[1]


def make_leases_and_users(server):
    client = Client(server)
    must(client.call("/etcdserverpb.Lease/LeaseGrant", message(f1=100000, f2=LEASE)), "grant")
    must(client.kv("Put", put_request(b"leased", b"v", lease=LEASE)))
    client.close()
    stock(server, "role", "add", "reader")
    stock(server, "role", "grant-permission", "reader", "--prefix=true", "read", "k")
    stock(server, "user", "add", "alice:secret")
    stock(server, "user", "grant-role", "alice", "reader")


def leases_and_users(server):
    """What Go etcd says of them; the lease's rest of life runs, so only its size is kept."""
    life = json.loads(stock(server, "lease", "timetolive", f"{LEASE:x}", "--keys", "-w", "json"))
    return {"granted": life["granted-ttl"], "keys": life["keys"], "roles": stock(server, "role", "get", "reader"),
            "user": stock(server, "user", "get", "alice"), "users": stock(server, "user", "list"),
            "leases": stock(server, "lease", "list")}


BUCKETS = ("lease", "auth", "authUsers", "authRoles")


@test
def leases_users_and_roles_are_carried():
    need("etcd", "etcdctl")
    directory = Directory(ours=["--snapshot-count", "10", "--snapshot-catchup-entries", "2"], go=["--snapshot-count", "5"])
    server = directory.start("go")
    make_leases_and_users(server)
    work(server, 500, 30)  # the snapshot they are below is made
    before = leases_and_users(server)
    seen = observe(server)
    server.stop()
    there = {bucket: rows(directory.db(), bucket) for bucket in BUCKETS}
    equal([len(there[b]) for b in ("lease", "authUsers", "authRoles")], [1, 1, 1], "rows of the Go side")
    for step in range(2):
        server = directory.start("ours")
        same(observe(server), seen, "ours, with leases and users")
        exchanges[0] += 1
        client = Client(server)
        must(client.kv("Put", put_request(b"leased-%d" % step, b"here", lease=LEASE)), "a lease that has a row")
        code, details, _ = client.kv("Put", put_request(b"x", b"y", lease=LEASE + 1))
        equal((code, details), ("NOT_FOUND", "etcdserver: requested lease not found"))
        client.close()
        work(server, 510 + step, 30)
        seen = observe(server)
        server.stop(signal.SIGKILL if step else signal.SIGTERM)
        equal({bucket: rows(directory.db(), bucket) for bucket in BUCKETS}, there, "their rows after our turn")
        server = directory.start("go")
        same(observe(server), seen, "Go, with leases and users")
        exchanges[0] += 1
        now = leases_and_users(server)
        before["keys"] = now["keys"]
        equal(now, before, "what Go says of them after our turn")
        server.stop()
    # The keys that were put here hang on the lease there.
    server = directory.start("go")
    stock(server, "lease", "revoke", f"{LEASE:x}")
    for name in ("leased", "leased-0", "leased-1"):
        equal(stock(server, "get", name), "", f"{name} after its lease was revoked")
    server.stop()


def only_in_the_log(fill, *flags):
    """A directory whose last entries Go etcd has acknowledged and not committed to its database."""
    need("etcd", "etcdctl")
    directory = Directory(ours=list(flags),
                          go=["--backend-batch-interval", "10m", "--backend-batch-limit", "1000000", *flags])
    server = directory.start("go")
    ctl(server, "put", "first", "1")
    server.stop()  # the membership is in the database
    server = directory.start("go")
    fill(server)
    seen = observe(server)
    server.kill()
    return directory, seen


def twin(directory):
    """The same directory, for another server at the same URLs."""
    other = Directory(directory.flags["ours"], directory.flags["go"])
    for name in ("port", "peer_port", "url", "peer_url", "name"):
        setattr(other.server, name, getattr(directory.server, name))
    shutil.copytree(directory.server.data_dir, other.server.data_dir)
    return other


@test
def lease_entries_that_are_only_in_the_log_are_applied():
    def fill(server):
        client = Client(server)

        def lease(ident, ttl):
            must(client.call("/etcdserverpb.Lease/LeaseGrant", message(f1=ttl, f2=ident)), "grant")

        def revoke(ident):
            must(client.call("/etcdserverpb.Lease/LeaseRevoke", message(f1=ident)), "revoke")

        for ident in range(1, 6):
            lease(ident, 100000 + ident)
        equal(client.call("/etcdserverpb.Lease/LeaseGrant", message(f1=7, f2=5))[0], "FAILED_PRECONDITION")
        for i in range(20):
            must(client.kv("Put", put_request(b"l/%02d" % (19 - i), b"%d" % i, lease=i % 5 + 1)))
        must(client.kv("Put", put_request(b"l/03", b"loose")))
        must(client.kv("DeleteRange", delete_request(b"l/04")))
        must(client.kv("Put", put_request(b"l/05", b"moved", lease=2)))
        must(client.kv("Txn", txn_request([], [op(put=put_request(b"l/06", b"in txn", lease=4))], [])))
        revoke(2)
        revoke(3)
        lease(3, 200000)
        must(client.kv("Put", put_request(b"again", b"x", lease=3)))
        revoke(5)
        lease(1 << 62, 300000)
        client.close()

    directory, seen = only_in_the_log(fill)
    equal(rows(directory.db(), "lease"), {}, "rows of leases before the log is applied")
    ours = twin(directory)
    same(observe(directory.start("go")), seen, "Go after its kill")
    directory.server.stop()
    same(observe(ours.start("ours")), seen, "ours after Go's kill")
    exchanges[0] += 1
    ours.server.stop()
    theirs = rows(directory.db(), "lease")
    equal(len(theirs), 4, "leases that are left")
    equal(rows(ours.db(), "lease"), theirs, "rows of leases, as Go writes them")
    check_db(ours.db())
    same(observe(ours.start("go")), seen, "Go after ours")
    listed = stock(ours.server, "lease", "list")
    contains(listed, f"{1 << 62:x}")
    equal(stock(ours.server, "lease", "timetolive", "3", "--keys").strip().endswith("attached keys([again])"), True)
    ours.server.stop()


@test
def the_shortest_lease_is_the_one_of_go():
    def fill(server):
        client = Client(server)
        for ident, ttl in ((1, 1), (2, 4), (3, 5), (4, 60)):
            must(client.call("/etcdserverpb.Lease/LeaseGrant", message(f1=ttl, f2=ident)), "grant")
        client.close()

    directory, _ = only_in_the_log(fill, "--heartbeat-interval", "500", "--election-timeout", "3000")
    ours = twin(directory)
    directory.start("go").stop()
    ours.start("ours").stop()
    theirs = rows(directory.db(), "lease")
    equal((len(theirs), rows(ours.db(), "lease")), (4, theirs))


def refused(directory, *parts):
    server = directory.server
    server.binary, server.flags = directory.binary["ours"], directory.flags["ours"]
    server.start(wait=False)
    status = server.process.wait(30)
    if status <= 0 and status != -signal.SIGABRT:
        raise AssertionError(f"status {status}: {server.logged()[-2000:]}")
    for part in parts:
        contains(server.logged(), part)
    server.stop()
    return status


@test
def users_that_are_only_in_the_log_are_refused_and_left_as_they_are():
    def fill(server):
        ctl(server, "put", "before", "1")
        make_leases_and_users(server)
        ctl(server, "put", "after", "1")

    directory, seen = only_in_the_log(fill)
    for _ in range(2):
        status = refused(directory, "needs users or roles, which this version does not apply yet; start the etcd")
    note(f"status {status}")
    check_db(directory.db())
    server = directory.start("go")
    same(observe(server), seen, "Go after ours refused")
    exchanges[0] += 1
    contains(stock(server, "user", "get", "alice"), "reader")
    contains(stock(server, "lease", "list"), f"{LEASE:x}")
    server.stop()
    same(observe(directory.start("ours")), seen, "ours after Go stopped cleanly")
    directory.server.stop()


@test
def a_directory_with_authentication_enabled_is_refused():
    need("etcd", "etcdctl")
    directory = Directory()
    server = directory.start("go")
    ctl(server, "put", "secret", "1")
    stock(server, "user", "add", "root:root")
    stock(server, "user", "grant-role", "root", "root")
    stock(server, "auth", "enable")
    server.stop()
    status = refused(directory, directory.db(), "has authentication enabled", "etcdctl auth disable")
    equal(status, 1)
    directory.server.binary = directory.binary["go"]
    directory.server.start(wait=False)
    directory.server.wait_healthy()
    stock(directory.server, "--user", "root:root", "auth", "disable")
    directory.server.stop()
    server = directory.start("ours")
    equal(ctl(server, "get", "secret", "--print-value-only")[1], "1\n")
    server.stop()


# ---- alarms --------------------------------------------------------------------------------------

@test
def alarms_and_quota_are_carried():
    need("etcd", "etcdctl")
    directory = Directory(ours=["--quota-backend-bytes", "2000000"], go=["--quota-backend-bytes", "2000000"])
    for who, other in (("go", "ours"), ("ours", "go")):
        server = directory.start(who)
        client = Client(server)
        for _ in range(20):
            code, details, _ = client.kv("Put", put_request(b"fill", b"x" * 300000))
            if code != "OK":
                break
            time.sleep(0.1)  # the size that the quota looks at is as of the last commit
        equal((code, details), ("RESOURCE_EXHAUSTED", "etcdserver: mvcc: database space exceeded"))
        client.close()
        alarm_comes(server)
        seen = observe(server)
        server.stop()
        server = directory.start(other)
        same(observe(server), seen, f"{other} after {who} ran out of space")
        exchanges[0] += 1
        contains(ctl(server, "alarm", "list")[1], "alarm:NOSPACE")
        equal(ctl(server, "put", "more", "x", check=False)[0], 1)
        equal(ctl(server, "del", "fill")[1].strip() in ("0", "1"), True)
        contains(ctl(server, "alarm", "disarm")[1], "alarm:NOSPACE")
        seen = observe(server)
        server.stop()
        server = directory.start(who)
        same(observe(server), seen, f"{who} after {other} disarmed")
        equal(ctl(server, "alarm", "list")[1], "")
        server.stop()
        directory.flags = {name: ["--quota-backend-bytes", "4000000"] for name in ("ours", "go")}


# ---- snapshot files ------------------------------------------------------------------------------

def stopped_member(who, seed):
    directory = Directory()
    server = directory.start(who)
    work(server, seed, 80)
    seen = observe(server)
    server.stop()
    return directory, seen


def snapshot_status(path):
    done = subprocess.run([which("etcdctl"), "snapshot", "status", path, "-w", "json"], capture_output=True, text=True,
                          env=dict(os.environ, ETCDCTL_API="3"), check=True)
    return json.loads(done.stdout)


def restore(path, *flags):
    """Debian's etcdctl makes a directory from a snapshot; returns it with its server's ports."""
    server = Server(name="m1")
    done = subprocess.run([which("etcdctl"), "snapshot", "restore", path, "--name", "m1", "--data-dir", server.data_dir,
                           "--initial-cluster", f"m1={server.peer_url}", "--initial-advertise-peer-urls", server.peer_url,
                           "--initial-cluster-token", "etcd-cluster-1", *flags],
                          capture_output=True, text=True, env=dict(os.environ, ETCDCTL_API="3"), check=False)
    if done.returncode != 0:
        raise AssertionError(f"restore: {done.stdout}{done.stderr}")
    return server


def same_keys(server, seen, what):
    now = observe(server)
    for rev in seen["at"]:
        equal(now["at"].get(rev), seen["at"][rev], f"{what}: revision {rev}")
    equal(now["revision"], seen["revision"], what)
    return now


@test
def stock_snapshot_status_reads_our_database():
    need("etcd", "etcdctl")
    directory, seen = stopped_member("ours", 600)
    copy = os.path.join(scratch("copy"), "db")
    shutil.copy(directory.db(), copy)
    status = snapshot_status(copy)
    equal(status["revision"], seen["revision"], "revision in snapshot status")
    if status["totalSize"] % 4096 != 0 or not 4 * 4096 < status["totalSize"] <= os.path.getsize(copy):
        raise AssertionError(f"size {status}, of a file of {os.path.getsize(copy)}")  # pages in use, not the file
    # Every row of every bucket is counted.
    done = [len(rows(copy, b)) for b in ("key", "meta", "members", "members_removed", "cluster", "lease", "auth",
                                         "authUsers", "authRoles", "alarm")]
    equal(status["totalKey"], sum(done), "total keys")
    if not re.fullmatch(r"[0-9a-f]{1,8}", f"{status['hash']:x}"):
        raise AssertionError(f"hash {status}")


@test
def our_database_restored_by_the_stock_etcdctl_starts_go_etcd_and_ours():
    need("etcd", "etcdctl")
    directory, seen = stopped_member("ours", 610)
    folder = scratch("copy")
    plain, sealed = os.path.join(folder, "plain.db"), os.path.join(folder, "sealed.db")
    shutil.copy(directory.db(), plain)
    with open(plain, "rb") as db, open(sealed, "wb") as out:
        content = db.read()
        out.write(content + hashlib.sha256(content).digest())
    for path, flags in ((plain, ["--skip-hash-check"]), (sealed, [])):
        for binary in (which("etcd"), Server().binary):
            server = restore(path, *flags)
            server.binary = binary
            server.start()
            same_keys(server, seen, f"{os.path.basename(path)} under {os.path.basename(os.path.dirname(binary))}")
            equal(ctl(server, "put", "after", "restore")[1], "OK\n")
            server.stop()
            exchanges[0] += 1


@test
def a_snapshot_of_go_etcd_restored_by_the_stock_etcdctl_starts_ours():
    need("etcd", "etcdctl")
    source = Server(binary=which("etcd")).start()
    work(source, 620, 80)
    settle(source)
    work(source, 621, 40)
    seen = observe(source)
    path = os.path.join(scratch("snapshot"), "s.db")
    ctl(source, "snapshot", "save", path, binary=which("etcdctl"))
    source.stop()
    server = restore(path)
    server.start()
    now = same_keys(server, seen, "ours from a restored snapshot")
    equal(len(now["members"]), 1)
    contains(ctl(server, "member", "list")[1], server.peer_url)
    work(server, 622, 60)
    seen = observe(server)
    server.kill()
    check_db(os.path.join(server.data_dir, "member/snap/db"))
    server.binary = which("etcd")
    server.start()
    same(observe(server), seen, "Go on the restored directory after ours")
    exchanges[0] += 1
    server.stop()


@test
def counts():
    note(f"{exchanges[0]} exchanges between Go etcd and ours")


run()
