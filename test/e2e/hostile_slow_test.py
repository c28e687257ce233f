"""Clients that begin and do not go on, that keep every descriptor, that no longer answer.

See hostile.py for what must hold in each. Slow ones are begun first and looked at last."""
import os
import resource
import select
import socket
import sys
import time

from h2raw import CONTINUATION, GOAWAY, HEADERS, PING, PREFACE, Peer, frame, settings
from harness import ETCD, Server, equal, run, scratch, test
from hostile import HEAD, START, ask, attack_on, connect, memory_mib
from pbtiny import Client, put_request, range_request

HEAD_SECONDS = 10  # half a preface, half a head
BODY_SECONDS = 30  # between two pieces of a body
SLACK_SECONDS = 20  # of a busy machine
EACH = 40



def server_of_few_descriptors(count):
    """The server takes what the hard limit allows, so that has to be lowered, and only for it."""
    script = os.path.join(scratch("few"), "etcd")
    with open(script, "w", encoding="ascii") as out:
        out.write(f'#!/bin/sh\nulimit -n {count}\nexec {ETCD} "$@"\n')
    os.chmod(script, 0o755)
    return Server(binary=script, flags=["--snapshot-count", "20"]).start()


soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (min(max(soft, 4000), hard), hard))
small = server_of_few_descriptors(256)
server = Server().start()
attack = attack_on(server)
started = time.monotonic()

POST = b"POST /version HTTP/1.1\r\nHost: x\r\n"
WHOLE = ask(1, range_request(b"witness"))
HALF = {
    "half a preface": (PREFACE[:20], HEAD_SECONDS),
    "a preface without SETTINGS": (PREFACE, HEAD_SECONDS),
    "half the SETTINGS": (START[:-3], HEAD_SECONDS),
    "half a head": (START + frame(HEADERS, 4, 1, HEAD)[:-5], HEAD_SECONDS),
    "a head without its end": (START + frame(HEADERS, 0, 1, HEAD), HEAD_SECONDS),
    "half a CONTINUATION": (START + frame(HEADERS, 0, 1, HEAD) + frame(CONTINUATION, 4, 1, b"\x88\x88")[:-1], HEAD_SECONDS),
    "half a head behind a whole call": (START + WHOLE + frame(HEADERS, 4, 3, HEAD)[:-5], HEAD_SECONDS),
    "half a head on a closed stream": (START + frame(HEADERS, 4, 1, HEAD + b"\0\1X\1y") + frame(HEADERS, 1, 1, HEAD), HEAD_SECONDS),
    "half a request line": (b"GET /hea", HEAD_SECONDS),
    "half a field": (b"GET /health HTTP/1.1\r\nHos", HEAD_SECONDS),
    "a blank line": (b"\r\n", HEAD_SECONDS),
    "half a body": (POST + b"Content-Length: 9\r\n\r\nab", BODY_SECONDS),
    "half a chunk": (POST + b"Transfer-Encoding: chunked\r\n\r\n5\r\nab", BODY_SECONDS),
    "no last chunk": (POST + b"Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n", BODY_SECONDS),
}
# A call whose message does not come is a call without a deadline; it waits, and so does who says nothing.
PATIENT = {"half a message": START + frame(HEADERS, 4, 1, HEAD) + frame(0, 0, 1, b"\0\0\0"), "an idle session": START, "nothing": b""}
slow = [(name, seconds, connect(server)) for name, (_, seconds) in HALF.items() for _ in range(EACH)]
for name, _, sock in slow:
    sock.sendall(HALF[name][0])
patient = [(name, connect(server)) for name in PATIENT]
for name, sock in patient:
    sock.sendall(PATIENT[name])


def has_input(sock, seconds=0.0):
    poll = select.poll()
    poll.register(sock, select.POLLIN)
    return bool(poll.poll(seconds * 1000))


def is_closed(sock):
    sock.setblocking(False)
    try:
        while True:
            if not sock.recv(65536):
                return True
    except BlockingIOError:
        return False
    except OSError:
        return True


def ticks_of(which):
    """Of processor time, a hundredth of a second each."""
    with open(f"/proc/{which.process.pid}/stat", encoding="ascii") as stat:
        return sum(int(n) for n in stat.read().split()[13:15])


