"""The same scripted Watch streams on a real etcd and on ours: every response must be the same, byte
for byte, but for who answers (cluster, member, term), and but for what 3.4 did not do yet, which is
said where it is."""
import time

from harness import Server, equal, run, test, which
from pbtiny import (Client, delete_request, field, message, op, parse, put_request, txn_request,
                    without_identity)
from watchlib import NODELETE, NOPUT, Stream, cancel_request, create_request, progress_request

servers = None


def pair():
    global servers
    if servers is None:
        servers = [Server(binary=which("etcd")).start(), Server().start()]
    return servers


class Both:
    """One script on both servers. Keys of a script begin with its own prefix."""

    def __init__(self):
        self.clients = [Client(server) for server in pair()]
        self.streams = [Stream(server) for server in pair()]

    def kv(self, method, request):
        answers = [client.kv(method, request) for client in self.clients]
        equal(answers[1][:2], answers[0][:2], method)
        return answers[1]

    def put(self, key, value=b"v"):
        return self.kv("Put", put_request(key, value))

    def delete(self, key, end=b""):
        return self.kv("DeleteRange", delete_request(key, end))

    def send(self, request):
        for stream in self.streams:
            stream.send(request)

    def same(self, what, count=1):
        """The next responses of both, which must be equal; returns ours."""
        out = []
        for _ in range(count):
            stock, ours = (stream.next() for stream in self.streams)
            equal(without_identity(ours.raw), without_identity(stock.raw), f"{what}\n  stock: {stock}\n  ours:  {ours}")
            out.append(ours)
        return out[0] if count == 1 else out

    def same_events(self, what, count):
        """Events of synced watchers: etcd sends a response for every revision, ours one for what a
        turn of its loop has seen. The events themselves are the same."""
        stock, ours = (stream.events(count) for stream in self.streams)
        equal([e.raw for e in ours], [e.raw for e in stock], what)
        return ours

    def revision(self):
        _, _, reply = self.clients[1].kv("Range", message(f1=b"\x00"))
        return revision_in(reply)

    def silent(self):
        for stream in self.streams:
            stream.silent()

    def close(self):
        for stream in self.streams:
            stream.close()
        for client in self.clients:
            client.close()


def revision_in(reply):
    return dict(parse(dict(parse(reply))[1])).get(3, 0)


def script(function):
    def wrapped():
        both = Both()
        try:
            function(both)
        finally:
            both.close()
    wrapped.__name__ = function.__name__
    return test(wrapped)


@script
def creating_and_being_told(both):
    both.send(create_request(b"a/k"))
    equal(both.same("created").id, 0)
    both.put(b"a/k", b"1")
    both.same("put")
    both.put(b"a/k", b"2")
    both.same("put again")
    both.put(b"a/other")
    both.delete(b"a/k")
    both.same("delete")
    both.delete(b"a/k")
    both.silent()


@script
def spans_prefixes_from_key_and_everything(both):
    for key, end in ((b"b/1", b"b/3"), (b"b/", b"b0"), (b"b/2", b"\x00")):
        both.send(create_request(key, end))
        both.same("created")
    both.put(b"b/1")
    both.put(b"b/2")
    both.put(b"b/9")
    for stream in both.streams:
        got = {}
        while sum(len(v) for v in got.values()) < 7:
            response = stream.next()
            got.setdefault(response.id, []).extend(e.key for e in response.events)
        equal(got, {0: [b"b/1", b"b/2"], 1: [b"b/1", b"b/2", b"b/9"], 2: [b"b/2", b"b/9"]})
    both.silent()


@script
def transactions_are_one_response(both):
    both.send(create_request(b"c/", b"c0", prev=True))
    both.same("created")
    both.put(b"c/1", b"old")
    both.same("put")
    both.kv("Txn", txn_request([], [op(put=put_request(b"c/1", b"1")), op(put=put_request(b"c/2", b"2")),
                                    op(delete=delete_request(b"c/3")), op(put=put_request(b"d", b"no"))]))
    equal(len(both.same("txn").events), 2)
    both.delete(b"c/", b"c0")
    equal(len(both.same("delete of a range").events), 2)


