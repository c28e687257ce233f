"""What the tests of hostile clients share: a witness, peaks of memory, and sockets that shout.

While each attack runs another client writes and reads what it wrote; every answer must be right.
Its slowest call is printed, not judged: the machine may be busy. The server's peak memory is."""
import socket
import struct
import threading
import time

from h2raw import PREFACE, frame, literal, settings
from harness import equal, test
from pbtiny import Client, parse, put_request, range_request

# :method POST, :scheme http, and the rest of a call of Range.
HEAD = b"\x83\x86" + literal(b":path", b"/etcdserverpb.KV/Range") + literal(b"te", b"trailers") + \
    literal(b"content-type", b"application/grpc")
START = PREFACE + settings()
PUT_HEAD = HEAD.replace(literal(b":path", b"/etcdserverpb.KV/Range"), literal(b":path", b"/etcdserverpb.KV/Put"))


def grpc_message(data, flag=0):
    return struct.pack(">BI", flag, len(data)) + data


def ask(stream, request, head=HEAD):
    """A whole call."""
    return frame(1, 4, stream, head) + frame(0, 1, stream, grpc_message(request))


def connect(server, timeout=5):
    sock = socket.create_connection(("127.0.0.1", server.port), timeout=timeout)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


def shout(server, data, seconds=20):
    """Sends without regard for answers, which are thrown away; True when the server hung up."""
    end = time.monotonic() + seconds
    closed = False
    with connect(server) as sock:
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


def exchange(server, data, seconds=3):
    """What comes back until the server closes or is silent."""
    out = b""
    with connect(server, seconds) as sock:
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

    def __init__(self, server):
        self.server = server
        self.done = threading.Event()
        self.calls = 0
        self.slowest = 0.0
        self.wrong = []
        self.thread = threading.Thread(target=self.live)

    def live(self):
        client = Client(self.server)
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


def memory_mib(server, name):
    with open(f"/proc/{server.process.pid}/status", encoding="ascii") as status:
        for line in status:
            if line.startswith(name + ":"):
                return int(line.split()[1]) / 1024
    raise AssertionError(f"no {name}")


def peak_reset(server):
    """VmHWM starts anew (proc(5), clear_refs); where that is not allowed it is the peak so far."""
    try:
        with open(f"/proc/{server.process.pid}/clear_refs", "w", encoding="ascii") as refs:
            refs.write("5")
    except OSError:
        pass


TOTAL_MIB = 640


def attack_on(server, mib=32):
    """Makes a test of a function: it runs beside the witness, and then the server must be up, well,
    and never have grown by more than that. What malloc keeps for later is not a leak: in all there is
    TOTAL_MIB."""
    def register(function):
        def wrapped():
            started = time.monotonic()
            peak_reset(server)
            before = memory_mib(server, "VmRSS")
            with Witness(server) as witness:
                function()
            equal(server.process.poll(), None, "the server is up")
            equal(witness.wrong, [])
            equal(server.get("/health")[0], 200)
            peak = memory_mib(server, "VmHWM")
            print(f"# {function.__name__}: {time.monotonic() - started:.1f} s, other client: {witness.calls} rounds, "
                  f"slowest {witness.slowest * 1000:.0f} ms; server: {memory_mib(server, 'VmRSS'):.0f} MiB, "
                  f"peak {peak:.0f} MiB, grown by {peak - before:.0f} of {mib}")
            if peak - before > mib or peak > TOTAL_MIB:
                raise AssertionError(f"the server's memory has grown from {before:.0f} to {peak:.0f} MiB")
        wrapped.__name__ = function.__name__
        test(wrapped)
        return function
    return register
