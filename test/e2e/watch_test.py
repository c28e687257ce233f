"""Watch with stock clients, and recorded histories under load against the nine rules.

Writers send transactions whose effect is known from their revision alone; watchers of many kinds
record what they are told, lose their server to kill -9, are overtaken by compaction, stop reading for
a while, and resume from the revision behind the last they saw. Afterwards the committed log is put
together from the writers' answers (a transaction without one is looked up by its marker key) and every
recording is held against it:

  Filter        only events of the watcher's keys and kinds
  Ordered       by revision, and inside of one as the transaction made them
  Unique        none twice
  Atomic        those of one revision in one response, or in fragments one after the other
  Bookmarkable  after a progress note with revision R comes no event at or below R
  Resumable     from any revision that is not compacted on
  Reliable      none between two that were told is missing
  PrevKV        is what the key held at the revision before
  IsCreate      create revision and version say whether the key was there
"""
import os
import queue
import random
import subprocess
import threading
import time
from bisect import bisect_left

os.environ.setdefault("PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION", "python")

import grpc  # noqa: E402

from harness import Server, Skip, contains, equal, run, test, which  # noqa: E402
from pbtiny import (Client, delete_request, field, message, op, parse, put_request, range_request,  # noqa: E402
                    txn_request)
from watchlib import NODELETE, NOPUT, Response, Stream, create_request, progress_request  # noqa: E402

LONG = os.environ.get("ETCDC_LONG", "0") not in ("", "0")
KEYS = [b"k/%02d" % i for i in range(60)]


# ---- the committed log --------------------------------------------------------------------------

class Txn:
    """Puts and deletes of one transaction; `marker` is a key of its own, by which it can be found."""

    def __init__(self, number, rng):
        self.marker = b"m/%08d" % number
        self.revision = None
        keys = rng.sample(KEYS, rng.randint(1, 8))
        cut = rng.randint(0, len(keys)) if rng.random() < 0.4 else len(keys)
        size = rng.choice([8, 40, 200, 1500])
        self.puts = [(self.marker, b"")] + [(key, b"%08d" % number + b"." * size) for key in keys[:cut]]
        self.deletes = [(key, b"") for key in keys[cut:]]
        if rng.random() < 0.03:  # a whole span, away from what is put
            low = rng.randint(0, 50)
            inside = set(KEYS[low:low + 8])
            self.puts = [(k, v) for k, v in self.puts if k not in inside]
            self.deletes = [(k, e) for k, e in self.deletes if k not in inside] + [(KEYS[low], KEYS[low + 8])]

    def request(self):
        return txn_request([], [op(put=put_request(k, v)) for k, v in self.puts]
                           + [op(delete=delete_request(k, e)) for k, e in self.deletes])


def kv_bytes(key, create, mod, version, value):
    return message(f1=key, f2=create, f3=mod, f4=version, f5=value)


class Log:
    """Every event of every revision, as bytes of an Event with and without prev_kv."""

    def __init__(self, txns):
        self.events = []  # (revision, key, is_delete, raw, raw with prev, has prev)
        state = {}
        for txn in sorted((t for t in txns if t.revision is not None), key=lambda t: t.revision):
            for key, value in txn.puts:
                old = state.get(key)
                new = (old[0] if old else txn.revision, txn.revision, old[2] + 1 if old else 1, value)
                self._add(txn.revision, key, False, kv_bytes(key, *new), old)
                state[key] = new
            for key, end in txn.deletes:
                for one in sorted(k for k in state if (key <= k < end if end else k == key)):
                    self._add(txn.revision, one, True, kv_bytes(one, 0, txn.revision, 0, b""), state.pop(one))
        self.revision = self.events[-1][0]

    def _add(self, revision, key, is_delete, kv, old):
        raw = message(f1=int(is_delete), f2=kv)
        prev = field(3, kv_bytes(key, *old)) if old else b""
        self.events.append((revision, key, is_delete, raw, raw + prev, bool(old)))


# ---- those who write ----------------------------------------------------------------------------

