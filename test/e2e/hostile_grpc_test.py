"""Hostile gRPC: messages that lie about themselves, and everything a head of a call may say.

See hostile.py for what must hold in each."""
import gzip
import struct
import sys

from h2raw import ACK, END_HEADERS, END_STREAM, HEADERS, PREFACE, SETTINGS, Peer, frame, literal, settings
from harness import Server, equal, run, test
from hostile import ask, attack_on, grpc_message
from pbtiny import Client, compare, field, op, put_request, range_request, txn_request, varint

server = Server().start()
attack = attack_on(server)

KV = "/etcdserverpb.KV/"
METHOD, SCHEME = b"\x83", b"\x86"
PATH = literal(b":path", b"/etcdserverpb.KV/Range")
TYPE = literal(b"content-type", b"application/grpc")


def answers(calls):
    """[(:status, grpc-status, grpc-message or reset)] of heads and what follows them, on one connection."""
    peer = Peer(server.port, PREFACE + settings())
    out = []
    try:
        for number, (head, body) in enumerate(calls):
            stream = 2 * number + 1
            peer.send(frame(HEADERS, END_HEADERS, stream, head) + frame(0, END_STREAM, stream, body))
            if peer.ended(stream):
                fields = peer.fields(stream)
                out.append((fields.get(":status"), fields.get("grpc-status"), fields.get("grpc-message", "")))
            else:
                out.append(("reset", peer.reset_of(stream), ""))
    finally:
        peer.close()
    return out


def statuses(requests, path):
    client = Client(server)
    out = [client.call(path, request)[0] for request in requests]
    client.close()
    return out


