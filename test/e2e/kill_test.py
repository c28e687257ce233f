"""kill -9 at random moments under load. Several clients write and keep what was acknowledged; after
every restart all of it is there, what was under way is there whole or not at all, the revision has
not gone back, and the database is sound. 12 kills under load; ETCDC_LONG=1 makes it 200. Where there is a
build with failpoints, every third death is at one of them, each in its turn."""
import os
import random
import shutil
import signal
import subprocess
import threading
import time

from datadir import (Directory, check_db, everything, files, first, hash_kv, long_form, must, note, observe,
                     revision, same, serving)
from failpoints import AT_FOUNDING, ETCD, IN_DEFRAG, POINTS, Failpoints, is_built
from harness import Server, equal, run, test
from pbtiny import Client, compare, delete_request, message, op, put_request, range_request, txn_request

KILLS = 200 if long_form() else 12
SEED = int(os.environ.get("ETCDC_SEED", "0")) or random.SystemRandom().randrange(1, 1 << 32)
WRITERS = 4
SHARED = [b"shared/%d" % i for i in range(6)]  # always written together, with one value
COUNTS = {"kills": 0, "deaths at failpoints": 0, "quiet kills": 0, "kills while starting": 0, "writes": 0, "compactions": 0, "lost at the kill": 0,
          "done but not acknowledged": 0, "checks of the file": 0}


class Writer(threading.Thread):
    """One client with keys of its own: it knows what each must hold."""

    def __init__(self, number):
        self.number = number
        self.state = {}  # key: (value, mod revision or None when it is not known)
        self.acked = []  # (revision, {key: value or None}) of the latest writes
        self.pending = None  # the write under way when the server went: {key: value or None}
        self.shared = []  # values for the shared keys that were sent
        self.newest = 0
        self.compacted = 0
        self.failure = None
        self.serial = 0
        self.bulky = False

    def begin(self, server, rng):
        threading.Thread.__init__(self)
        self.server, self.rng, self.pending = server, rng, None

    def key(self):
        return b"w%d/%d" % (self.number, self.rng.randrange(12))

    def value(self):
        self.serial += 1
        size = self.rng.choice([0, 10, 100, 1000, 20000])
        if self.bulky and self.rng.randrange(3) == 0:
            size = 1000000
        return b"%d-%d-" % (self.number, self.serial) + b"x" * size

    def next(self):
        """(method, request, changes): changes as in pending."""
        kind = self.rng.randrange(20)
        if kind < 9:
            key, value = self.key(), self.value()
            return "Put", put_request(key, value), {key: value}
        if kind < 12:
            key = self.key()
            return "DeleteRange", delete_request(key), {key: None}
        if kind < 13:
            low, high = sorted([self.key(), self.key()])
            gone = {key: None for key in self.state if low <= key < high}
            return "DeleteRange", delete_request(low, high if high > low else low + b"\0"), \
                gone if high > low else {low: None}
        if kind < 19:
            changes = {self.key(): self.value() for _ in range(self.rng.randrange(1, 6))}
            ops = [op(put=put_request(key, value)) for key, value in changes.items()]
            gone = self.key()
            if gone not in changes:
                changes[gone] = None
                ops.append(op(delete=delete_request(gone)))
            if kind < 16:
                mark = b"%d-%d" % (self.number, self.serial)
                self.shared.append(mark)
                ops += [op(put=put_request(key, mark)) for key in SHARED]
            guard = compare(0, 0, b"never", 0)  # version 0: never written
            return "Txn", txn_request([guard], ops, []), changes
        return "Compact", None, {}

    def compact(self, client):
        at = self.newest - self.rng.randrange(5, 200)
        if at <= self.compacted:
            return True
        code, details, _ = client.kv("Compact", message(f1=at, f2=self.rng.randrange(2)))
        if code == "OK":
            self.compacted = at
            COUNTS["compactions"] += 1
        elif code == "OUT_OF_RANGE" and "compacted" in details:
            self.compacted = at
        return code in ("OK", "OUT_OF_RANGE")

    def done(self, changes, rev):
        # What changes nothing has no revision of its own.
        for key, value in changes.items():
            if value is not None:
                self.state[key] = (value, rev)
            else:
                self.state.pop(key, None)
        self.acked.append((rev, changes))
        del self.acked[:-40]

    def run(self):
        client = Client(self.server)
        try:
            while True:
                method, request, changes = self.next()
                if method == "Compact":
                    if not self.compact(client):
                        return
                    continue
                self.pending = changes
                code, details, reply = client.kv(method, request)
                if code != "OK":
                    if code != "UNAVAILABLE":
                        self.failure = f"{method}: {code} {details}"
                    return
                rev = first(first(reply, 1, b""), 3)
                if rev < self.newest:
                    self.failure = f"revision {rev} after {self.newest}"
                self.newest, self.pending = rev, None
                self.done(changes, rev)
                COUNTS["writes"] += 1
        except Exception as error:  # pylint: disable=broad-except
            self.failure = repr(error)
        finally:
            client.close()

    def check(self, held):
        """`held`: what the server has of our keys, {key: (value, mod revision)}."""
        if self.failure:
            raise AssertionError(f"writer {self.number}: {self.failure}")
        if differs(held, self.state) is None:
            COUNTS["lost at the kill"] += self.pending is not None
        else:
            after = dict(self.state)
            for key, value in (self.pending or {}).items():
                after.pop(key, None)
                if value is not None:
                    after[key] = (value, None)
            wrong = differs(held, after)
            if self.pending is None or wrong is not None:
                raise AssertionError(f"writer {self.number}: {differs(held, self.state)}; with the write under way: {wrong}")
            COUNTS["done but not acknowledged"] += 1
            revs = {held[key][1] for key, value in self.pending.items() if value is not None}
            if len(revs) > 1:
                raise AssertionError(f"writer {self.number}: one Txn at revisions {revs}")
        self.state = held


