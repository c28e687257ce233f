"""What RFC 9113 (HTTP/2) and RFC 7541 (HPACK) oblige a server to, row by row, against the real one.

A row is a section, a title, what is said after the preface, and what must come of it:

    goaway(CODE)      an error of the connection: GOAWAY with that code, then the end
    resets(id, CODE)  an error of the stream: RST_STREAM with that code; the connection goes on
    serves(*ids)      nothing wrong: those streams are answered, and so is a new one

What RFC 9113 leaves to the receiver (a stream error may be made one of the connection, section
5.4.1) is written as the server does it. Rows that need a dialogue are functions."""
import struct
import sys

from h2raw import (ACK, CONTINUATION, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, PADDED, PING, PREFACE, PRIORITY,
                   PUSH_PROMISE, RST_STREAM, SETTINGS, WINDOW_UPDATE, WITH_PRIORITY, Peer, code_name, frame, hpack, indexing,
                   integer, literal, reset, settings, text, u32, window_update)
from harness import Server, equal, run, test
from pbtiny import Client, put_request, range_request

if hpack is None:
    print("1..0 # SKIP python3-hpack is not installed")
    sys.exit(0)

HEADER_TABLE_SIZE, ENABLE_PUSH, MAX_STREAMS, INITIAL_WINDOW, MAX_FRAME, MAX_LIST = range(1, 7)
NO_RFC7540_PRIORITIES = 9
MOST = 0x7fffffff

server = Server().start()

METHOD, SCHEME, PATH = b"\x83", b"\x86", literal(b":path", b"/etcdserverpb.KV/Range")
GRPC = literal(b"te", b"trailers") + literal(b"content-type", b"application/grpc")
HEAD = METHOD + SCHEME + PATH + GRPC
# Every field again, but of a method that answers at once whatever it is given: trailers only.
REFUSED = METHOD + SCHEME + literal(b":path", b"/no/such") + GRPC
BODY = struct.pack(">BI", 0, len(range_request(b"rfc"))) + range_request(b"rfc")
VALUE = b"v" * 40000  # more than a frame, less than a window


def headers(stream, block=HEAD, flags=END_HEADERS):
    return frame(HEADERS, flags, stream, block)


def data(stream, payload=BODY, flags=END_STREAM):
    return frame(DATA, flags, stream, payload)


def call(stream, block=HEAD):
    return headers(stream, block) + data(stream)


def last_words(stream, block=HEAD):
    return headers(stream, block, END_HEADERS | END_STREAM)


# A stream whose answer cannot leave: its request is complete, so it is half-closed (remote).
STUCK = settings((INITIAL_WINDOW, 0)) + call(1)
# One that the client has reset, and one that has had its answer (see `closed`).
GONE = headers(1) + reset(1)


# ---- what may come of it ---------------------------------------------------------------------------


def goaway(*codes):
    def check(peer):
        got = peer.goaway()
        if got is None or got[0] not in codes:
            raise AssertionError(f"wanted GOAWAY {' or '.join(codes)}, got {got}, {shown(peer)}")
        if got[0] == "" or peer.says(PING):
            return
        equal(peer.says(GOAWAY)[-1][2], 0, "GOAWAY is of the connection")
    return check


def resets(stream, *codes):
    def check(peer):
        got = peer.reset_of(stream)
        if got not in codes:
            raise AssertionError(f"wanted RST_STREAM {' or '.join(codes)} on {stream}, got {got}, {shown(peer)}")
        still_served(peer, [])
    return check


def serves(*streams):
    return lambda peer: still_served(peer, streams)


def refuses(stream, status):
    """The stream is answered with that gRPC status; nothing is wrong with the HTTP/2 of it."""
    def check(peer):
        equal(peer.ended(stream), True, shown(peer))
        equal(peer.fields(stream).get("grpc-status"), status, shown(peer))
    return check


def shown(peer):
    return [(kind, flags, stream, payload[:12]) for kind, flags, stream, payload in peer.frames]


def still_served(peer, streams):
    for stream in streams:
        equal(peer.ended(stream), True, f"stream {stream}: {shown(peer)}")
        equal(peer.fields(stream).get("grpc-status"), "0", f"stream {stream}: {shown(peer)}")
    fresh = max([f[2] for f in peer.frames] + [peer.largest]) + 1 | 1
    peer.send(settings((INITIAL_WINDOW, 65535)) + call(fresh))
    equal(peer.ended(fresh), True, f"a new stream: {shown(peer)}")
    equal(peer.fields(fresh).get("grpc-status"), "0", f"a new stream: {shown(peer)}")


NAMES = set()


def row(section, title, said, check, start=PREFACE + settings()):
    def play():
        peer = Peer(server.port, start)
        try:
            peer.largest = largest_of(said)
            if callable(said):
                said(peer)
            else:
                peer.send(said)
            check(peer)
        finally:
            peer.close()
    play.__name__ = f"{section} {title}"
    if play.__name__ in NAMES:
        raise AssertionError(f"two rows {play.__name__}")
    NAMES.add(play.__name__)
    test(play)


def largest_of(said):
    """The largest odd stream in what is said, so that a later one can be told from it."""
    largest, at = 0, 0
    if callable(said):
        return 101
    while at + 9 <= len(said):
        stream = int.from_bytes(said[at + 5:at + 9], "big") & MOST
        largest = max(largest, stream if stream % 2 == 1 and said[at + 3] == HEADERS else 0)
        at += 9 + int.from_bytes(said[at:at + 3], "big")
    return largest


# ---- RFC 9113 section 3.4: the preface -------------------------------------------------------------


def first_frames(peer):
    peer.send(call(1))
    equal(peer.ended(1), True)
    kind, flags, stream, _ = peer.frames[0]
    equal((kind, flags & ACK, stream), (SETTINGS, 0, 0), "the server's preface is SETTINGS")
    equal(len([f for f in peer.says(SETTINGS) if f[1] & ACK]), 1, "and ours is acknowledged")


def byte_by_byte(peer):
    for byte in PREFACE + settings() + call(1):
        peer.send(bytes([byte]))