class Writer:
    """Keeps some transactions in flight; learns their revisions, now or after a crash."""

    DEPTH = 16

    def __init__(self, server, seed):
        self.server = server
        self.rng = random.Random(seed)
        self.txns = []
        self.flying = []
        self.open()

    def open(self):
        self.channel = grpc.insecure_channel(self.server.url.replace("http://", ""),
                                             options=[("grpc.use_local_subchannel_pool", 1)])
        self.call = self.channel.unary_unary("/etcdserverpb.KV/Txn")

    def send(self, pace=0.0):
        txn = Txn(len(self.txns), self.rng)
        self.txns.append(txn)
        self.flying.append((txn, self.call.future(txn.request(), timeout=20)))
        if len(self.flying) >= self.DEPTH:
            self.take()
        if pace:
            time.sleep(pace)

    def take(self):
        txn, future = self.flying.pop(0)
        try:
            txn.revision = dict(parse(dict(parse(future.result()))[1]))[3]
        except grpc.RpcError:
            txn.revision = -1  # to be looked up
            return False
        return True

    def settle(self):
        while self.flying:
            self.take()

    def crash(self):
        """The server was killed: what became of those in flight is asked of the one started after."""
        self.settle()
        self.channel.close()
        self.open()

    def look_up(self):
        client = Client(self.server)
        for txn in self.txns:
            if txn.revision == -1:
                _, _, reply = client.kv("Range", range_request(txn.marker))
                rows = [value for number, value in parse(reply) if number == 2]
                txn.revision = dict(parse(rows[0]))[3] if rows else None
        client.close()


# ---- those who watch ----------------------------------------------------------------------------

SMALL_WINDOW = [("grpc.http2.lookahead_bytes", 16384), ("grpc.http2.bdp_probe", 0)]