@attack
def lengths_that_lie_are_refused():
    """Of gRPC's prefix and of protobuf's fields."""
    large = [struct.pack(">BI", 0, n) + b"abc" for n in (4, 1 << 20, 2097153, 0x7fffffff, 0x80000000, 0xffffffff)]
    for got, want in zip(answers([(METHOD + SCHEME + PATH + TYPE, body) for body in large]),
                         ("2", "2", "8", "8", "8", "8")):
        equal(got[:2], ("200", want))
    for flag in (2, 3, 0x80, 0xff):
        equal(answers([(METHOD + SCHEME + PATH + TYPE, struct.pack(">BI", flag, 0))])[0][1:],
              ("13", f"grpc: received unexpected payload format {flag}"))
    for length in (5, 0x7f, 0x7fffffff, 0xffffffff, (1 << 63) - 1, (1 << 64) - 1):
        for tag in (1, 2, 100):
            request = varint(tag << 3 | 2) + varint(length) + b"abcd"
            equal(statuses([request], KV + "Range"), ["INTERNAL"], (tag, length))
    for request in (b"\x0a", b"\x0a\x80", b"\x08", b"\x80" * 11 + b"\x01", b"\x0a" + b"\xff" * 10, b"\0\1", b"\x0e", b"\x0f", b"\x0c", b"\x0b",
                    b"\x0d\1\2\3", b"\x09\1\2\3\4\5\6\7", b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x7f"):
        equal(statuses([request], KV + "Put"), ["INTERNAL"], request)


def nested(depth):
    request = txn_request(success=[op(put=put_request(b"deep", b"x"))])
    for _ in range(depth):
        request = txn_request(success=[op(txn=request)])
    return request


@attack_on(server, 96)
def nesting_and_numbers_have_limits():
    """The depth, 62 levels of transactions inside one, is ours; the number of operations is etcd's."""
    equal(statuses([nested(1), nested(62)], KV + "Txn"), ["OK", "OK"])
    equal(set(statuses([nested(d) for d in (63, 100, 1000, 20000)], KV + "Txn")), {"INTERNAL"})
    groups = b"\x1b" * 500000
    bombs = [groups, groups + b"\x1c" * 500000, b"\x12\x00" * 700000, b"\x0a\x00" * 700000, field(2, b"\x0a\x00") * 300000,
             b"\x12\x02\x0a\x00" * 129, txn_request(compares=[compare(0, 0, b"k", 1)] * 100000)]
    got = statuses(bombs, KV + "Txn")
    equal([code for code in got if code in ("OK", "UNAVAILABLE", "DEADLINE_EXCEEDED")], [], got)


@attack_on(server, 96)
def what_inflates_is_stopped_at_the_limit():
    bomb = gzip.compress(b"\0" * (256 << 20), 9)
    twice = gzip.compress(gzip.compress(b"\0" * (64 << 20), 9), 9)
    members = gzip.compress(b"") * 50000
    head = METHOD + SCHEME + PATH + TYPE + literal(b"grpc-encoding", b"gzip")
    # The windows of the server hold for who has acknowledged them.
    peer = Peer(server.port, PREFACE + settings() + frame(SETTINGS, ACK, 0))
    try:
        bodies = [bomb, members, twice, bomb[:len(bomb) // 2], b"\x1f\x8b\x08\xff" + b"\xff" * 1000, gzip.compress(b"")[:-1], b""]
        for number, body in enumerate(bodies):
            stream = 2 * number + 1
            peer.send(frame(HEADERS, END_HEADERS, stream, head))
            message = grpc_message(body, 1)
            for at in range(0, len(message), 16384):
                peer.send(frame(0, 0, stream, message[at:at + 16384]))
            peer.send(frame(0, END_STREAM, stream))
        got = [peer.ended(2 * n + 1) and peer.fields(2 * n + 1)["grpc-status"] for n in range(len(bodies))]
        # An empty request of Range has no key (3); what unzips to another gzip file is no message (13).
        equal(got, ["8", "3", "13", "8", "13", "13", "13"])
        ping = grpc_message(gzip.compress(range_request(b"witness")), 1)
        peer.send(frame(HEADERS, END_HEADERS, 101, head) + frame(0, END_STREAM, 101, ping))
        equal(peer.ended(101) and peer.fields(101)["grpc-status"], "0")
        equal(peer.body(101)[0], 1, "answered in the same encoding")
    finally:
        peer.close()


@attack
def paths_that_are_no_method_are_unimplemented():
    for path in (b"etcdserverpb.KV/Range", b"/", b"//", b"/etcdserverpb.KV", b"/etcdserverpb.KV/", b"/etcdserverpb.KV//Range", b"//etcdserverpb.KV/Range",
                 b"/etcdserverpb.KV/range", b"/etcdserverpb.kv/Range", b"/etcdserverpb.KV/Range/", b"/etcdserverpb.KV/Range?x=y", b"/etcdserverpb.KV/%52ange",
                 b"/./etcdserverpb.KV/Range", b"*", b"x", b"/" + b"a" * 8000 + b"/b", b"/\xff/\xfe", b"http://a/etcdserverpb.KV/Range"):
        ((status, code, text),) = answers([(METHOD + SCHEME + literal(b":path", path) + TYPE, grpc_message(b""))])
        equal((status, code), ("200", "12"), (path, text))


@attack
def timeouts_are_digits_and_a_unit():
    good = [b"1H", b"1M", b"60S", b"99999m", b"9999999u", b"99999999n", b"99999999H", b"00000001H"]
    bad = [b"", b"1", b"H", b"1h", b"1s", b"-1S", b"+1S", b"1.5S", b" 1S", b"1S ", b"1 S", b"1e3m", b"123456789S", b"1SS", b"0x1S", b"\xff\xffS", b"S1"]
    head = METHOD + SCHEME + PATH + TYPE
    body = grpc_message(range_request(b"witness"))
    equal({a[:2] for a in answers([(head + literal(b"grpc-timeout", t), body) for t in good])}, {("200", "0")})
    for text, got in zip(bad, answers([(head + literal(b"grpc-timeout", t), body) for t in bad])):
        equal(got[:2], ("400", "13"), text)
        equal("malformed grpc-timeout" in got[2], True, got)
    equal(answers([(head + literal(b"grpc-timeout", t), body) for t in (b"0S", b"1n", b"1u")]), [("reset", "CANCEL", "")] * 3)


@attack
def metadata_may_be_anything_but_bad_base64():
    head = METHOD + SCHEME + PATH + TYPE
    body = grpc_message(range_request(b"witness"))
    good = [(b"x-bin", b"AAEC"), (b"x-bin", b"AAE="), (b"x-bin", b"AAE"), (b"x-bin", b"AA"), (b"x-bin", b""), (b"x", b"\x80\xff"),
            (b"x", b" blanks "), (b"grpc-foo", b"x"), (b"grpc-trace-bin", b"AAA"), (b"token", b"nonsense"), (b"authorization", b"Basic x"), (b"x-", b""), (b"1", b"2"),
            (b"grpc-accept-encoding", b"identity,deflate,gzip,zstd"), (b"grpc-encoding", b"identity"), (b"user-agent", b"%s%n%p"), (b"cookie", b"a=b"), (b"te", b"trailers")]
    for name_value, got in zip(good, answers([(head + literal(*nv), body) for nv in good])):
        equal(got[:2], ("200", "0"), name_value)
    bad = [(b"x-bin", b"A"), (b"x-bin", b"AAAAA"), (b"x-bin", b"!!!!"), (b"x-bin", b"AA=A"), (b"x-bin", b"A==="), (b"x-bin", b"AA\x80A"), (b"x-bin", b"AAEC=")]
    for name_value, got in zip(bad, answers([(head + literal(*nv), body) for nv in bad])):
        equal(got[:2], ("400", "13"), name_value)
    for encoding in (b"GZIP", b"gzip,identity", b"deflate", b"zstd", b"\xff", b"x" * 5000):
        equal(answers([(head + literal(b"grpc-encoding", encoding), body)])[0][:2], ("200", "12"), encoding)
    for kind in (b"application/grpcx", b"application/json", b"text/html; application/grpc", b"", b"Application/grpc-web"):
        equal(answers([(METHOD + SCHEME + PATH + literal(b"content-type", kind), body)])[0][:2], ("415", "3"), kind)
    for kind in (b"application/grpc", b"application/grpc+proto", b"application/grpc;charset=utf-8", b"application/grpc+"):
        equal(answers([(METHOD + SCHEME + PATH + literal(b"content-type", kind), body)])[0][:2], ("200", "0"), kind)


@attack
def calls_that_say_too_much_are_answered_once():
    """More messages than one, a message and half another, an end without one, trailers instead of one."""
    one = grpc_message(range_request(b"witness"))
    head = METHOD + SCHEME + PATH + TYPE
    peer = Peer(server.port, PREFACE + settings())
    try:
        calls = [(one + one, "0"), (one + one[:3], "0"), (b"", "2"), (one[:-1], "2"), (b"\0", "2"), (one + b"\xff" * 9000, "0")]
        for number, (body, want) in enumerate(calls):
            stream = 2 * number + 1
            peer.send(frame(HEADERS, END_HEADERS, stream, head) + frame(0, END_STREAM, stream, body))
            equal(peer.ended(stream), True)
            equal(peer.fields(stream)["grpc-status"], want, body[:20])
        peer.send(frame(HEADERS, END_HEADERS, 101, head) + frame(HEADERS, END_HEADERS | END_STREAM, 101, literal(b"x", b"y")))
        equal(peer.ended(101) and peer.fields(101)["grpc-status"], "2")
        peer.send(ask(103, range_request(b"witness")))
        equal(peer.ended(103), True)
    finally:
        peer.close()


@test
def the_server_stops_cleanly_after_all_that():
    sys.stdout.flush()
    equal(server.stop() in (0, -15), True)


run()
