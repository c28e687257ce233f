"""Hostile clients against the real server: floods, bombs, slow ones, smugglers, crowds.

While each attack runs another client writes and reads what it wrote; every answer must be right.
Its slowest call is printed, not judged: the machine may be busy. The server's peak memory is."""
import resource
import socket
import struct
import sys
import threading
import time

from harness import Server, equal, run, test
from pbtiny import Client, parse, put_request, range_request

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
RSS_MAX_MIB = 256
CROWD = 2000
FLOOD_BYTES = 4 << 20

server = Server().start()


def frame(kind, flags, stream, payload=b""):
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


SETTINGS = frame(4, 0, 0)
PING = frame(6, 0, 0, b"pingpong")


def literal(name, value):
    """A header field that is not indexed; lengths below 127."""
    return bytes([0, len(name)]) + name + bytes([len(value)]) + value


HEAD = b"\x83\x86" + literal(b":path", b"/etcdserverpb.KV/Range") + literal(b"te", b"trailers") + \
    literal(b"content-type", b"application/grpc")


def grpc_message(data):
    return struct.pack(">BI", 0, len(data)) + data


def connect(timeout=5):
    sock = socket.create_connection(("127.0.0.1", server.port), timeout=timeout)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


def shout(data, seconds=5):
    """Sends without regard for answers, which are thrown away; True when the server hung up."""
    end = time.monotonic() + seconds
    closed = False
    with connect() as sock:
        sock.setblocking(False)
        view = memoryview(data)
        while len(view) > 0 and not closed and time.monotonic() < end:
            idle = True
            try:
                view = view[sock.send(view[:65536]):]
                idle = False
            except BlockingIOError:
                pass
            except OSError:
                return True
            try:
                closed = sock.recv(1 << 20) == b""
                idle = False
            except BlockingIOError:
                pass
            except OSError:
                return True
            if idle:
                time.sleep(0.001)
        sock.settimeout(0.5)
        try:
            while not closed and time.monotonic() < end:
                closed = sock.recv(1 << 20) == b""
        except socket.timeout:
            pass
        except OSError:
            closed = True
    return closed


def exchange(data, seconds=3):
    """What comes back until the server closes or is silent."""
    out = b""
    with connect(seconds) as sock:
        try:
            sock.sendall(data)
            sock.shutdown(socket.SHUT_WR)
            while len(out) < 1 << 20:
                part = sock.recv(65536)
                if not part:
                    break
                out += part
        except OSError:
            pass
    return out


class Witness:
    """The innocent client: it writes, reads, and remembers what went wrong and how long it took."""

    def __init__(self):
        self.done = threading.Event()
        self.calls = 0
        self.slowest = 0.0
        self.wrong = []
        self.thread = threading.Thread(target=self.live)

    def live(self):
        client = Client(server)
        while not self.done.is_set() or self.calls < 3:
            value = b"value %d" % self.calls
            started = time.monotonic()
            put = client.kv("Put", put_request(b"witness", value))
            got = client.kv("Range", range_request(b"witness"))
            self.slowest = max(self.slowest, time.monotonic() - started)
            self.calls += 1
            if put[0] != "OK" or got[0] != "OK":
                self.wrong.append((put[:2], got[:2]))
                break
            pairs = [dict(parse(v)) for n, v in parse(got[2]) if n == 2]
            if [(p[1], p[5]) for p in pairs] != [(b"witness", value)]:
                self.wrong.append(pairs)
                break
            time.sleep(0.005)
        client.close()

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.done.set()
        self.thread.join()


def memory_mib(name):
    with open(f"/proc/{server.process.pid}/status", encoding="ascii") as status:
        for line in status:
            if line.startswith(name + ":"):
                return int(line.split()[1]) / 1024
    raise AssertionError(f"no {name}")


def attack(function):
    """A test: the attack beside the witness, then what must hold after it."""
    def wrapped():
        started = time.monotonic()
        with Witness() as witness:
            function()
        equal(server.process.poll(), None, "the server is up")
        equal(witness.wrong, [])
        equal(server.get("/health")[0], 200)
        print(f"# {function.__name__}: {time.monotonic() - started:.1f} s, other client: {witness.calls} rounds, "
              f"slowest {witness.slowest * 1000:.0f} ms; server: {memory_mib('VmRSS'):.0f} MiB, "
              f"peak {memory_mib('VmHWM'):.0f} MiB")
        if memory_mib("VmHWM") > RSS_MAX_MIB:
            raise AssertionError(f"the server's memory has grown to {memory_mib('VmHWM'):.0f} MiB")
    wrapped.__name__ = function.__name__
    test(wrapped)
    return function