class Watcher(threading.Thread):
    """Records sessions: (start revision, [raw responses]). Resumes for ever, until told to finish."""

    def __init__(self, server, key, end=b"", start=1, prev=False, filters=(), fragment=False, progress=False, slow=0.0):
        super().__init__(daemon=True)
        self.server = server
        self.key, self.end, self.prev, self.filters = key, end, prev, filters
        self.fragment, self.progress, self.slow = fragment, progress, slow
        self.start_at = start
        self.next = start
        self.sessions = []
        self.target = None  # finish after a progress note of this revision
        self.compactions = []
        self.failure = None
        self.quit = False
        self.call = None
        self.events = 0

    def name_of(self):
        return f"{self.key}..{self.end} start {self.start_at} prev {self.prev} filters {self.filters} slow {self.slow}"

    def run(self):
        try:
            while not self.quit:
                try:
                    self._session()
                except grpc.RpcError:
                    time.sleep(0.05)
        except Exception as why:  # pylint: disable=broad-except
            self.failure = why

    def _session(self):
        channel = grpc.insecure_channel(self.server.url.replace("http://", ""),
                                        options=[("grpc.max_receive_message_length", -1),
                                                 ("grpc.use_local_subchannel_pool", 1)] + SMALL_WINDOW)
        out = queue.Queue()
        out.put(create_request(self.key, self.end, start=self.next, prev=self.prev, filters=self.filters,
                               fragment=self.fragment, progress=self.progress))
        record = []
        self.sessions.append((self.next, record))
        try:
            self.call = channel.stream_stream("/etcdserverpb.Watch/Watch")(iter(out.get, None))
            asked = False
            for raw in self.call:
                if self._take(raw, record):
                    return
                if self.slow:
                    time.sleep(self.slow if self.target is None else 0)
                if self.target is not None and not asked:
                    asked = True
                    out.put(progress_request())
        finally:
            out.put(None)
            channel.close()

    def finish(self, revision):
        """From now on it is in a hurry. A quiet stream is torn and resumed, so that it notices."""
        self.target = revision
        if self.call is not None:
            self.call.cancel()

    def _take(self, raw, record):
        """True: the session is over."""
        fields = parse(raw)
        one = dict(fields)
        header = dict(parse(one[1]))
        events = [value for number, value in fields if number == 11]
        is_fragment = bool(one.get(7))
        if one.get(4):
            compacted = one.get(5, 0)
            if not compacted:
                raise AssertionError(f"canceled: {Response(raw)}")
            self.compactions.append((self.next, compacted))
            self.next = compacted
            return True
        record.append((header.get(3, 0), bool(one.get(3)), is_fragment, events))
        self.events += len(events)
        if events and not is_fragment:
            self.next = dict(parse(dict(parse(events[-1]))[2]))[3] + 1
        elif not events and not one.get(3):
            self.next = max(self.next, header.get(3, 0) + 1)
            if self.target is not None and header.get(3, 0) >= self.target:
                self.quit = True
                return True
        return False

    # -- the rules --

    def wants(self, event):
        _, key, is_delete, _, _, _ = event
        inside = key == self.key if not self.end else (
            key >= self.key if self.end == b"\x00" else self.key <= key < self.end)
        return inside and (NODELETE if is_delete else NOPUT) not in self.filters

    def check(self, log, compacted=0):
        """`compacted`: the highest revision that was; what stood before may be missing below it."""
        if self.failure is not None:
            raise self.failure
        self.compacted = compacted
        wanted = [event for event in log.events if self.wants(event)]
        revisions = [event[0] for event in wanted]
        for number, (start, record) in enumerate(self.sessions):
            self._check_session(number, start, record, wanted, revisions)
        return sum(len(events) for _, record in self.sessions for *_, events in record)

    def _check_session(self, number, start, record, wanted, revisions):
        what = f"watcher {self.name_of()}, session {number} from {start}"
        at = bisect_left(revisions, start)  # Resumable: the first event at or behind the start
        bookmark = 0
        open_fragment = False
        last_revision = 0
        for index, (revision, created, is_fragment, events) in enumerate(record):
            where = f"{what}, response {index} @{revision}"
            assert created == (index == 0), f"{where}: created"
            told = []
            for raw in events:
                assert at < len(wanted), f"{where}: Filter, Unique: an event that the log does not have: {raw[:80]!r}"
                want = wanted[at]
                full = want[4] if self.prev else want[3]
                if raw != full:
                    # PrevKV may be absent only when compaction has passed the revision before.
                    may_lack = self.prev and raw == want[3] and want[0] - 1 < self.compacted
                    assert may_lack, (f"{where}: Filter, Ordered, Reliable, PrevKV, IsCreate: told\n  {raw[:120]!r}\n"
                                      f"  and the log has\n  {full[:120]!r} (revision {want[0]})")
                assert want[0] > bookmark, f"{where}: Bookmarkable: {want[0]} after a note of {bookmark}"
                told.append(want[0])
                at += 1
            if told:
                is_whole = told[0] > last_revision or open_fragment
                assert is_whole, f"{where}: Atomic: revision {told[0]} in two responses"
                last_revision = told[-1]
                if not is_fragment:
                    assert at == len(wanted) or wanted[at][0] > told[-1], f"{where}: Atomic: a part of revision {told[-1]}"
                assert revision >= told[-1], f"{where}: header behind its events"
            elif not created:  # a progress note
                bookmark = max(bookmark, revision)
                assert at == len(wanted) or wanted[at][0] > revision, (
                    f"{where}: Reliable: a note of {revision}, and {wanted[at][0]} was never told")
            open_fragment = is_fragment


