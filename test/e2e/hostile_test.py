"""Hostile HTTP/2 clients against the real server: floods, bombs, windows that never open, crowds.

See hostile.py for what must hold in each."""
import resource
import socket
import struct
import sys
import time

from h2raw import PREFACE, Peer, frame, literal, reset, settings, text, u32, window_update
from harness import Server, equal, run, test
from hostile import HEAD, START, ask, attack_on, connect, exchange, shout
from pbtiny import Client, put_request, range_request

CROWD = 2000
FLOOD_BYTES = 4 << 20
PING = frame(6, 0, 0, b"pingpong")
OPENED = START + frame(1, 4, 1, HEAD)

server = Server().start()
attack = attack_on(server, 48)


def flood(unit, start=START):
    return start + unit * (FLOOD_BYTES // len(unit))


def cut_off(name, data, code="ENHANCE_YOUR_CALM"):
    """The server hangs up in the middle, and says why to one who listens."""
    equal(shout(server, data), True, f"cut off: {name}")
    peer = Peer(server.port, data[:400000])
    try:
        equal((peer.goaway() or (None,))[0], code, name)
    finally:
        peer.close()


@attack
def floods_of_frames_that_cost_nothing_to_send_are_cut_off():
    for name, unit, start in (
            ("SETTINGS", settings(), START), ("SETTINGS that change the windows", settings((4, 1), (4, 2)), OPENED),
            ("answers to no PING", frame(6, 1, 0, b"pingpong"), START), ("PRIORITY", frame(2, 0, 1, b"\0\0\0\0\1"), START),
            ("PRIORITY of ever new streams", b"".join(frame(2, 0, i, b"\0\0\0\0\1") for i in range(1, 4001, 2)), START),
            ("empty DATA", frame(0, 0, 1), OPENED),             ("unknown frames", frame(0xee, 0, 0, b"x"), START), ("unknown frames of a stream", frame(0xee, 0, 1), OPENED),
            ("WINDOW_UPDATE of one byte", window_update(0, 1), START), ("WINDOW_UPDATE of a stream", window_update(1, 1), OPENED),
            ("WINDOW_UPDATE of a reset stream", window_update(1, 1), OPENED + reset(1))):
        cut_off(name, flood(unit, start))
    # grpc-go's own rule comes first for these.
    cut_off("PING", flood(PING))


@attack
def floods_of_resets_share_one_budget():
    def requests(one, count=40001):
        return START + b"".join(one(i) for i in range(1, count, 2))

    def ours(i):
        return frame(1, 4, i, HEAD) + reset(i)

    def malformed(i):
        return frame(1, 5, i, b"\x83")

    def overflow(i):
        return frame(1, 4, i, HEAD) + window_update(i, 0x7fffffff)

    def longer(i):
        return frame(1, 4, i, HEAD + literal(b"content-length", b"1")) + frame(0, 1, i, b"two")

    cut_off("resets", requests(ours))
    for name, one in (("malformed heads", malformed), ("windows that overflow", overflow), ("DATA over its length", longer)):
        cut_off("resets that the server is made to send: " + name, requests(one))
    mixed = (ours, malformed, overflow, longer)
    cut_off("all in turn", requests(lambda i: mixed[i // 2 % 4](i)))
    # Half of the burst each is too much together, and neither alone.
    both = START + b"".join(ours(i) for i in range(1, 2401, 2)) + b"".join(malformed(i) for i in range(2401, 4801, 2))
    cut_off("1200 of ours and 1200 of the server's", both)
    equal(shout(server, requests(ours, 2401), 2), False, "1200 resets are no flood")


@attack
def continuations_without_end_are_cut_off():
    opened = START + frame(1, 0, 1, HEAD)
    equal(shout(server, flood(frame(9, 0, 1), opened)), True, "empty ones")
    equal(shout(server, flood(frame(9, 0, 1, literal(b"x", b"y" * 100) * 100), opened)), True, "large ones")


@attack
def header_bombs_stay_small():
    # One large field enters the table once and is then named by one byte, a thousand times a block.
    enter = b"\x40\x01x\x7f" + b"\x81\x1e" + b"v" * (127 + 0xf01)
    bomb = START + frame(1, 5, 1, HEAD + enter)
    bomb += b"".join(frame(1, 5, i, HEAD + b"\xbe" * 15000) for i in range(3, 203, 2))
    shout(server, bomb, 3)
    table_games = [b"\x3f\xe1\xff\xff\xff\x0f", b"\x20" * 1000, b"\x3f" + b"\xff" * 20, b"\xff" * 100, b"\x80",
                   b"\x7f\xff\xff\xff\xff\xff\xff", b"\x40\x85\xff\xff\xff\xff\xff\x01x"]
    for block in table_games:
        exchange(server, START + frame(1, 5, 1, block), 2)
    many = HEAD + b"".join(literal(b"x%d" % i, b"") for i in range(1000))
    exchange(server, START + frame(1, 5, 1, many), 2)
    # The table is made small and large again in every block, and filled with fields of 4000 bytes.
    churn = b"\x20\x3f\xe1\x1f" + HEAD + b"\x40" + text(b"x") + text(b"v" * 4000)
    shout(server, START + b"".join(frame(1, 5, i, churn) for i in range(1, 2001, 2)), 3)
    # Lists over 16 KiB, each an error of its stream.
    long = frame(1, 0, 1, HEAD + literal(b"x", b"v" * 16000))[9:]
    shout(server, START + b"".join(frame(1, 0, i, long) + frame(9, 5, i, literal(b"y", b"v" * 16000)) for i in range(1, 401, 2)), 3)


@attack
def window_games_end_in_errors():
    equal(shout(server, OPENED + window_update(0, 0x7fffffff)), True, "overflow of the connection")
    shout(server, OPENED + window_update(1, 0x7fffffff) * 2, 2)
    equal(shout(server, OPENED + settings((4, 0x80000000))), True, "an impossible window")
    equal(shout(server, OPENED + window_update(0, 0)), True, "an increment of zero")
    zero = settings((4, 0))
    questions = b"".join(ask(i, range_request(b"witness")) for i in range(1, 2001, 2))
    with connect(server) as sock:
        sock.sendall(PREFACE + zero + questions)
        time.sleep(0.5)
    change = b"".join(settings((4, n)) for n in (0, 65535) * 500)
    shout(server, PREFACE + zero + questions + change, 3)


# A large reply is made while it is sent, so that a crowd of readers holds little of what it asks for,
# here 8 * 4 * 4 MiB.
@attack_on(server, 96)
def readers_that_never_read_hold_little_of_what_they_asked_for():
    client = Client(server)
    for i in range(4):
        equal(client.kv("Put", put_request(b"large %d" % i, b"v" * (1 << 20)))[0], "OK")
    wide = settings((4, 0x7fffffff)) + window_update(0, 0x7fff0000)
    data = PREFACE + wide + b"".join(ask(i, range_request(b"large", b"largf")) for i in range(1, 9, 2))
    socks = [connect(server) for _ in range(8)]
    for sock in socks:
        sock.sendall(data)
    time.sleep(1)
    for sock in socks:
        sock.close()
    equal(client.kv("Range", range_request(b"large", b"largf"))[0], "OK")
    client.close()


@attack_on(server, 320)
def a_window_that_never_opens_has_a_limit():
    """10000 times 64 KiB are asked for on one connection, and none is taken."""
    client = Client(server)
    equal(client.kv("Put", put_request(b"middle", b"v" * 65536))[0], "OK")
    client.close()
    peer = Peer(server.port, PREFACE + settings((4, 0)))
    for first in range(1, 20001, 2000):
        peer.send(b"".join(ask(i, range_request(b"middle")) for i in range(first, first + 2000, 2)))
    time.sleep(1)
    peer.close()


@attack_on(server, 320)
def requests_that_wait_for_a_window_are_answered_when_it_opens():
    """1500 at once, of which the server makes 1000, and the others as these are read."""
    last = 2999
    peer = Peer(server.port, PREFACE + settings((4, 0)))
    try:
        peer.send(b"".join(ask(i, range_request(b"middle")) for i in range(1, last + 1, 2)))
        peer.until(lambda f: f[0] == 1 and f[2] == 1)
        peer.send(settings((4, 1 << 20)) + window_update(0, 0x7fff0000 - 65535))
        equal(peer.ended(last), True)
        for i in range(1, last + 1, 2):
            equal(peer.ended(i), True)
        equal({peer.fields(i)["grpc-status"] for i in range(1, last + 1, 2)}, {"0"})
        equal(sum(len(f[3]) for f in peer.says(0)) > 1500 * 65536, True)
        # One that is reset, or late, while it waits is not run; the rest is.
        peer.send(settings((4, 0)) + b"".join(ask(i, range_request(b"middle")) for i in range(3001, 6001, 2)) +
                  reset(5999) + ask(6001, range_request(b"middle"), HEAD + literal(b"grpc-timeout", b"50m")))
        equal(peer.reset_of(6001), "CANCEL")
        peer.send(settings((4, 1 << 20)))
        equal(peer.ended(5997), True)
        equal(peer.says(1, 5999), [])
    finally:
        peer.close()


@attack
def one_who_sends_and_never_reads_is_not_read_from():
    """Its answers fill 256 KiB here and the kernel's buffers; then it is its turn."""
    questions = b"".join(ask(i, range_request(b"middle")) for i in range(1, 1001, 2))
    http1 = b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n" * 20000
    socks = []
    for start, unit in ((START + window_update(0, 0x7fff0000 - 65535) + settings((4, 0x7fffffff)), questions), (b"", http1)):
        sock = connect(server)
        socks.append(sock)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.settimeout(1)
        try:
            sock.sendall(start + unit)
            for first in range(1001, 200001, 1000):
                sock.sendall(b"".join(ask(i, range_request(b"middle")) for i in range(first, first + 1000, 2)) if start else http1)
            raise AssertionError("everything was taken")
        except socket.timeout:
            pass
        except OSError:
            pass
    for sock in socks:
        sock.close()


@attack_on(server, 256)
def a_hundred_thousand_open_streams_are_refused_or_small():
    """Calls that begin and do not end: their heads only, on one connection."""
    with connect(server, 20) as sock:
        sock.sendall(START)
        for first in range(1, 240001, 4000):
            sock.sendall(b"".join(frame(1, 4, i, HEAD) for i in range(first, first + 4000, 2)))
            sock.setblocking(False)
            try:
                sock.recv(1 << 20)
            except BlockingIOError:
                pass
            sock.settimeout(20)


@attack_on(server, 128)
def messages_that_never_end_have_a_limit():
    """64 KiB of 1 MiB on each of 4000 streams; a connection may hold 64 MiB of such."""
    part = struct.pack(">BI", 0, 1 << 20) + b"\0" * 16379
    peer = Peer(server.port)
    try:
        for i in range(1, 8001, 2):
            peer.send(frame(1, 4, i, HEAD) + frame(0, 0, i, part) + frame(0, 0, i, b"\0" * 16384) * 3)
            if peer.is_closed or any(f[0] == 1 and f[1] & 1 for f in peer.frames):
                break
            peer.sock.setblocking(False)
            try:
                got = peer.sock.recv(1 << 18)
                peer.rest += got
            except BlockingIOError:
                pass
        peer.end = time.monotonic() + 20  # sending all that may have taken its while
        refused = peer.until(lambda f: f[0] == 1 and f[1] & 1)
        equal(peer.fields(refused[2]).get("grpc-status"), "8")
        equal(peer.fields(refused[2]).get("grpc-message"), "grpc: too many unfinished messages on this connection")
    finally:
        peer.close()


@attack
def bytes_one_at_a_time_are_a_request_in_the_end():
    data = START + ask(1, range_request(b"witness"))
    slow = b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    with connect(server) as h2_sock, connect(server) as h1_sock:
        for i in range(max(len(data), len(slow))):
            h2_sock.sendall(data[i:i + 1])
            h1_sock.sendall(slow[i:i + 1])
            time.sleep(0.002)
        answer = b""
        while b"witness" not in answer:
            part = h2_sock.recv(65536)
            if not part:
                raise AssertionError(f"closed after {answer!r}")
            answer += part
        equal(h1_sock.recv(65536)[:15], b"HTTP/1.1 200 OK")


@attack
def requests_cut_in_half_are_forgotten():
    data = START + ask(1, range_request(b"witness"))
    for cut in range(1, len(data)):
        with connect(server) as sock:
            sock.sendall(data[:cut])
            if cut % 2 == 0:  # a reset instead of an end
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


@attack_on(server, 64)
def a_crowd_of_idle_and_half_open_connections_disturbs_nobody():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(max(soft, CROWD + 200), hard), hard))
    beginnings = [b"", b"P", PREFACE[:20], START, START + frame(1, 0, 1, HEAD[:3]),
                  b"GET /health HTTP/1.1\r\nHos", b"POST /health HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nab"]
    crowd = []
    for i in range(CROWD):
        crowd.append(connect(server))
        crowd[-1].sendall(beginnings[i % len(beginnings)])
    equal(server.get("/health")[0], 200)
    for sock in crowd:
        sock.close()


@test
def the_server_stops_cleanly_after_all_that():
    sys.stdout.flush()
    # As etcd does, it ends by the signal that stopped it.
    equal(server.stop() in (0, -15), True)


run()