def flood(unit, start=PREFACE + SETTINGS):
    return start + unit * (FLOOD_BYTES // len(unit))


@attack
def floods_of_settings_pings_and_empty_frames_are_cut_off():
    opened = PREFACE + SETTINGS + frame(1, 4, 1, HEAD)
    for name, data in (("SETTINGS", flood(SETTINGS)), ("PING", flood(PING)), ("PRIORITY", flood(frame(2, 0, 1, b"\0\0\0\0\1"))),
                       ("empty DATA", flood(frame(0, 0, 1), opened))):
        equal(shout(data), True, f"cut off: {name}")
    # Frames of unknown types are to be ignored (RFC 9113 section 5.5): they cost nothing but reading.
    shout(flood(frame(0xee, 0, 0, b"x")), 2)


@attack
def a_flood_of_resets_is_cut_off():
    pairs = b"".join(frame(1, 4, i, HEAD) + frame(3, 0, i, b"\0\0\0\x08") for i in range(1, 40001, 2))
    equal(shout(PREFACE + SETTINGS + pairs), True)
    malformed = b"".join(frame(1, 5, i, b"\x83") for i in range(1, 40001, 2))
    equal(shout(PREFACE + SETTINGS + malformed), True, "resets that the server is made to send")
    stalls = b"".join(frame(1, 4, i, HEAD) + frame(8, 0, i, b"\0\0\0\0") for i in range(1, 40001, 2))
    equal(shout(PREFACE + SETTINGS + stalls), True, "increments of zero")


@attack
def continuations_without_end_are_cut_off():
    opened = PREFACE + SETTINGS + frame(1, 0, 1, HEAD)
    equal(shout(flood(frame(9, 0, 1), opened)), True, "empty ones")
    equal(shout(flood(frame(9, 0, 1, literal(b"x", b"y" * 100) * 100), opened)), True, "large ones")


@attack
def header_bombs_stay_small():
    # One large field enters the table once and is then named by one byte, a thousand times a block.
    enter = b"\x40\x01x\x7f" + b"\x81\x1e" + b"v" * (127 + 0xf01)
    bomb = PREFACE + SETTINGS + frame(1, 5, 1, HEAD + enter)
    bomb += b"".join(frame(1, 5, i, HEAD + b"\xbe" * 15000) for i in range(3, 203, 2))
    shout(bomb, 3)
    table_games = [b"\x3f\xe1\xff\xff\xff\x0f", b"\x20" * 1000, b"\x3f" + b"\xff" * 20, b"\xff" * 100, b"\x80",
                   b"\x7f\xff\xff\xff\xff\xff\xff", b"\x40\x85\xff\xff\xff\xff\xff\x01x"]
    for block in table_games:
        exchange(PREFACE + SETTINGS + frame(1, 5, 1, block), 2)
    many = HEAD + b"".join(literal(b"x%d" % i, b"") for i in range(1000))
    exchange(PREFACE + SETTINGS + frame(1, 5, 1, many), 2)


@attack
def window_games_end_in_errors():
    grow = struct.pack(">I", 0x7fffffff)
    opened = PREFACE + SETTINGS + frame(1, 4, 1, HEAD)
    equal(shout(opened + frame(8, 0, 0, grow)), True, "overflow of the connection")
    shout(opened + frame(8, 0, 1, grow) * 2, 2)
    equal(shout(opened + frame(4, 0, 0, struct.pack(">HI", 4, 0x80000000))), True, "an impossible window")
    equal(shout(opened + frame(8, 0, 0, b"\0\0\0\0")), True, "an increment of zero")
    zero = frame(4, 0, 0, struct.pack(">HI", 4, 0))
    ask = b"".join(frame(1, 4, i, HEAD) + frame(0, 1, i, grpc_message(range_request(b"witness"))) for i in range(1, 2001, 2))
    with connect() as sock:
        sock.sendall(PREFACE + zero + ask)
        time.sleep(0.5)
    change = b"".join(frame(4, 0, 0, struct.pack(">HI", 4, n)) for n in (0, 65535) * 500)
    shout(PREFACE + zero + ask + change, 3)


# A reply is whole in memory until its client has read it, as in Go: what a crowd of readers holds is
# at most what it asks for, here 8 * 4 * 4 MiB, and must be given back when they go.
@attack
def readers_that_never_read_hold_what_they_asked_for_and_no_longer():
    client = Client(server)
    for i in range(4):
        equal(client.kv("Put", put_request(b"large %d" % i, b"v" * (1 << 20)))[0], "OK")
    wide = frame(4, 0, 0, struct.pack(">HI", 4, 0x7fffffff)) + frame(8, 0, 0, struct.pack(">I", 0x7fff0000))
    ask = grpc_message(range_request(b"large", b"largf"))
    data = PREFACE + wide + b"".join(frame(1, 4, i, HEAD) + frame(0, 1, i, ask) for i in range(1, 9, 2))
    socks = [connect() for _ in range(8)]
    for sock in socks:
        sock.sendall(data)
    time.sleep(1)
    held = memory_mib("VmRSS")
    for sock in socks:
        sock.close()
    end = time.monotonic() + 10
    while held > 120 and memory_mib("VmRSS") > held - 80:
        if time.monotonic() > end:
            raise AssertionError(f"{held:.0f} MiB were held and {memory_mib('VmRSS'):.0f} MiB still are")
        time.sleep(0.05)
    equal(client.kv("Range", range_request(b"large", b"largf"))[0], "OK")
    client.close()


@attack
def bytes_one_at_a_time_are_a_request_in_the_end():
    ask = grpc_message(range_request(b"witness"))
    data = PREFACE + SETTINGS + frame(1, 4, 1, HEAD) + frame(0, 1, 1, ask)
    slow = b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    with connect() as h2_sock, connect() as h1_sock:
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
    ask = grpc_message(range_request(b"witness"))
    data = PREFACE + SETTINGS + frame(1, 4, 1, HEAD) + frame(0, 1, 1, ask)
    for cut in range(1, len(data)):
        with connect() as sock:
            sock.sendall(data[:cut])
            if cut % 2 == 0:  # a reset instead of an end
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


@attack
def a_crowd_of_idle_and_half_open_connections_disturbs_nobody():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(max(soft, CROWD + 200), hard), hard))
    beginnings = [b"", b"P", PREFACE[:20], PREFACE + SETTINGS, PREFACE + SETTINGS + frame(1, 0, 1, HEAD[:3]),
                  b"GET /health HTTP/1.1\r\nHos", b"POST /health HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nab"]
    crowd = []
    for i in range(CROWD):
        crowd.append(connect())
        crowd[-1].sendall(beginnings[i % len(beginnings)])
    equal(server.get("/health")[0], 200)
    for sock in crowd:
        sock.close()