def history(events_wanted, kills, seed):
    """One run: load, watchers, compactions, kills; then the check. Returns events checked."""
    server = Server(flags=["--watch-progress-notify-interval=300ms", "--snapshot-count=2000"]).start()
    writer = Writer(server, seed)
    rng = random.Random(seed)
    everything = dict(key=b"\x00", end=b"\x00")
    kinds = [
        dict(key=b"k/", end=b"k0"), dict(key=b"k/", end=b"k0", prev=True, progress=True),
        dict(key=b"k/", end=b"k0", prev=True, slow=0.02), dict(key=b"k/", end=b"k0", filters=(NOPUT,), prev=True),
        dict(key=KEYS[7]), dict(key=KEYS[7], prev=True, slow=0.05), dict(key=KEYS[8], filters=(NODELETE,)),
        dict(key=KEYS[20], end=KEYS[30], prev=True, fragment=True), dict(slow=0.3, **everything),
        dict(progress=True, **everything), dict(key=b"none", progress=True), dict(key=KEYS[50], end=b"\x00", prev=True),
    ]
    watchers = []

    def watch(start, kind):
        one = Watcher(server, start=start, **kind)
        one.start()
        watchers.append(one)

    for kind in kinds:
        watch(1, kind)
    compacted = 0
    killed = 0
    sent = 0
    while sum(w.events for w in watchers) < events_wanted or killed < kills:
        for _ in range(150):
            writer.send()
        sent += 150
        progress = sum(w.events for w in watchers)
        known = max((t.revision for t in writer.txns if t.revision and t.revision > 0), default=1)
        if len(watchers) < 60 and rng.random() < 0.5:  # more start, anywhere
            watch(rng.choice([1, known - 500 if known > 500 else 1, known, known + 50]), rng.choice(kinds))
        if rng.random() < 0.25 and known > 400:
            client = Client(server)
            target = known - rng.choice([0, 10, 300])
            if target > compacted:
                code, details, _ = client.kv("Compact", message(f1=target))
                if code == "OK":
                    compacted = target
            client.close()
        if killed < kills and progress > (killed + 1) * events_wanted / (kills + 1):
            killed += 1
            server.kill()
            writer.settle()
            server.start()
            writer.crash()
    for _ in range(150):  # so that every start in the future comes to pass
        writer.send()
    writer.settle()
    writer.look_up()
    log = Log(writer.txns)
    for watcher in watchers:
        watcher.finish(log.revision)
    end = time.monotonic() + (600 if LONG else 60)
    for watcher in watchers:
        watcher.join(max(0.1, end - time.monotonic()))
        assert not watcher.is_alive(), f"{watcher.name_of()} does not catch up: next {watcher.next} of {log.revision}"
    checked = sum(watcher.check(log, compacted) for watcher in watchers)
    resumed = sum(len(w.sessions) - 1 for w in watchers)
    overtaken = sum(len(w.compactions) for w in watchers)
    print(f"# {len(log.events)} events in {log.revision} revisions, told {checked} times to {len(watchers)} watchers; "
          f"{killed} kills, {resumed} resumptions, {overtaken} overtaken by compaction", flush=True)
    assert resumed >= killed * 5 and checked >= events_wanted
    check_metrics(server)
    writer.channel.close()
    server.stop()
    return checked


def metric(server, name):
    for line in server.get("/metrics")[2].splitlines():
        if line.startswith(name + " "):
            return float(line.split()[1])
    raise AssertionError(f"no {name}")


def check_metrics(server):
    """Everybody has left."""
    end = time.monotonic() + 10
    names = ["etcd_debugging_mvcc_watcher_total", "etcd_debugging_mvcc_watch_stream_total",
             "etcd_debugging_mvcc_slow_watcher_total", "etcd_debugging_mvcc_pending_events_total"]
    while [metric(server, name) for name in names] != [0, 0, 0, 0]:
        assert time.monotonic() < end, {name: metric(server, name) for name in names}
        time.sleep(0.1)
    assert metric(server, "etcd_debugging_mvcc_events_total") > 0


@test
def histories_under_load_compaction_kills_and_slow_readers():
    if LONG:
        total = 0
        seed = 0
        while total < 1000000:
            total += history(150000, 3, seed)
            seed += 1
        print(f"# {total} events in all", flush=True)
    else:
        history(50000, 2, 1)


# ---- the checker is checked ---------------------------------------------------------------------