row("3.4", "the first frame of the server is SETTINGS", first_frames, lambda peer: None)
row("3.4", "a preface may come byte by byte", byte_by_byte, serves(1), start=b"")
row("3.4", "a request may follow the preface at once", b"", serves(1), start=PREFACE + settings() + call(1))
row("3.4", "the SETTINGS of the client may say everything", b"", serves(1),
    start=PREFACE + settings((HEADER_TABLE_SIZE, 100), (ENABLE_PUSH, 0), (MAX_STREAMS, 0), (INITIAL_WINDOW, 70000),
                             (MAX_FRAME, 20000), (MAX_LIST, 5000)) + call(1))
row("3.4", "a preface with a wrong last byte ends the connection", b"", goaway(""), start=PREFACE[:-1] + b"X" + settings())
row("3.4", "a preface must be followed by SETTINGS", b"", goaway("PROTOCOL_ERROR"), start=PREFACE + frame(PING, 0, 0, b"p" * 8))
row("3.4", "a preface must not be followed by an acknowledgement", b"", goaway("PROTOCOL_ERROR"),
    start=PREFACE + frame(SETTINGS, ACK, 0))

# ---- 4: frames -------------------------------------------------------------------------------------

for kind in (0x0a, 0x10, 0xee, 0xff):
    row("4.1", f"a frame of the unknown type {kind:#x} is ignored",
        b"".join(frame(kind, flags, stream, b"x" * size) for flags, stream, size in
                 ((0, 0, 0), (0xff, 0, 9), (1, 0, 16384))) + call(1), serves(1))
row("4.1", "an unknown frame on an open stream is ignored", headers(1) + frame(0xee, 0xff, 1, b"x") + data(1), serves(1))
row("4.1", "undefined flags are ignored", frame(PING, 0xfe, 0, b"undefine") + call(1), serves(1))
row("4.1", "undefined flags of HEADERS and DATA are ignored", headers(1, HEAD, END_HEADERS | 0xd2) +
    data(1, BODY, END_STREAM | 0xf6), serves(1))
row("4.1", "the reserved bit is ignored", frame(PING, 0, 1 << 31, b"reserved") + headers(1 | 1 << 31) + data(1), serves(1))


def ping_of_reserved(peer):
    peer.send(frame(PING, 0xfe, 1 << 31, b"reserved"))
    one = peer.until(lambda f: f[0] == PING)
    equal(one, (PING, ACK, 0, b"reserved"), "no flag and no bit of it comes back")


row("4.1", "what is undefined is not sent back", ping_of_reserved, lambda peer: None)
FULL = struct.pack(">BI", 0, 16384 - 5) + range_request(b"k" * (16384 - 5 - 3))
row("4.2", "DATA of 16384 bytes is taken", headers(1) + data(1, FULL), serves(1))
row("4.2", "HEADERS of 16384 bytes are taken",
    frame(HEADERS, END_HEADERS | PADDED, 1, b"\xff" + HEAD + literal(b"x", b"v" * (16384 - 256 - len(HEAD) - 7)) + b"\0" * 255) + data(1),
    serves(1))
for name, said in (("DATA", headers(1) + data(1, b"\0" * 16385)), ("HEADERS", headers(1, HEAD + b"\x88" * 16400)),
                   ("CONTINUATION", headers(1, HEAD, 0) + frame(CONTINUATION, END_HEADERS, 1, b"\x88" * 16385)),
                   ("SETTINGS", settings(*[(0xf000, 1)] * 2731)), ("an unknown frame", frame(0xee, 0, 0, b"x" * 16385)),
                   ("GOAWAY", frame(GOAWAY, 0, 0, b"\0" * 16385)), ("a frame of 2^24 - 1 bytes", b"\xff\xff\xff\0\0\0\0\0\1")):
    row("4.2", f"over 16384 bytes is an error of the connection: {name}", said, goaway("FRAME_SIZE_ERROR"))
row("4.3", "a block that does not decode is an error of the connection", headers(1, HEAD + b"\x40"), goaway("COMPRESSION_ERROR"))
row("4.3", "also in CONTINUATION", headers(1, HEAD, 0) + frame(CONTINUATION, END_HEADERS, 1, b"\x80"), goaway("COMPRESSION_ERROR"))
row("4.3", "also in trailers", headers(1) + last_words(1, b"\x80"), goaway("COMPRESSION_ERROR"))
for name, between in (("PRIORITY", frame(PRIORITY, 0, 1, b"\0\0\0\0\1")), ("HEADERS of another stream", headers(3)),
                      ("DATA", data(1)), ("PING", frame(PING, 0, 0, b"between1")), ("SETTINGS", settings()),
                      ("WINDOW_UPDATE", window_update(1, 1)), ("RST_STREAM", reset(1)), ("an unknown frame", frame(0xee, 0, 1)),
                      ("CONTINUATION of another stream", frame(CONTINUATION, END_HEADERS, 3, b"\x88"))):
    row("4.3", f"nothing comes inside a block: {name}", headers(1, HEAD, 0) + between +
        frame(CONTINUATION, END_HEADERS, 1) + data(1), goaway("PROTOCOL_ERROR"))

# ---- 5.1: states of a stream -----------------------------------------------------------------------

for name, said in (("DATA", data(1)), ("RST_STREAM", reset(1)), ("WINDOW_UPDATE", window_update(1, 1)),
                   ("CONTINUATION", frame(CONTINUATION, END_HEADERS, 1, HEAD))):
    row("5.1", f"idle: {name} is an error of the connection", said, goaway("PROTOCOL_ERROR"))
row("5.1", "idle: PRIORITY is allowed", frame(PRIORITY, 0, 1, b"\0\0\0\0\1") + frame(PRIORITY, 0, 2, b"\0\0\0\0\1") + call(1),
    serves(1))
row("5.1", "half-closed (remote): WINDOW_UPDATE, PRIORITY and RST_STREAM are allowed",
    STUCK + window_update(1, 1) + frame(PRIORITY, 0, 1, b"\0\0\0\0\1") + reset(1), serves())
row("5.1", "half-closed (remote): DATA is an error", STUCK + data(1), goaway("STREAM_CLOSED"))
row("5.1", "half-closed (remote): empty DATA is an error", STUCK + data(1, b"", 0), goaway("STREAM_CLOSED"))
row("5.1", "half-closed (remote): HEADERS is an error", STUCK + last_words(1), goaway("STREAM_CLOSED"))
row("5.1", "half-closed (remote): CONTINUATION is an error", STUCK + frame(CONTINUATION, END_HEADERS, 1, HEAD), goaway("PROTOCOL_ERROR"))