def differs(held, wanted):
    for key in sorted(set(held) | set(wanted)):
        if key not in held:
            return f"{key} is lost, it was written at {wanted[key][1]}"
        if key not in wanted:
            return f"{key} is there at {held[key][1]}, it was deleted"
        if held[key][0] != wanted[key][0] or wanted[key][1] not in (None, held[key][1]):
            return f"{key} is {held[key][0][:30]} at {held[key][1]}, not {wanted[key][0][:30]} at {wanted[key][1]}"
    return None


def check_shared(table, writers):
    """The keys that are only written together: one value, at one revision, and one that was sent."""
    held = {table.get(key) for key in SHARED}
    if len(held) != 1:
        raise AssertionError(f"a transaction half applied: {held}")
    (only,) = held
    if only is not None and not any(only[0] in w.shared for w in writers):
        raise AssertionError(f"nobody has written {only}")


def check_history(client, writers, rng, compact):
    """Acknowledged writes, at their revisions."""
    for writer in writers:
        for rev, changes in rng.sample(writer.acked, min(5, len(writer.acked))):
            if rev < compact or any(value is None for value in changes.values()):
                continue
            for key, value in changes.items():
                reply = must(client.kv("Range", range_request(key=key, rev=rev)), f"{key} at {rev}")
                equal(first(first(reply, 2, b""), 5, b""), value, f"{key} at revision {rev}")


def check_all(server, writers, rng, floor):
    """Everything that was acknowledged is there; returns the revision."""
    client = Client(server)
    kvs, _ = everything(client)
    table = {}
    for kv in kvs:
        table[first(kv, 1, b"")] = (first(kv, 5, b""), first(kv, 3))
    for writer in writers:
        mine = b"w%d/" % writer.number
        writer.check({key: held for key, held in table.items() if key.startswith(mine)})
    check_shared(table, writers)
    now = revision(client)
    if now < max([floor] + [w.newest for w in writers]):
        raise AssertionError(f"the revision went back: {now}, {floor}, {[w.newest for w in writers]}")
    hashed, compact = hash_kv(client)
    check_history(client, writers, rng, compact)
    client.close()
    return now, hashed, compact


def start(server, rng):
    """Starts; sometimes kills it while it does, and starts again."""
    while rng.randrange(4) == 0:
        server.start(wait=False)
        time.sleep(rng.uniform(0, 0.06))
        server.kill()
        COUNTS["kills while starting"] += 1
    server.start(wait=False)
    serving(server)