@attack
def heads_that_trickle_have_the_same_time_as_others():
    """A byte every second: the head is due ten seconds after its first."""
    begun = time.monotonic()
    socks = [connect(server) for _ in range(3)]
    socks[1].sendall(START)
    socks[2].sendall(START + frame(HEADERS, 0, 1, HEAD)[:9])
    said = (b"GET /health?" + b"a" * 1000, frame(HEADERS, 4, 1, HEAD), HEAD)
    open_still = {0, 1, 2}
    at = 0
    while open_still and time.monotonic() < begun + HEAD_SECONDS + SLACK_SECONDS:
        for i in list(open_still):
            try:
                socks[i].sendall(said[i][at:at + 1])
            except OSError:
                open_still.discard(i)
            if is_closed(socks[i]):
                open_still.discard(i)
            socks[i].setblocking(True)
        at += 1
        time.sleep(1)
    equal(open_still, set())
    equal(time.monotonic() - begun > HEAD_SECONDS - 1, True, "and not earlier")


@test
def without_descriptors_those_who_are_there_are_served():
    early = Client(small)
    equal(early.kv("Put", put_request(b"a", b"b"))[0], "OK")
    crowd = [connect(small) for _ in range(600)]
    for sock in crowd:
        sock.sendall(START)
    time.sleep(1)
    # Files are still to be had: snapshots are written, and the log goes on in its next segment.
    for i in range(75):
        equal(early.kv("Put", put_request(b"large", bytes([i]) * (1 << 20)))[0], "OK")
    equal(early.kv("Range", range_request(b"a"))[0], "OK")
    equal([sock for sock in crowd if has_input(sock) and not sock.recv(1, socket.MSG_PEEK)], [], "nobody is turned away")
    served = [sock for sock in crowd if has_input(sock)]
    print(f"# {len(served)} of {len(crowd)} connections are served with 256 descriptors, {memory_mib(small, 'VmRSS'):.0f} MiB")
    equal(100 < len(served) < 256, True)
    ticks = ticks_of(small)
    time.sleep(1)
    spent = ticks_of(small) - ticks
    equal(spent < 30, True, f"it waits for descriptors and does not spin: {spent} ticks in a second")
    for sock in served:
        sock.close()
    waiting = [sock for sock in crowd if sock not in served]
    end = time.monotonic() + SLACK_SECONDS
    for sock in waiting[:100]:
        equal(has_input(sock, max(0, end - time.monotonic())), True, "its turn has come")
    for sock in waiting:
        sock.close()
    late = Client(small)
    equal(late.kv("Range", range_request(b"a"))[0], "OK")
    late.close()
    early.close()
    equal(small.stop() in (0, -15), True)


@test
def who_no_longer_answers_is_left():
    quick = Server(flags=["--grpc-keepalive-interval", "1s", "--grpc-keepalive-timeout", "5s"]).start()
    dead, alive = Peer(quick.port), Peer(quick.port)
    begun = time.monotonic()
    alive_pings = 0
    while time.monotonic() < begun + SLACK_SECONDS and not dead.is_closed:
        alive.until(lambda f: f[0] == PING and len(alive.says(PING)) > alive_pings)
        for one in alive.says(PING)[alive_pings:]:
            alive.send(frame(PING, 1, 0, one[3]))
        alive_pings = len(alive.says(PING))
        dead.is_closed = is_closed(dead.sock)
    equal(dead.is_closed, True)
    alive.send(ask(1, range_request(b"a")))
    equal(alive.ended(1), True)
    equal(alive.says(GOAWAY), [])
    dead.close()
    alive.close()
    quick.stop()


@attack
def who_does_not_go_on_is_left():
    for seconds in (HEAD_SECONDS, BODY_SECONDS):
        left = [(name, sock) for name, of, sock in slow if of == seconds]
        end = max(started + seconds, time.monotonic()) + SLACK_SECONDS
        while left and time.monotonic() < end:
            left = [(name, sock) for name, sock in left if not is_closed(sock)]
            time.sleep(0.1)
        equal(sorted({name for name, _ in left}), [], f"after {seconds} seconds")
    equal([name for name, sock in patient if is_closed(sock)], [])


@test
def the_server_stops_cleanly_after_all_that():
    sys.stdout.flush()
    equal(server.stop() in (0, -15), True)


run()