def closed(*said):
    """The stream 1 has been answered and is closed when this is said."""
    def dialogue(peer):
        peer.send(call(1))
        equal(peer.ended(1), True)
        peer.send(b"".join(said))
    return dialogue


row("5.1", "closed: WINDOW_UPDATE, PRIORITY and RST_STREAM are ignored",
    closed(window_update(1, 1), frame(PRIORITY, 0, 1, b"\0\0\0\0\1"), reset(1)), serves())
row("5.1", "closed: DATA is an error", closed(data(1)), goaway("STREAM_CLOSED"))
row("5.1", "closed: HEADERS is an error", closed(headers(1)), goaway("STREAM_CLOSED"))
row("5.1", "closed: CONTINUATION is an error", closed(frame(CONTINUATION, END_HEADERS, 1, HEAD)), goaway("PROTOCOL_ERROR"))
row("5.1", "closed a while ago: DATA is an error", closed(call(3), call(5), call(7), data(3)), goaway("STREAM_CLOSED"))
row("5.1", "reset by the client: DATA is an error", GONE + data(1), goaway("STREAM_CLOSED"))
row("5.1", "reset by the client: HEADERS is an error", GONE + headers(1), goaway("STREAM_CLOSED"))
row("5.1", "reset by the client: CONTINUATION is an error", GONE + frame(CONTINUATION, END_HEADERS, 1, HEAD), goaway("PROTOCOL_ERROR"))
row("5.1", "reset by the client: PRIORITY, WINDOW_UPDATE and RST_STREAM are ignored",
    GONE + frame(PRIORITY, 0, 1, b"\0\0\0\0\1") + window_update(1, 1) + reset(1), serves())
row("5.1", "reset by the server: what is on its way is ignored", headers(1, HEAD + literal(b"X", b"y")) + data(1, b"x" * 100, 0) +
    window_update(1, 5) + data(1, b"x", END_STREAM), resets(1, "PROTOCOL_ERROR"))
row("5.1", "reset by the server: trailers on their way are ignored", headers(1, HEAD + literal(b"X", b"y")) + data(1, b"x", 0) +
    last_words(1, literal(b"x", b"y")), resets(1, "PROTOCOL_ERROR"))
row("5.1", "answered before its end: what is on its way is ignored", headers(1, REFUSED) + data(1, b"x" * 100, 0) + data(1),
    refuses(1, "12"))
row("5.1.1", "an even stream is an error", headers(2), goaway("PROTOCOL_ERROR"))
row("5.1.1", "a stream below the last one is an error", call(5) + headers(3), goaway("PROTOCOL_ERROR"))
row("5.1.1", "DATA on a stream that was passed over is an error", call(5) + data(3), goaway("PROTOCOL_ERROR", "STREAM_CLOSED"))
row("5.1.1", "streams may be passed over", call(5) + call(9) + call(8191), serves(5, 9, 8191))


def last_stream(peer):
    peer.send(call(MOST))
    equal(peer.ended(MOST), True)
    equal(peer.fields(MOST)["grpc-status"], "0")


row("5.1.1", "the last possible stream is a stream", last_stream, lambda peer: None)


def crowded_play(check):
    def play():
        small = Server(flags=["--max-concurrent-streams", "3"]).start()
        peer = Peer(small.port)
        peer.largest = 99
        try:
            check(peer)
        finally:
            peer.close()
            small.stop()
    return play


def too_many_streams(peer):
    peer.until(lambda f: f[0] == SETTINGS and f[1] == 0)
    said = dict(struct.iter_unpack(">HI", peer.says(SETTINGS)[0][3]))
    equal(said.get(MAX_STREAMS), 3)
    peer.send(b"".join(headers(i) for i in (1, 3, 5, 7)))
    equal(peer.reset_of(7), "REFUSED_STREAM", shown(peer))
    peer.send(b"".join(data(i) for i in (1, 3, 5)))
    still_served(peer, [1, 3, 5])


def too_many_streams_known(peer):
    peer.send(frame(SETTINGS, ACK, 0) + b"".join(headers(i) for i in (1, 3, 5, 7)))
    goaway("PROTOCOL_ERROR")(peer)


crowded = crowded_play(too_many_streams)
crowded.__name__ = "5.1.2 a stream over SETTINGS_MAX_CONCURRENT_STREAMS is refused, and the others go on"
test(crowded)
crowded_known = crowded_play(too_many_streams_known)
crowded_known.__name__ = "5.1.2 so is one after the limit was acknowledged"
test(crowded_known)

# ---- 5.2 to 5.5 ------------------------------------------------------------------------------------

row("5.3", "a stream that depends on itself: HEADERS",
    frame(HEADERS, END_HEADERS | WITH_PRIORITY, 1, b"\0\0\0\1\x10" + HEAD) + data(1), goaway("PROTOCOL_ERROR"))
row("5.3", "a stream that depends on itself: PRIORITY", headers(1) + frame(PRIORITY, 0, 1, b"\0\0\0\1\x10") + data(1),
    goaway("PROTOCOL_ERROR"))
row("5.3", "priorities of all kinds are taken",
    b"".join(frame(PRIORITY, 0, i, u32(on) + bytes([weight])) for i, on, weight in
             ((1, 0, 0), (3, 1, 255), (5, 1 | 1 << 31, 16), (7, 99, 1), (9, 1 << 31, 9))) +
    frame(HEADERS, END_HEADERS | WITH_PRIORITY, 11, u32(1 << 31 | 3) + b"\x05" + HEAD) + data(11), serves(11))


def goaway_is_last(peer):
    peer.send(call(1) + frame(PING, 0, 1, b"on one.."))
    goaway("PROTOCOL_ERROR")(peer)
    equal(int.from_bytes(peer.says(GOAWAY)[-1][3][:4], "big"), 1, "the last stream that was taken")


row("5.4.1", "an error ends the connection, and names the last stream taken", goaway_is_last, lambda peer: None)
row("5.4.2", "an error of a stream leaves the others alone", headers(1) + headers(3, HEAD + literal(b"X", b"y")) + data(1), serves(1))
row("5.4.2", "a reset is not answered with a reset", GONE + call(3), lambda peer: (serves(3)(peer), equal(peer.says(RST_STREAM, 1), [])))
row("5.5", "unknown settings are ignored", settings((0xf000, 1), (0, 7)) + call(1), serves(1))