@script
def history_with_previous_values(both):
    for value in (b"1", b"2", b"3"):
        both.put(b"d/k", value)
    both.delete(b"d/k")
    both.put(b"d/k", b"4")
    revision = both.revision()
    for start in (revision - 4, revision - 1, revision, 1):
        for prev in (False, True):
            both.send(create_request(b"d/k", start=start, prev=prev))
            both.same("created")
            both.same(f"history from {start}")
    both.send(create_request(b"d/", b"d0", start=revision - 3, prev=True))
    both.same("created")
    both.same("history of a prefix")
    both.silent()


@script
def filters(both):
    for which_ in ((NOPUT,), (NODELETE,), (NOPUT, NODELETE), (7,)):
        both.send(create_request(b"e/k", filters=which_))
        both.same("created")
    both.put(b"e/k")
    both.delete(b"e/k")
    for stream in both.streams:
        got = sorted((r.id, e.is_delete) for r in (stream.next() for _ in range(4)) for e in r.events)
        equal(got, [(0, True), (1, False), (3, False), (3, True)])
    both.send(create_request(b"e/k", start=1, filters=(NOPUT,)))
    both.same("created")
    both.same("history without puts")
    both.silent()


@script
def ids(both):
    for id_ in (5, 5, 0, 1, 0, 2, 0, -3, -3, 1 << 40):
        both.send(create_request(b"f/k", id=id_))
        both.same(f"created {id_}")
    both.send(cancel_request(5))
    both.same("canceled 5")
    both.send(create_request(b"f/k", id=5))
    both.same("created 5 again")
    both.send(cancel_request(0))
    equal(both.same("canceled 0").canceled, True)
    both.send(cancel_request(0))
    both.send(cancel_request(99))
    both.send(create_request(b"f/other"))
    both.same("unknown ids are not answered")
    both.put(b"f/other")
    both.same("and this one lives")


@script
def empty_ranges_are_refused(both):
    for key, end in ((b"b", b"b"), (b"b", b"a"), (b"", b"\x00\x00"[:1]), (b"", b""), (b"\x00", b"\x00"), (b"b", b"bb")):
        both.send(create_request(key, end))
        both.same(f"{key} {end}")
    both.silent()


@script
def requests_that_say_nothing_are_passed_over(both):
    for request in (b"", field(9, b"what"), field(1, b"")):
        both.send(request)
    both.same("the empty create")
    both.silent()


@script
def a_start_in_the_future(both):
    revision = both.revision()
    both.send(create_request(b"g/k", start=revision + 3))
    both.same("created")
    for value in (b"1", b"2", b"3", b"4"):
        both.put(b"g/k", value)
    both.same_events("from the future on", 2)
    both.silent()


@script
def compacted_starts_are_canceled(both):
    for value in (b"1", b"2", b"3"):
        both.put(b"h/k", value)
    both.delete(b"h/k")
    revision = both.revision()
    both.put(b"h/k", b"4")
    both.kv("Compact", message(f1=revision, f2=True))
    both.send(create_request(b"h/k", start=revision - 1))
    both.same("created")
    got = both.same("canceled")
    equal((got.canceled, got.compact_revision, got.revision), (True, revision, 0))
    both.send(create_request(b"h/k", start=revision + 1, prev=True))
    both.same("created")
    both.same("just behind it")


@test
def a_start_at_the_compacted_revision_has_its_delete():
    """etcd issue 19179, which 3.4 has."""
    both = Both()
    both.put(b"i/k", b"1")
    both.delete(b"i/k")
    revision = both.revision()
    both.put(b"i/k", b"2")
    both.kv("Compact", message(f1=revision, f2=True))
    ours = both.streams[1]
    ours.create(key=b"i/k", start=revision)
    equal([(e.is_delete, e.mod) for e in ours.events(2)], [(True, revision), (False, revision + 1)])
    both.close()


