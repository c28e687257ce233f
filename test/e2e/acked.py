"""Writers that know what was acknowledged, and what must therefore be there after any death.

Every writer owns its keys and has one request under way, so after a crash its keys hold exactly
what was acknowledged, or that and the whole of its last request: never less, never half of it.
"""
import threading
import time

from pbtiny import Client, delete_request, field, message, op, parse, put_request, range_request, txn_request

KEYS = 24  # of one writer: small, so that most writes replace something
CALL_SECONDS = 5


def header_revision(reply):
    for number, value in parse(reply):
        if number == 1:
            return dict(parse(value)).get(3, 0)
    raise AssertionError(f"no header in {reply!r}")


def hash_kv(client, revision=0):
    """(hash, compact revision, revision it was taken at)"""
    code, details, reply = client.maintenance("HashKV", message(f1=revision))
    if code != "OK":
        raise AssertionError(f"HashKV at {revision}: {code} {details}")
    fields = dict(parse(reply))
    if revision == 0 and header_revision(reply) != fields[4]:
        raise AssertionError(f"HashKV of revision {fields[4]} says it is of {header_revision(reply)}")
    return fields.get(2, 0), fields.get(3, 0), fields[4]


def everything(client, prefix=b"\0", end=b"\0", revision=0):
    """{key: (value, create revision, mod revision, version)}, read linearizably."""
    code, details, reply = client.kv("Range", range_request(prefix, end, rev=revision))
    if code != "OK":
        raise AssertionError(f"Range: {code} {details}")
    out = {}
    for number, value in parse(reply):
        if number == 2:
            row = dict(parse(value))
            out[row[1]] = (row.get(5, b""), row[2], row[3], row[4])
    return out


class Late:
    """A write whose acknowledgement came when the power was already going: what it changes, and when it
    was sent and answered (monotonic seconds)."""

    def __init__(self, change, sent, answered):
        self.change, self.sent, self.answered = change, sent, answered


class Writer(threading.Thread):
    """One client: puts, deletes and transactions over its keys, one after the other."""

    def __init__(self, load, number):
        super().__init__(daemon=True)
        self.load = load
        self.prefix = b"w%d/" % number
        self.state = {}
        self.pending = None  # what the request under way would change
        self.late = []  # acknowledged after the cut had begun, oldest first
        self.acked = 0
        self.revision = 0  # the newest acknowledged
        self.step = number

    def key(self, number):
        return self.prefix + b"%02d" % (number % KEYS)

    def next_change(self):
        """(method, request, {key: value or None})"""
        self.step += 1
        step = self.step
        value = b"%s%d-%s" % (self.prefix, step, b"x" * (step * 37 % 700))
        if step % 7 == 3:
            return "DeleteRange", delete_request(self.key(step * 5)), {self.key(step * 5): None}
        if step % 5 == 1:
            keys = [self.key(step), self.key(step + 1), self.key(step + 2)]
            ops = [op(put=put_request(keys[0], value)), op(put=put_request(keys[1], value)),
                   op(delete=delete_request(keys[2]))]
            return "Txn", txn_request(success=ops), {keys[0]: value, keys[1]: value, keys[2]: None}
        return "Put", put_request(self.key(step), value), {self.key(step): value}

    def apply(self, change):
        for key, value in change.items():
            if value is None:
                self.state.pop(key, None)
            else:
                self.state[key] = value

    def run(self):
        client = Client(self.load.server)
        while not self.load.is_over:
            method, request, self.pending = self.next_change()
            sent = time.monotonic()
            code, _, reply = client.call(f"/etcdserverpb.KV/{method}", request, timeout=CALL_SECONDS)
            answered = time.monotonic()  # read before cut_began is: without a cut it was before any
            if code != "OK":
                break
            change, self.pending = self.pending, None
            if self.load.cut_began is not None and answered >= self.load.cut_began:
                self.late.append(Late(change, sent, answered))
                continue
            self.apply(change)
            self.revision = max(self.revision, header_revision(reply))
            self.acked += 1
        client.close()

    def check(self, rows):
        """The rows of the whole store; takes over what turns out to have happened."""
        got = {key: row[0] for key, row in rows.items() if key.startswith(self.prefix)}
        may_be = [late.change for late in self.late] + ([self.pending] if self.pending is not None else [])
        acked = dict(self.state)
        states = [acked]
        for change in may_be:
            self.apply(change)
            states.append(dict(self.state))
        happened = max((number for number, state in enumerate(states) if state == got), default=None)
        if happened is not None:
            self.state = states[happened]
            self.load.late_lost += self.late[happened:]
        else:
            lost = sorted(k for k in acked if got.get(k) != acked[k])
            extra = sorted(k for k in got if k not in acked)
            raise AssertionError(f"after {self.acked} acknowledged: wrong or lost {lost[:5]}, unexpected {extra[:5]}; "
                                 f"after the cut had begun {[late.change for late in self.late]!r}; "
                                 f"under way was {self.pending!r}")
        self.load.late += len(self.late)
        self.late, self.pending = [], None