@attack
def endless_http1_is_cut_off():
    host = b"GET /health HTTP/1.1\r\nHost: x\r\n"
    large = 4 << 20
    post = b"POST /health HTTP/1.1\r\nHost: x\r\n"
    for name, data in (("target", b"GET /" + b"a" * large), ("one field", host + b"x: " + b"y" * large),
                       ("fields", host + b"x: y\r\n" * (large // 6)), ("blank lines", b"\r\n" * (large // 2)),
                       ("body", post + b"Content-Length: 99999999999\r\n\r\n" + b"z" * large),
                       ("chunk", post + b"Transfer-Encoding: chunked\r\n\r\nffffffff\r\n" + b"z" * (16 << 20)),
                       ("chunks", post + b"Transfer-Encoding: chunked\r\n\r\n" + b"1;ext=aaaaaaaaaaaaaaaa\r\nz\r\n" * 1000000)):
        equal(shout(data), True, f"cut off: {name}")


@attack
def pipelined_requests_are_answered_in_order():
    one = b"GET /%s HTTP/1.1\r\nHost: x\r\n\r\n"
    answer = exchange(b"".join(one % p for p in (b"version", b"nosuch", b"version") * 300) +
                      b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    codes = [part[:3] for part in answer.split(b"HTTP/1.1 ")[1:]]
    equal(codes, [b"200", b"404", b"200"] * 300 + [b"200"])


@attack
def shapes_that_smuggle_get_one_refusal():
    inner = b"GET /version HTTP/1.1\r\nHost: x\r\n\r\n"
    fields = [b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", b"Content-Length: 5\r\nContent-Length: 6\r\n",
              b"Transfer-Encoding : chunked\r\n", b"Transfer-Encoding: xchunked\r\n", b"Transfer-Encoding: chunked, identity\r\n",
              b"Content-Length: +5\r\n", b"Content-Length: 5, 5\r\n", b"Content-Length: 0x5\r\n", b"Content-Length: -1\r\n",
              b"Host: y\r\n", b"A\0: b\r\n", b": b\r\n", b"A B: c\r\n"]
    for field_text in fields:
        answer = exchange(b"POST /version HTTP/1.1\r\nHost: x\r\n" + field_text + b"\r\n0\r\n\r\n" + inner)
        equal(answer.count(b"HTTP/1.1 "), 1, field_text)
        equal(answer[9:10] in (b"4", b"5"), True, field_text + answer)
        equal(b"etcdserver" in answer, False, field_text)


@test
def the_server_stops_cleanly_after_all_that():
    print(f"# peak memory of the server: {memory_mib('VmHWM'):.0f} MiB of {RSS_MAX_MIB}")
    sys.stdout.flush()
    # As etcd does, it ends by the signal that stopped it.
    equal(server.stop() in (0, -15), True)


run()