@test
def a_negative_start_is_refused():
    """As 3.5 and 3.6 do; 3.4 knows nothing of it."""
    stream = Stream(pair()[1])
    got = stream.create(key=b"k", start=-1)
    equal((got.created, got.canceled, got.id, got.compact_revision, got.reason),
          (True, True, -1, 0, "etcdserver: mvcc: required revision has been compacted"))
    stream.silent()
    stream.close()


@script
def progress_on_request(both):
    both.send(progress_request())
    both.same("without a watcher")
    both.send(create_request(b"j/k"))
    both.same("created")
    both.send(create_request(b"j/idle"))
    both.same("created")
    both.put(b"j/k")
    both.same("put")
    both.put(b"unseen")
    both.send(progress_request())
    got = both.same("progress")
    equal((got.id, got.events, got.revision), (-1, [], both.revision()))


@test
def progress_comes_after_the_events_it_speaks_of():
    """etcd issue 15220: 3.4 answers at once, whatever its watchers have still to be told."""
    server = Server().start()
    client = Client(server)
    for i in range(3000):
        client.kv("Put", put_request(b"k/%d" % (i % 100), b"v" * 200))
    stream = Stream(server)
    for start in (1, 2000, 0):
        stream.send(create_request(b"k/", b"k0", start=start))
    stream.send(progress_request())
    last = {0: 0, 1: 0}
    got = stream.next()
    while got.id != -1:
        for event in got.events:
            last[got.id] = event.mod
        got = stream.next()
    equal((last, got.revision), ({0: 3001, 1: 3001}, 3001))
    stream.silent()
    stream.close()
    client.close()
    server.stop()


@script
def fragments(both):
    """One revision whose events, with what was there before, take 5.5 MB."""
    for i in range(25):
        both.put(b"l/%02d" % i, b"x" * 220000)
    both.send(create_request(b"l/", b"l0", prev=True, fragment=True))
    both.send(create_request(b"l/", b"l0", prev=True))
    both.same("created", 2)
    both.delete(b"l/", b"l0")
    revision = both.revision()
    for start in (0, revision):  # first those that were up to date, then one that reads history
        if start:
            both.send(create_request(b"l/", b"l0", start=start, prev=True, fragment=True))
            both.same("created")
        parts = {}
        wanted = {0: 25, 1: 25} if start == 0 else {2: 25}
        for stream in both.streams:
            got = {id_: [] for id_ in wanted}
            while any(sum(len(r.events) for r in got[id_]) < wanted[id_] for id_ in wanted):
                response = stream.next()
                got[response.id].append(response)
            parts[stream] = got
        for id_ in wanted:
            stock, ours = (parts[stream][id_] for stream in both.streams)
            equal([len(r.events) for r in ours], [len(r.events) for r in stock], "cut in other places")
            equal([r.fragment for r in ours], [True] * (len(ours) - 1) + [False])
            assert [without_identity(r.raw) for r in ours] == [without_identity(r.raw) for r in stock]
            equal(len(ours) > 1, id_ != 1)


@script
def half_closing_does_not_end_the_stream(both):
    both.send(create_request(b"m/k"))
    both.same("created")
    for stream in both.streams:
        stream.half_close()
    both.put(b"m/k")
    both.same("put")


@script
def bytes_that_are_no_message_end_the_stream(both):
    both.send(b"\xff\xff")
    for stream in both.streams:
        equal(stream.next(), None)
    errors = [(s.error.code().name, s.error.details()) for s in both.streams]
    equal(errors[1][0], errors[0][0])
    assert errors[1][1].startswith("grpc: "), errors


@script
def stopping_ends_the_stream_at_once(both):
    """Last, for it takes the servers."""
    global servers
    both.send(create_request(b"n/k"))
    both.same("created")
    for server in pair():
        start = time.monotonic()
        server.stop()
        assert time.monotonic() - start < 3, "a stop waits for a watch"
    for stream in both.streams:
        equal(stream.next(), None)
        assert stream.error.code().name in ("UNAVAILABLE", "CANCELLED"), stream.error
    servers = None


if __name__ == "__main__":
    run()