# ---- 6.1 DATA ... 6.4 RST_STREAM -------------------------------------------------------------------

row("6.1", "DATA of stream 0 is an error", data(0), goaway("PROTOCOL_ERROR"))
row("6.1", "DATA may be padded", headers(1) + frame(DATA, END_STREAM | PADDED, 1, b"\x05" + BODY + b"\0" * 5), serves(1))
row("6.1", "DATA may be padding only", headers(1) + frame(DATA, PADDED, 1, b"\x05" + b"\0" * 5) + frame(DATA, PADDED, 1, b"\0") + data(1),
    serves(1))
row("6.1", "padding as long as the payload is an error", headers(1) + frame(DATA, PADDED, 1, b"\x07" + b"\0" * 6), goaway("PROTOCOL_ERROR"))
row("6.1", "padding longer than the payload is an error", headers(1) + frame(DATA, PADDED, 1, b"\xff" + b"\0" * 6), goaway("PROTOCOL_ERROR"))
row("6.1", "a padded frame without a length is an error", headers(1) + frame(DATA, PADDED, 1), goaway("FRAME_SIZE_ERROR", "PROTOCOL_ERROR"))
row("6.1", "DATA may come in pieces and empty", headers(1) + b"".join(data(1, BODY[i:i + 1], 0) + data(1, b"", 0) for i in range(len(BODY))) +
    data(1, b""), serves(1))


def padding_counts(peer):
    """More padding than the connection's window: it must be given back like any other byte."""
    peer.send(headers(1))
    peer.acks, taken = 1, 0
    while taken < (6 << 20):
        for _ in range(64):
            peer.send(frame(DATA, PADDED, 1, b"\xff" + b"\0" * 255))
            taken += 256
        peer.acks += 1
        peer.send(settings())
        peer.until(lambda f: len(peer.says(SETTINGS)) > peer.acks)
    for stream in (0, 1):
        given = sum(int.from_bytes(f[3], "big") for f in peer.says(WINDOW_UPDATE, stream))
        equal(given > (1 << 20), True, f"window of stream {stream}: {given}")
    peer.send(data(1))


row("6.1", "padding is given back to the windows", padding_counts, serves(1))
row("6.2", "HEADERS of stream 0 are an error", headers(0), goaway("PROTOCOL_ERROR"))
row("6.2", "HEADERS may be padded", frame(HEADERS, END_HEADERS | PADDED, 1, b"\x03" + HEAD + b"\0" * 3) + data(1), serves(1))
row("6.2", "HEADERS may be padded and have a priority",
    frame(HEADERS, END_HEADERS | PADDED | WITH_PRIORITY, 1, b"\x03" + b"\0\0\0\0\x10" + HEAD + b"\0" * 3) + data(1), serves(1))
row("6.2", "padding longer than the block is an error", frame(HEADERS, END_HEADERS | PADDED, 1, bytes([len(HEAD) + 1]) + HEAD),
    goaway("PROTOCOL_ERROR"))
row("6.2", "padding that leaves no room for the priority is an error",
    frame(HEADERS, END_HEADERS | PADDED | WITH_PRIORITY, 1, b"\x09" + b"\0" * 9), goaway("PROTOCOL_ERROR", "FRAME_SIZE_ERROR"))
row("6.2", "a priority that is cut short is an error", frame(HEADERS, END_HEADERS | WITH_PRIORITY, 1, b"\0\0\0\0"), goaway("FRAME_SIZE_ERROR"))
row("6.2", "an empty block lacks everything", headers(1, b""), resets(1, "PROTOCOL_ERROR"))
row("6.2", "HEADERS may end the stream: the message is missing", last_words(1), refuses(1, "2"))
row("6.3", "PRIORITY of stream 0 is an error", frame(PRIORITY, 0, 0, b"\0\0\0\0\1"), goaway("PROTOCOL_ERROR"))
for size in (0, 4, 6):
    row("6.3", f"PRIORITY of {size} bytes is an error", headers(1) + frame(PRIORITY, 0, 1, b"\0" * size), goaway("FRAME_SIZE_ERROR"))
row("6.4", "RST_STREAM of stream 0 is an error", reset(0), goaway("PROTOCOL_ERROR"))
row("6.4", "RST_STREAM of an idle stream of ours is an error", reset(2), goaway("PROTOCOL_ERROR"))
for size in (0, 3, 5):
    row("6.4", f"RST_STREAM of {size} bytes is an error", headers(1) + frame(RST_STREAM, 0, 1, b"\0" * size), goaway("FRAME_SIZE_ERROR"))

# ---- 6.5 SETTINGS ----------------------------------------------------------------------------------

row("6.5", "an acknowledgement with a payload is an error", frame(SETTINGS, ACK, 0, b"\0\2\0\0\0\0"), goaway("FRAME_SIZE_ERROR"))
row("6.5", "SETTINGS of a stream are an error", headers(1) + frame(SETTINGS, 0, 1), goaway("PROTOCOL_ERROR"))
for size in (1, 5, 7):
    row("6.5", f"SETTINGS of {size} bytes are an error", frame(SETTINGS, 0, 0, b"\0" * size), goaway("FRAME_SIZE_ERROR"))
for name, pair, code in (("ENABLE_PUSH of 2", (ENABLE_PUSH, 2), "PROTOCOL_ERROR"),
                         ("INITIAL_WINDOW_SIZE of 2^31", (INITIAL_WINDOW, 1 << 31), "FLOW_CONTROL_ERROR"),
                         ("INITIAL_WINDOW_SIZE of 2^32 - 1", (INITIAL_WINDOW, (1 << 32) - 1), "FLOW_CONTROL_ERROR"),
                         ("MAX_FRAME_SIZE of 16383", (MAX_FRAME, 16383), "PROTOCOL_ERROR"),
                         ("MAX_FRAME_SIZE of 2^24", (MAX_FRAME, 1 << 24), "PROTOCOL_ERROR"),
                         ("NO_RFC7540_PRIORITIES of 2", (NO_RFC7540_PRIORITIES, 2), "PROTOCOL_ERROR")):
    row("6.5.2", f"out of bounds: {name}", settings(pair), goaway(code))