class Compactor(threading.Thread):
    """Compacts behind the writers and notes hashes of what it sees."""

    def __init__(self, load):
        super().__init__(daemon=True)
        self.load = load
        self.compacted = 0  # acknowledged
        self.hashes = []  # (revision, compact revision, hash)
        self.failure = None

    def run(self):
        client = Client(self.load.server)
        while not self.load.is_over:
            time.sleep(self.load.compact_seconds)
            revision = max(w.revision for w in self.load.writers) - 40
            if revision <= self.compacted:
                continue
            code, _, _ = client.call("/etcdserverpb.KV/Compact", message(f1=revision), timeout=CALL_SECONDS)
            if code != "OK":
                break
            self.compacted = revision
            try:
                value, compact, at = hash_kv(client)
                self.hashes.append((at, compact, value))
            except AssertionError as why:
                if "UNAVAILABLE" not in str(why):
                    self.failure = why
                break
        client.close()


class Load:
    """Writers and a compactor on one server; may be started again after each restart of it."""

    def __init__(self, server, writers=4, compact_seconds=0.05):
        self.server = server
        self.compact_seconds = compact_seconds
        self.is_over = False
        # Set just before the disk is taken away and just after: what is acknowledged before the first must
        # be there; what comes later is counted, see power_test.py.
        self.cut_began = self.cut_ended = None
        self.late = 0  # acknowledgements that came after cut_began, in all cuts
        self.late_lost = []  # those of the last cut whose writes are not there
        self.writers = [Writer(self, n) for n in range(writers)]
        self.compactor = Compactor(self)
        self.acked_before = 0

    def start(self):
        self.is_over = False
        self.cut_began = self.cut_ended = None
        self.late_lost = []
        self.acked_before += sum(w.acked for w in self.writers)
        before = self.writers
        self.writers = [Writer(self, n) for n in range(len(before))]
        for new, old in zip(self.writers, before):
            new.state, new.step, new.revision = old.state, old.step, old.revision
        compacted, self.compactor = self.compactor.compacted, Compactor(self)
        self.compactor.compacted = compacted
        for thread in self.writers + [self.compactor]:
            thread.start()
        return self

    def stop(self):
        self.is_over = True
        for thread in self.writers + [self.compactor]:
            thread.join(CALL_SECONDS * 3)
            if thread.is_alive():
                raise AssertionError("a client still waits for its answer")

    def acked(self):
        return self.acked_before + sum(w.acked for w in self.writers)

    def revision(self):
        return max(w.revision for w in self.writers)

    def check(self, client):
        """Everything that was promised before the death is there after it."""
        rows = everything(client)
        for writer in self.writers:
            writer.check(rows)
        code, details, reply = client.kv("Range", range_request(b"x"))
        if code != "OK" or header_revision(reply) < self.revision():
            raise AssertionError(f"revision was {self.revision()}, now {code} {details} {reply!r}")
        if self.compactor.compacted > 1:
            code, details, _ = client.kv("Range", range_request(b"x", rev=self.compactor.compacted - 1))
            if code != "OUT_OF_RANGE":
                raise AssertionError(f"a revision below the acknowledged compaction can be read: {code} {details}")
        self.check_hashes(client)

    def check_hashes(self, client):
        if self.compactor.failure is not None:
            raise self.compactor.failure
        _, compact, _ = hash_kv(client)
        for at, compact_then, value in self.compactor.hashes:
            if compact_then == compact and hash_kv(client, at)[:2] != (value, compact):
                raise AssertionError(f"HashKV at {at}, compacted at {compact}, was {value} before the death, "
                                     f"now {hash_kv(client, at)}")