def flags(rng):
    return ["--snapshot-count", str(rng.choice([10, 50, 500])), "--snapshot-catchup-entries", str(rng.choice([1, 20])),
            "--backend-batch-interval", rng.choice(["1ms", "10ms", "100ms", "10s"]),
            "--backend-batch-limit", rng.choice(["10", "200", "10000"]),
            "--compaction-batch-limit", rng.choice(["3", "50"]), "--compaction-sleep-interval", rng.choice(["1ms", "20ms"]),
            "--max-wals", "2", "--max-snapshots", "2", "--max-request-bytes", "10000000"]


class Death:
    """How a server comes to its end: at a failpoint when it is that one's turn, else by a kill."""

    def __init__(self):
        self.turn = 0
        self.ours = None
        self.points = [point for point in POINTS if point not in AT_FOUNDING + IN_DEFRAG] if is_built() else []
        self.died_at = set()
        self.failpoints = None
        self.point = None

    def prepare(self, server):
        self.ours = self.ours or server.binary
        self.point = None
        server.binary, server.env = self.ours, None
        if self.points and self.turn % 3 == 2:
            self.point = self.points[self.turn // 3 % len(self.points)]
            self.failpoints = Failpoints()
            server.binary, server.env = ETCD, {"GOFAIL_HTTP": f"127.0.0.1:{self.failpoints.port}"}
        self.turn += 1

    def come(self, server):
        """A point that nobody passes within a few seconds is given up."""
        if self.point is not None:
            self.failpoints.arm(self.point, "panic")
            try:
                equal(server.process.wait(5), 2, server.logged()[-1000:])
                self.died_at.add(self.point)
                COUNTS["deaths at failpoints"] += 1
                server.stop()
                return
            except subprocess.TimeoutExpired:
                pass
        server.kill()
        COUNTS["kills"] += 1


def load_and_kill(server, writers, rng, death):
    for writer in writers:
        writer.begin(server, random.Random(rng.random()))
    for writer in writers:
        writer.start()
    time.sleep(rng.choice([rng.uniform(0, 0.1), rng.uniform(0.1, 1.2)]))
    death.come(server)
    for writer in writers:
        writer.join()


@test
def nothing_acknowledged_is_lost_by_kills_under_load():
    note(f"ETCDC_SEED={SEED}")
    rng = random.Random(SEED)
    server = Server()
    writers = [Writer(i) for i in range(WRITERS)]
    newest, most_segments = 0, 0
    death = Death()
    for turn in range(KILLS):
        for writer in writers:
            writer.bulky = turn % 6 == 5
        server.flags = flags(rng)
        death.prepare(server)
        start(server, rng)
        load_and_kill(server, writers, rng, death)
        COUNTS["checks of the file"] += check_db(os.path.join(server.data_dir, "member/snap/db"))
        start(server, rng)
        newest, hashed, compact = check_all(server, writers, rng, newest)
        most_segments = max(most_segments, len(files(server, "wal", ".wal")))
        # Nobody writes: another kill changes nothing.
        server.kill()
        COUNTS["quiet kills"] += 1
        serving(server.start(wait=False))
        client = Client(server)
        again = (revision(client),) + hash_kv(client)
        client.close()
        equal(again, (newest, hashed, compact), "revision, HashKV and compact revision of a quiet store after a kill")
        server.stop(rng.choice([signal.SIGKILL, signal.SIGTERM]))
    check_db(os.path.join(server.data_dir, "member/snap/db"))
    note(", ".join(f"{count} {name}" for name, count in COUNTS.items()))
    if death.points:
        note(f"died at {len(death.died_at)} of {len(death.points)} failpoints")
        if KILLS >= 3 * len(death.points):
            equal(sorted(death.died_at), sorted(death.points), "failpoints that somebody died at")
    note(f"revision {newest}; {most_segments} segments at most, {len(files(server, 'snap', '.snap'))} .snap files")
    if shutil.which("etcd") and shutil.which("etcdctl"):
        directory = Directory()
        directory.server = server
        server.flags = []
        seen = observe(directory.start("ours"), every=10)
        server.stop()
        same(observe(directory.start("go"), every=10), seen, "Go etcd on what is left")
        server.stop()


run()