@test
def the_checker_sees_what_is_wrong():
    """Each rule, broken in a recording that was right."""
    rng = random.Random(5)
    txns = [Txn(i, rng) for i in range(200)]
    for number, txn in enumerate(txns):
        txn.revision = number + 2
    log = Log(txns)

    def recording(prev):
        watcher = Watcher(None, b"k/", b"k0", prev=prev)
        record = [(1, True, False, [])]
        wanted = [event for event in log.events if watcher.wants(event)]
        for revision in sorted({event[0] for event in wanted}):
            record.append((revision, False, False, [e[4] if prev else e[3] for e in wanted if e[0] == revision]))
        record.append((log.revision, False, False, []))
        watcher.sessions = [(1, record)]
        return watcher, record

    def broken(what, change, prev=True):
        watcher, record = recording(prev)
        change(record)
        try:
            watcher.check(log)
        except AssertionError:
            return
        raise AssertionError(f"not seen: {what}")

    for prev in (False, True):
        assert recording(prev)[0].check(log) > 300
    many = next(i for i, r in enumerate(recording(True)[1]) if len(r[3]) > 2)
    broken("lost", lambda r: r[20][3].pop())
    broken("lost revision", lambda r: r.pop(20))
    broken("twice", lambda r: r.insert(20, r[20]))
    broken("order of revisions", lambda r: r.insert(20, r.pop(21)))
    broken("order in a revision", lambda r: r[many][3].reverse())
    broken("split", lambda r: r.insert(many, (*r[many][:3], [r[many][3].pop(0)])))
    broken("another's event", lambda r: r[20][3].append(log.events[0][4]))
    broken("wrong prev", lambda r: r[150][3].__setitem__(0, r[150][3][0][:-1] + b"!"))
    broken("no prev", lambda r: [x[3].__setitem__(i, e[3]) for x in r for i, w in enumerate(x[3])
                                 for e in log.events if e[4] == w and e[5]])
    broken("note ahead", lambda r: r.insert(20, (r[25][0], False, False, [])))
    broken("nothing at the end", lambda r: r.pop(-2))


# ---- stock clients ------------------------------------------------------------------------------

def etcdctl(server, *args, stdin=None):
    return subprocess.Popen([which("/usr/bin/etcdctl"), "--endpoints", server.url.replace("http://", "")] + list(args),
                            env=dict(os.environ, ETCDCTL_API="3"), stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                            stdin=stdin)


def session(server, args, writes, lines, stdin=None):
    """What etcdctl prints, until it has printed so many lines."""
    process = etcdctl(server, "watch", *args, stdin=subprocess.PIPE if stdin else None)
    try:
        if stdin:
            process.stdin.write(stdin)
            process.stdin.flush()
        client = Client(server)
        end = time.monotonic() + 20
        while metric(server, "etcd_debugging_mvcc_watcher_total") < max(1, (stdin or b"").count(b"\n")):
            assert time.monotonic() < end, f"no watcher: {args} {server.binary}"
            time.sleep(0.02)
        for method, request in writes:
            client.kv(method, request)
        client.close()
        got = []
        reader = threading.Thread(target=lambda: got.extend(process.stdout.readline() for _ in range(lines)), daemon=True)
        reader.start()
        reader.join(20)
        assert len(got) == lines, got
        return b"".join(got).decode(errors="backslashreplace")
    finally:
        process.kill()
        process.wait()
        while metric(server, "etcd_debugging_mvcc_watcher_total") > 0:
            time.sleep(0.02)


@test
def debians_etcdctl_prints_the_same_of_both():
    writes = [("Put", put_request(b"a/1", b"one")), ("Put", put_request(b"a/1", b"two")),
              ("Put", put_request(b"a/2", b"\xff")), ("DeleteRange", delete_request(b"a/", b"a0"))]
    scripts = [
        (["a/1"], writes, 8, None), (["--prefix", "a/"], writes, 14, None), (["--prefix", "--prev-kv", "a/"], writes, 18, None),
        (["a/1", "a/2", "--prev-kv"], writes, 12, None),
        (["--rev", "2", "a/1"], [], 8, None), (["--rev", "3", "--prefix", "a/", "--prev-kv"], [], 12, None),
        (["--hex", "a/2"], writes, 5, None), (["-i"], writes, 8, b"watch a/1\n"),
        (["-i"], writes[2:], 5, b"watch a/2\nwatch --prefix b/\n"),
    ]
    outputs = []
    for binary in (which("/usr/bin/etcd"), None):
        server = Server(binary=binary).start()
        outputs.append([session(server, *script) for script in scripts])
        server.stop()
    for script, stock, ours in zip(scripts, *outputs):
        equal(ours, stock, str(script[0]))
    contains(outputs[1][0], "PUT\na/1\none\n")