for name, pair in (("ENABLE_PUSH of 1", (ENABLE_PUSH, 1)), ("INITIAL_WINDOW_SIZE of 2^31 - 1", (INITIAL_WINDOW, MOST)),
                   ("MAX_FRAME_SIZE of 16384", (MAX_FRAME, 16384)), ("MAX_FRAME_SIZE of 2^24 - 1", (MAX_FRAME, (1 << 24) - 1)),
                   ("HEADER_TABLE_SIZE of 0", (HEADER_TABLE_SIZE, 0)), ("HEADER_TABLE_SIZE of 2^32 - 1", (HEADER_TABLE_SIZE, (1 << 32) - 1)),
                   ("MAX_CONCURRENT_STREAMS of 0", (MAX_STREAMS, 0))):
    row("6.5.2", f"within bounds: {name}", settings(pair) + call(1), serves(1))


def in_order(peer):
    peer.send(settings((INITIAL_WINDOW, 100), (INITIAL_WINDOW, 1)) + call(1) + frame(PING, 0, 0, b"in order"))
    peer.until(lambda f: f[0] == DATA)
    equal([len(f[3]) for f in peer.says(DATA)], [1], "the last value of two holds")


def acknowledged(peer):
    peer.send(settings() * 5 + frame(PING, 0, 0, b"all five"))
    peer.until(lambda f: f[0] == PING)
    peer.send(frame(PING, 0, 0, b"and more"))
    peer.until(lambda f: f[0] == PING and f[3] == b"and more")
    equal([(f[1], f[3]) for f in peer.says(SETTINGS)[1:]], [(ACK, b"")] * 6, "one for each, and one for the preface's")


row("6.5.3", "the values of a frame are taken in order", in_order, lambda peer: None)
row("6.5.3", "every SETTINGS is acknowledged", acknowledged, serves())

# ---- 6.6 PUSH_PROMISE ... 6.8 GOAWAY ---------------------------------------------------------------

row("6.6", "PUSH_PROMISE of a client is an error", headers(1) + frame(PUSH_PROMISE, END_HEADERS, 1, u32(2) + HEAD), goaway("PROTOCOL_ERROR"))
row("6.6", "also on stream 0", frame(PUSH_PROMISE, END_HEADERS, 0, u32(2) + HEAD), goaway("PROTOCOL_ERROR"))
row("6.6", "also on an idle stream", frame(PUSH_PROMISE, END_HEADERS, 1, u32(2) + HEAD), goaway("PROTOCOL_ERROR"))


def pong(peer):
    peer.send(frame(PING, 0, 0, b"12345678"))
    equal(peer.until(lambda f: f[0] == PING), (PING, ACK, 0, b"12345678"))


def no_pong(peer):
    peer.send(frame(PING, ACK, 0, b"answered") + frame(PING, 0, 0, b"question"))
    equal(peer.until(lambda f: f[0] == PING), (PING, ACK, 0, b"question"))


row("6.7", "PING comes back with its bytes", pong, serves())
row("6.7", "an answer is not answered", no_pong, serves())
row("6.7", "PING of a stream is an error", headers(1) + frame(PING, 0, 1, b"12345678"), goaway("PROTOCOL_ERROR"))
for size in (0, 7, 9):
    row("6.7", f"PING of {size} bytes is an error", frame(PING, 0, 0, b"\0" * size), goaway("FRAME_SIZE_ERROR"))
row("6.8", "GOAWAY of a stream is an error", headers(1) + frame(GOAWAY, 0, 1, b"\0" * 8), goaway("PROTOCOL_ERROR"))
row("6.8", "GOAWAY of 7 bytes is an error", frame(GOAWAY, 0, 0, b"\0" * 7), goaway("FRAME_SIZE_ERROR"))


def leaving(peer):
    peer.send(headers(1) + frame(GOAWAY, 0, 0, u32(0) + u32(0) + b"so long") + data(1))
    equal(peer.ended(1), True, shown(peer))
    equal(peer.fields(1)["grpc-status"], "0")


row("6.8", "a client that leaves still gets its answers", leaving, lambda peer: None)

# ---- 6.9 flow control ------------------------------------------------------------------------------

row("6.9", "an increment of 0 on the connection is an error", window_update(0, 0), goaway("PROTOCOL_ERROR"))
row("6.9", "an increment of 0 on a stream is an error", headers(1) + window_update(1, 0), goaway("PROTOCOL_ERROR"))
row("6.9", "the reserved bit of an increment is ignored", frame(WINDOW_UPDATE, 0, 0, u32(1 << 31 | 5)) + call(1), serves(1))
for size in (0, 3, 5):
    row("6.9", f"WINDOW_UPDATE of {size} bytes is an error", frame(WINDOW_UPDATE, 0, 0, b"\0" * size), goaway("FRAME_SIZE_ERROR"))
row("6.9.1", "a window of the connection over 2^31 - 1 is an error", window_update(0, MOST), goaway("FLOW_CONTROL_ERROR"))
row("6.9.1", "reached in steps as well", window_update(0, 1 << 30) + window_update(0, 1 << 30), goaway("FLOW_CONTROL_ERROR"))
row("6.9.1", "a window of 2^31 - 1 is none", window_update(0, MOST - 65535) + call(1), serves(1))
row("6.9.1", "a window of a stream over 2^31 - 1 is an error of the stream", headers(1) + window_update(1, MOST),
    resets(1, "FLOW_CONTROL_ERROR"))
row("6.9.2", "a change that takes a stream over 2^31 - 1 is an error",
    headers(1) + window_update(1, MOST - 65535) + settings((INITIAL_WINDOW, 65536)), goaway("FLOW_CONTROL_ERROR"))


def put_large(peer):
    client = Client(server)
    equal(client.kv("Put", put_request(b"rfc large", VALUE))[0], "OK")
    client.close()
    ask = range_request(b"rfc large")
    return headers(1) + data(1, struct.pack(">BI", 0, len(ask)) + ask)


def quiet(peer, payload):
    """Everything that can leave now has come."""
    peer.send(frame(PING, 0, 0, payload))
    equal(peer.until(lambda f: f[0] == PING and f[3] == payload) is not None, True)
    peer.send(frame(PING, 0, 0, payload[::-1]))
    equal(peer.until(lambda f: f[0] == PING and f[3] == payload[::-1]) is not None, True)