@test
def python3_etcd3_watches():
    try:
        import etcd3
    except ImportError as why:
        raise Skip(f"python3-etcd3 is not installed: {why}")
    server = Server().start()
    client = etcd3.client(host="127.0.0.1", port=server.port)
    events, cancel = client.watch_prefix("/p/", prev_kv=True)
    one, cancel_one = client.watch("/p/1", start_revision=1)
    client.put("/p/1", "a")
    client.put("/p/1", "b")
    client.delete("/p/1")
    got = [next(events) for _ in range(3)]
    equal([(type(e).__name__, e.key, e.value, e.prev_value) for e in got],
          [("PutEvent", b"/p/1", b"a", b""), ("PutEvent", b"/p/1", b"b", b"a"), ("DeleteEvent", b"/p/1", b"", b"b")])
    equal([next(one).value for _ in range(3)], [b"a", b"b", b""])
    cancel()
    cancel_one()
    told = []
    client.add_watch_callback("/q", told.append)
    client.put("/q", "1")
    end = time.monotonic() + 10
    while not told and time.monotonic() < end:
        time.sleep(0.02)
    assert told
    server.stop()


# ---- notes, slow readers, floods ----------------------------------------------------------------

@test
def progress_notes_come_at_intervals_to_quiet_watchers_that_asked():
    server = Server(flags=["--watch-progress-notify-interval=200ms"]).start()
    stream = Stream(server)
    stream.create(key=b"a", progress=True)
    stream.create(key=b"b")
    client = Client(server)
    client.kv("Put", put_request(b"unseen"))
    notes = [stream.next() for _ in range(3)]
    equal([(n.id, n.events, n.revision) for n in notes], [(0, [], 2)] * 3)
    stream.close()
    client.close()
    server.stop()


def resident(server):
    with open(f"/proc/{server.process.pid}/status", encoding="ascii") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS"))


@test
def one_that_never_reads_costs_little_and_slows_nobody():
    server = Server().start()
    stuck = [Stream(server, reading=False, options=SMALL_WINDOW) for _ in range(10)]
    for stream in stuck:
        stream.send(create_request(b"s/", b"s0", prev=True))
    reader = Stream(server)
    reader.create(key=b"s/", end=b"s0")
    client = Client(server)
    for i in range(200):
        client.kv("Put", put_request(b"s/%d" % (i % 10), b"x" * 5000))
    before = resident(server)
    for i in range(2000):
        client.kv("Put", put_request(b"s/%d" % (i % 10), b"y" * 5000))
    reader.events(2200)
    grown = resident(server) - before
    # The store itself has grown by 10 MB of rows; ten watchers that kept a queue would have by 200 MB.
    assert grown < 40000, f"grown by {grown} kB"
    assert metric(server, "etcd_debugging_mvcc_slow_watcher_total") == 10
    assert metric(server, "etcdc_watch_lag_revisions") > 1000
    stuck[0].start_reading()
    equal(stuck[0].next().created, True)
    equal([e.mod for e in stuck[0].events(2200)], list(range(2, 2202)))
    for stream in stuck + [reader]:
        stream.close()
    check_metrics(server)
    client.close()
    server.stop()


@test
def a_client_that_asks_and_never_reads_is_not_asked_after():
    """Creates and progress requests by the hundred thousand: their answers are bounded."""
    server = Server().start()
    stream = Stream(server, reading=False, options=SMALL_WINDOW)
    before = resident(server)
    for i in range(100000):
        stream.send(create_request(b"flood/%d" % (i % 1000)) if i % 2 else progress_request())
    time.sleep(3)
    grown = resident(server) - before
    assert grown < 20000, f"grown by {grown} kB"
    client = Client(server)
    equal(client.kv("Put", put_request(b"flood/1"))[0], "OK")
    stream.close()
    check_after = time.monotonic() + 10
    while metric(server, "etcd_debugging_mvcc_watcher_total") > 0:
        assert time.monotonic() < check_after
        time.sleep(0.1)
    client.close()
    server.stop()


@test
def many_watchers_of_one_key_on_one_stream():
    server = Server().start()
    stream = Stream(server)
    for _ in range(5000):
        stream.send(create_request(b"one"))
    for _ in range(5000):
        stream.next()
    client = Client(server)
    for i in range(3):
        client.kv("Put", put_request(b"one", b"%d" % i))
    got = {}
    while sum(len(v) for v in got.values()) < 15000:
        response = stream.next()
        got.setdefault(response.id, []).extend(e.mod for e in response.events)
    assert all(got[i] == [2, 3, 4] for i in range(5000))
    stream.close()
    client.close()
    server.stop()


if __name__ == "__main__":
    run()