def body_len(peer):
    return len(peer.body(1))


def window_of_one(peer):
    peer.send(settings((INITIAL_WINDOW, 1)) + put_large(peer))
    peer.until(lambda f: f[0] == DATA)
    quiet(peer, b"one byte")
    equal(body_len(peer), 1)
    for size in (1, 2, 3):
        before = body_len(peer)
        peer.send(window_update(1, size))
        peer.until(lambda f: body_len(peer) >= before + size)
        equal(body_len(peer), before + size)
    peer.send(window_update(1, 1 << 20))


def window_taken_back(peer):
    """The window of an open stream may become negative; nothing may be sent until it is not."""
    peer.send(settings((INITIAL_WINDOW, 20000)) + put_large(peer))
    peer.until(lambda f: body_len(peer) == 20000)
    peer.send(settings((INITIAL_WINDOW, 10000)) + window_update(1, 10000))
    quiet(peer, b"negative")
    equal(body_len(peer), 20000)
    peer.send(window_update(1, 7))
    peer.until(lambda f: body_len(peer) > 20000)
    equal(body_len(peer), 20007)
    peer.send(settings((INITIAL_WINDOW, 1 << 20)))


def window_of_the_connection(peer):
    """65535 bytes for all streams together: the second has to wait, headers do not."""
    peer.send(settings((INITIAL_WINDOW, 1 << 20)) + put_large(peer))
    equal(peer.ended(1), True)
    ask = range_request(b"rfc large")
    peer.send(headers(5) + data(5, struct.pack(">BI", 0, len(ask)) + ask))
    peer.until(lambda f: f[0] == HEADERS and f[2] == 5)
    quiet(peer, b"no room.")
    equal(sum(len(f[3]) for f in peer.says(DATA)), 65535)
    peer.send(window_update(0, 1 << 20))
    equal(peer.ended(5), True)


row("6.9.1", "a window of one byte is kept", window_of_one, serves(1))
row("6.9.1", "the window of the connection is kept", window_of_the_connection, serves(1, 5))
row("6.9.2", "a changed initial window changes open streams", window_taken_back, serves(1))


def frames_of_our_size(peer):
    peer.send(settings((INITIAL_WINDOW, 1 << 20)) + window_update(0, 1 << 20) + put_large(peer))
    equal(peer.ended(1), True)
    equal(max(len(f[3]) for f in peer.frames) <= 16384, True)


row("4.2", "the server's frames are within 16384 bytes", frames_of_our_size, serves(1))

# ---- 6.10 CONTINUATION -----------------------------------------------------------------------------

row("6.10", "a block may come in several CONTINUATION frames", headers(1, HEAD[:5], 0) + frame(CONTINUATION, 0, 1, HEAD[5:9]) +
    frame(CONTINUATION, 0, 1) + frame(CONTINUATION, END_HEADERS, 1, HEAD[9:]) + data(1), serves(1))
row("6.10", "END_STREAM of the HEADERS holds behind CONTINUATION", headers(1, HEAD[:5], END_STREAM) +
    frame(CONTINUATION, END_HEADERS, 1, HEAD[5:]), refuses(1, "2"))
row("6.10", "trailers may be continued", headers(1) + data(1, BODY, 0) + headers(1, literal(b"x", b"y")[:3], END_STREAM) +
    frame(CONTINUATION, END_HEADERS, 1, literal(b"x", b"y")[3:]), serves(1))
row("6.10", "CONTINUATION of stream 0 is an error", headers(1, HEAD, 0) + frame(CONTINUATION, END_HEADERS, 0), goaway("PROTOCOL_ERROR"))
row("6.10", "CONTINUATION behind a whole block is an error", headers(1) + frame(CONTINUATION, END_HEADERS, 1, HEAD), goaway("PROTOCOL_ERROR"))
row("6.10", "also behind a whole CONTINUATION", headers(1, HEAD, 0) + frame(CONTINUATION, END_HEADERS, 1) * 2, goaway("PROTOCOL_ERROR"))
row("6.10", "also behind DATA", headers(1) + data(1, BODY, 0) + frame(CONTINUATION, END_HEADERS, 1, HEAD), goaway("PROTOCOL_ERROR"))

# ---- 7 error codes ---------------------------------------------------------------------------------

row("7", "an unknown code of RST_STREAM is no error", headers(1) + reset(1, 0xffffffff), serves())


def unknown_goaway(peer):
    peer.send(call(1) + frame(GOAWAY, 0, 0, u32(0) + u32(0xfffffff0)))
    equal(peer.ended(1), True)


row("7", "an unknown code of GOAWAY is no error", unknown_goaway, lambda peer: None)

# ---- 8.1 messages ----------------------------------------------------------------------------------

PROTOCOL = ("PROTOCOL_ERROR",)
row("8.1", "trailers end a request", headers(1) + data(1, BODY, 0) + last_words(1, literal(b"x", b"y")), serves(1))
row("8.1", "a second block without END_STREAM is malformed", headers(1) + data(1, BODY[:3], 0) + headers(1, literal(b"x", b"y")),
    resets(1, *PROTOCOL))
row("8.1", "a second block at once, without END_STREAM, is malformed", headers(1) + headers(1, literal(b"x", b"y")), resets(1, *PROTOCOL))


def early(peer):
    """RFC 9113 section 8.1: an answer may be complete before the request; then NO_ERROR."""
    peer.send(headers(1, REFUSED))
    equal(peer.ended(1), True)
    equal(peer.until(lambda f: f[0] == RST_STREAM)[2:], (1, u32(0)))


row("8.1", "an early answer is followed by NO_ERROR", early, serves())
for name, length, said in (("no DATA", b"1", [b""]), ("less DATA", b"%d" % (len(BODY) + 1), [BODY]), ("more DATA", b"%d" % (len(BODY) - 1), [BODY]),
                           ("less DATA in pieces", b"%d" % (len(BODY) + 1), [BODY[:3], BODY[3:]]),
                           ("more DATA in pieces", b"%d" % (len(BODY) - 1), [BODY[:3], BODY[3:]]), ("more than none", b"0", [BODY])):
    row("8.1.1", f"content-length and {name}",
        headers(1, HEAD + literal(b"content-length", length)) + b"".join(data(1, p, 0) for p in said[:-1]) + data(1, said[-1]),
        resets(1, *PROTOCOL))
row("8.1.1", "content-length above zero and END_STREAM", last_words(1, HEAD + literal(b"content-length", b"3")), resets(1, *PROTOCOL))
row("8.1.1", "content-length and trailers too early",
    headers(1, HEAD + literal(b"content-length", b"99")) + data(1, BODY, 0) + last_words(1, literal(b"x", b"y")), resets(1, *PROTOCOL))
row("8.1.1", "content-length that is right, in pieces and padded", headers(1, HEAD + literal(b"content-length", b"%d" % len(BODY))) +
    data(1, BODY[:3], 0) + frame(DATA, END_STREAM | PADDED, 1, b"\x09" + BODY[3:] + b"\0" * 9), serves(1))
for value in (b"", b"-1", b"+5", b"0x5", b"5, 5", b"99999999999999999999"):
    row("8.1.1", f"content-length of {value.decode()!r}", headers(1, HEAD + literal(b"content-length", value)), resets(1, *PROTOCOL))
row("8.1.1", "content-length twice", headers(1, HEAD + literal(b"content-length", b"9") * 2), resets(1, *PROTOCOL))

# ---- 8.2 fields ------------------------------------------------------------------------------------

for name in (b"X", b"x-Y", b"", b"a b", b"a\0", b"a:b", b"a\x7f", b"a\xff", b"a\n", b"\xe4", b"a,b", b"a(b"):
    row("8.2.1", f"the name {name!r}", headers(1, HEAD + literal(name, b"v")), resets(1, *PROTOCOL))
for value in (b"a\0b", b"a\rb", b"a\nb", b"\0", b"\x7f", b"\x01"):
    row("8.2.1", f"the value {value!r}", headers(1, HEAD + literal(b"x", value)), resets(1, *PROTOCOL))
for value in (b"", b"a b", b"\x80\xff", b"a\tb", b"v" * 8000):
    row("8.2.1", f"the value {value[:8]!r} of {len(value)} bytes is fine", call(1, HEAD + literal(b"x", value)), serves(1))
row("8.2.1", "a malformed trailer", headers(1) + data(1, BODY[:3], 0) + last_words(1, literal(b"X", b"y")), resets(1, *PROTOCOL))
for name, value in ((b"connection", b"keep-alive"), (b"keep-alive", b"1"), (b"proxy-connection", b"keep-alive"),
                    (b"transfer-encoding", b"chunked"), (b"upgrade", b"h2c"), (b"te", b"gzip"), (b"te", b"trailers, gzip"), (b"te", b"")):
    row("8.2.2", f"{name.decode()}: {value.decode()}", headers(1, HEAD + literal(name, value)), resets(1, *PROTOCOL))
row("8.2.2", "te: trailers is fine", call(1, METHOD + SCHEME + PATH + GRPC), serves(1))
row("8.2.3", "crumbs of a cookie are fine", call(1, HEAD + literal(b"cookie", b"a=b") + literal(b"cookie", b"c=d")), serves(1))

# ---- 8.3 pseudo-fields -----------------------------------------------------------------------------

for name, value in ((b":nope", b"x"), (b":", b"x"), (b":status", b"200"), (b":protocol", b"websocket"), (b":Path", b"/")):
    row("8.3", f"the pseudo-field {name.decode()}", headers(1, METHOD + SCHEME + PATH + literal(name, value) + GRPC), resets(1, *PROTOCOL))
row("8.3", "a pseudo-field behind a field", headers(1, METHOD + SCHEME + GRPC + PATH), resets(1, *PROTOCOL))
row("8.3", "a pseudo-field in trailers", headers(1) + data(1, BODY[:3], 0) + last_words(1, METHOD), resets(1, *PROTOCOL))
for name, block in ((":method", SCHEME + PATH), (":scheme", METHOD + PATH), (":path", METHOD + SCHEME)):
    row("8.3.1", f"without {name}", headers(1, block + GRPC), resets(1, *PROTOCOL))
for name, field in ((":method", METHOD), (":scheme", SCHEME), (":path", PATH), (":authority", literal(b":authority", b"a"))):
    row("8.3.1", f"{name} twice", headers(1, METHOD + SCHEME + PATH + literal(b":authority", b"a") + field + GRPC), resets(1, *PROTOCOL))
row("8.3.1", "an empty :path", headers(1, METHOD + SCHEME + literal(b":path", b"") + GRPC), resets(1, *PROTOCOL))
row("8.3.1", "an empty :method", headers(1, literal(b":method", b"") + SCHEME + PATH + GRPC), resets(1, *PROTOCOL))
row("8.3.1", "a :method that is none", headers(1, literal(b":method", b"P T") + SCHEME + PATH + GRPC), resets(1, *PROTOCOL))
row("8.3.1", "an empty :scheme", headers(1, METHOD + literal(b":scheme", b"") + PATH + GRPC), resets(1, *PROTOCOL))
row("8.3.1", "a :path with a blank", headers(1, METHOD + SCHEME + literal(b":path", b"/a b") + GRPC), resets(1, *PROTOCOL))
row("8.3.1", "any :scheme and any :authority are fine", call(1, METHOD + literal(b":scheme", b"h2+x") + PATH +
                                                             literal(b":authority", b"[::1]:99") + GRPC), serves(1))
row("8.5", "CONNECT with :scheme and :path is refused", last_words(1, literal(b":method", b"CONNECT") + SCHEME + PATH + GRPC),
    lambda peer: equal(peer.ended(1) and peer.fields(1)[":status"] in ("405", "501"), True, shown(peer)))
row("8.5", "CONNECT is refused", last_words(1, literal(b":method", b"CONNECT") + literal(b":authority", b"a:1")), resets(1, *PROTOCOL))

# ---- RFC 7541 --------------------------------------------------------------------------------------

COMPRESSION = goaway("COMPRESSION_ERROR")
row("HPACK 2.3.3", "an index behind the tables", headers(1, HEAD + b"\xbe"), COMPRESSION)
row("HPACK 2.3.3", "a name's index behind the tables", headers(1, HEAD + b"\x7e" + text(b"v")), COMPRESSION)
row("HPACK 2.3.3", "the same without indexing", headers(1, HEAD + b"\x0f\x2f" + text(b"v")), COMPRESSION)
row("HPACK 2.3.3", "the same never indexed", headers(1, HEAD + b"\x1f\x2f" + text(b"v")), COMPRESSION)
row("HPACK 2.3.3", "an index that was, and is no more", headers(1, HEAD + indexing(b"a", b"1")) + data(1) + headers(3, b"\x20" + HEAD + b"\xbe"),
    COMPRESSION)
row("HPACK 2.2", "the dynamic table is of the connection", headers(1, HEAD + indexing(b"a", b"1") + indexing(b"b", b"2")) + data(1) +
    headers(3, HEAD + b"\xbe\xbf\xbe") + data(3), serves(1, 3))
row("HPACK 2.2", "also when the block's stream is malformed", headers(1, HEAD + literal(b"X", b"y") + indexing(b"a", b"1")) +
    call(3, HEAD + b"\xbe"), serves(3))
row("HPACK 2.2", "also when the block's list is too long",
    headers(1, HEAD + literal(b"x", b"v" * 16000) * 1, 0) +
    frame(CONTINUATION, END_HEADERS, 1, literal(b"y", b"v" * 2000) + indexing(b"a", b"1")) + call(3, HEAD + b"\xbe"), serves(3))
row("HPACK 2.2", "also in trailers", headers(1) + data(1, BODY, 0) + last_words(1, indexing(b"a", b"1")) + call(3, HEAD + b"\xbe"), serves(1, 3))
row("HPACK 4.2", "a size update at the end of a block", headers(1, HEAD + b"\x3e"), COMPRESSION)
row("HPACK 4.2", "a size update between fields", headers(1, METHOD + b"\x20" + HEAD[1:]), COMPRESSION)
row("HPACK 4.2", "two size updates at the beginning are fine", call(1, b"\x20\x3f\xe1\x1f" + HEAD), serves(1))
row("HPACK 4.2", "a size update up to the maximum is fine", call(1, b"\x3f\xe1\x1f" + HEAD), serves(1))
row("HPACK 4.4", "a field larger than the table empties it", headers(1, HEAD + indexing(b"a", b"1")) + data(1) +
    headers(3, HEAD + indexing(b"x", b"v" * 5000) + b"\xbe"), COMPRESSION)
row("HPACK 4.4", "old fields make room for new ones", call(1, HEAD + b"".join(indexing(b"n%02d" % i, b"v" * 165) for i in range(30))) +
    headers(3, HEAD + integer(62 + 19, 7, 0x80)) + data(3), serves(1, 3))
row("HPACK 4.4", "and are gone", call(1, HEAD + b"".join(indexing(b"n%02d" % i, b"v" * 165) for i in range(30))) +
    headers(3, HEAD + integer(62 + 20, 7, 0x80)), COMPRESSION)
for name, block in (("an index", b"\xff\xff\xff\xff\xff\xff\xff"), ("a name's index", b"\x7f\xff\xff\xff\xff\xff\xff"),
                    ("a length", b"\x40\x7f\xff\xff\xff\xff\xff\xff"), ("a table size", b"\x3f\xff\xff\xff\xff\xff\xff")):
    row("HPACK 5.1", f"an integer without end: {name}", headers(1, (b"" if block[0] == 0x3f else HEAD) + block + b"\x01"), COMPRESSION)
row("HPACK 5.1", "an integer that is cut", headers(1, HEAD + b"\xff\x80"), COMPRESSION)
row("HPACK 5.2", "a string longer than its block", headers(1, HEAD + b"\0\x01x\x05vvvv"), COMPRESSION)
row("HPACK 5.2", "a length without a string", headers(1, HEAD + b"\0\x01x"), COMPRESSION)
row("HPACK 5.2", "Huffman: a value", call(1, HEAD + b"\0\x01x\x83\x1c\x64\x5f"), serves(1))  # aaa... padded with ones
row("HPACK 5.2", "Huffman: padding of eight bits", headers(1, HEAD + b"\0\x01x\x82\x1f\xff"), COMPRESSION)
row("HPACK 5.2", "Huffman: padding of zeros", headers(1, HEAD + b"\0\x01x\x81\x18"), COMPRESSION)
row("HPACK 5.2", "Huffman: the end symbol", headers(1, HEAD + b"\0\x01x\x84\xff\xff\xff\xff"), COMPRESSION)
row("HPACK 5.2", "Huffman: the end symbol in the middle", headers(1, HEAD + b"\0\x01x\x85\x1f\xff\xff\xff\xff"), COMPRESSION)
row("HPACK 5.2", "Huffman: in a name", headers(1, HEAD + b"\0\x82\x1f\xff\x01v"), COMPRESSION)
row("HPACK 6.1", "the index 0", headers(1, HEAD + b"\x80"), COMPRESSION)
row("HPACK 6.1", "indexed fields of the static table are fine", call(1, METHOD + SCHEME + PATH + GRPC + b"\x90"), serves(1))
for name, first in (("with indexing", b"\x40"), ("without indexing", b"\0"), ("never indexed", b"\x10")):
    row("HPACK 6.2", f"literal {name}, a new name", call(1, HEAD + first + text(b"name") + text(b"value")), serves(1))
for name, first in (("with indexing", b"\x7a"), ("without indexing", b"\x0f\x2b"), ("never indexed", b"\x1f\x2b")):
    row("HPACK 6.2", f"literal {name}, a known name", call(1, HEAD + first + text(b"agent")), serves(1))
row("HPACK 6.3", "a table size over the setting", headers(1, b"\x3f\xe2\x1f" + HEAD), COMPRESSION)


def small_table(peer):
    """With a table of 0 the server must not use one, and must say so in its next block."""
    peer.decoder.max_allowed_table_size = 0
    peer.send(settings((HEADER_TABLE_SIZE, 0)) + call(1) + call(3))
    equal(peer.ended(3), True)
    equal(len(peer.decoder.header_table.dynamic_entries), 0)


row("HPACK 4.2", "the server keeps to the client's table size", small_table, serves(1, 3))


@test
def the_server_is_up_and_stops_cleanly():
    equal(server.process.poll(), None)
    equal(server.stop() in (0, -15), True)


run()
