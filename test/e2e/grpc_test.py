"""gRPC connections of the real server: how one ends, how one is kept alive, how many calls it takes.

What single calls look like on the wire is test/grpc_wire_test.py; hostile ones are hostile_grpc_test.py."""
import re
import signal
import sys
import threading
import time

import grpc

from h2raw import DATA, END_HEADERS, GOAWAY, HEADERS, PING, PREFACE, RST_STREAM, Peer, frame, settings, u32, window_update
from harness import Server, equal, run, test
from hostile import HEAD, ask, grpc_message
from pbtiny import Client, parse, put_request, range_request

SECONDS = 20
LARGEST = 0x7fffffff


def goaways(peer):
    return [(int.from_bytes(f[3][:4], "big"), int.from_bytes(f[3][4:8], "big"), f[3][8:]) for f in peer.says(GOAWAY)]


def pong(peer):
    """Answers what the server asks while it drains."""
    one = peer.until(lambda f: f[0] == PING and f[1] == 0)
    peer.send(frame(PING, 1, 0, one[3]))


@test
def a_server_that_stops_lets_calls_finish_and_takes_no_more():
    server = Server().start()
    peer = Peer(server.port, PREFACE + settings((4, 0)))
    idle = Peer(server.port)
    peer.send(ask(1, range_request(b"a")))
    peer.until(lambda f: f[0] == HEADERS and f[2] == 1)
    server.process.send_signal(signal.SIGTERM)
    # First: go on, but open no new ones; calls that are on their way are still taken.
    peer.until(lambda f: f[0] == GOAWAY)
    equal(goaways(peer), [(LARGEST, 0, b"")])
    peer.send(ask(3, range_request(b"a")))
    pong(peer)
    peer.until(lambda f: f[0] == GOAWAY and f[3][:4] == u32(3))
    equal(goaways(peer)[1:], [(3, 0, b"")])
    # Then: what comes is not looked at, and what was begun is finished.
    peer.send(ask(5, range_request(b"a")))
    peer.send(window_update(1, 1000) + window_update(3, 1000))
    for stream in (1, 3):
        peer.until(lambda f, of=stream: f[0] == HEADERS and f[2] == of and f[1] & 1)
    equal([peer.fields(i).get("grpc-status") for i in (1, 3, 5)], ["0", "0", None])
    while peer.poll() and not peer.is_closed:
        pass
    equal(peer.is_closed, True)
    # A connection without calls goes as soon as its client has heard of it.
    pong(idle)
    equal(idle.goaway()[0], "NO_ERROR")
    equal(server.process.wait(SECONDS) in (0, -signal.SIGTERM), True)
    server.stop()


@test
def a_stock_client_loses_no_write_that_it_was_told_of_when_the_server_stops():
    server = Server().start()
    told = []

    def write():
        client = Client(server)
        for i in range(100000):
            status = client.call("/etcdserverpb.KV/Put", put_request(b"%08d" % i, b"v"), timeout=2)[0]
            if status != "OK":
                break
            told.append(i)
        client.close()

    threads = [threading.Thread(target=write)]
    for thread in threads:
        thread.start()
    time.sleep(1)
    server.restart()
    for thread in threads:
        thread.join()
    client = Client(server)
    _, _, reply = client.kv("Range", range_request(b"0", b"9", count_only=True))
    client.close()
    equal(len(told) > 10, True)
    count = dict(parse(reply))[4]
    equal(count in (len(told), len(told) + 1), True, f"{count} rows of {len(told)} that were acknowledged")
    server.stop()


def pings(server, interval, count, is_open):
    """The GOAWAY that so many pings end in, or None."""
    peer = Peer(server.port)
    if is_open:
        peer.send(frame(HEADERS, END_HEADERS, 1, HEAD))
    for _ in range(count):
        peer.send(frame(PING, 0, 0, b"are you?"))
        time.sleep(interval)
    if peer.until(lambda f: f[0] == GOAWAY or len(peer.says(PING)) == count)[0] != GOAWAY:
        peer.close()
        return None
    out = peer.goaway()
    peer.close()
    return out


@test
def pings_more_often_than_allowed_end_the_connection():
    server = Server(flags=["--grpc-keepalive-min-time", "300ms"]).start()
    calm = ("ENHANCE_YOUR_CALM", b"too_many_pings")
    equal(pings(server, 0.01, 10, True), calm, "with a call, too often")
    equal(pings(server, 0.7, 6, True), None, "with a call, often enough apart")
    equal(pings(server, 0.7, 6, False), calm, "without a call it is two hours")
    equal(pings(server, 0.01, 3, True), None, "two strikes are forgiven")
    # Whoever is sent something may ask again.
    peer = Peer(server.port)
    for i in range(20):
        peer.send(ask(2 * i + 1, range_request(b"a")))
        equal(peer.ended(2 * i + 1), True)
        peer.send(frame(PING, 0, 0, b"are you?"))
    quiet = peer.until(lambda f: f[0] == GOAWAY or len(peer.says(PING)) == 20)
    equal(quiet[0], PING)
    peer.close()
    server.stop()


@test
def a_stock_client_waits_for_its_turn_when_streams_are_few():
    server = Server(flags=["--max-concurrent-streams", "2"]).start()
    with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        call = channel.unary_unary("/etcdserverpb.KV/Put")
        calls = [call.future(put_request(b"%d" % i, b"v"), timeout=SECONDS) for i in range(300)]
        equal(len([c.result() for c in calls]), 300)
    server.stop()


@test
def an_answer_does_not_wait_for_the_end_of_a_unary_call():
    """The message is what a unary call is about; an END_STREAM that comes later, or never, is nothing."""
    server = Server().start()
    peer = Peer(server.port)
    for stream, late in ((1, frame(DATA, 1, 1)), (3, b""), (5, frame(HEADERS, 5, 5, b"\0\1x\1y")), (7, frame(RST_STREAM, 0, 7, u32(0)))):
        peer.send(frame(HEADERS, END_HEADERS, stream, HEAD) + frame(DATA, 0, stream, grpc_message(range_request(b"a"))))
        equal(peer.ended(stream), True)
        equal(peer.fields(stream)["grpc-status"], "0")
        peer.send(late)
    peer.send(ask(9, range_request(b"a")))
    equal(peer.ended(9) and peer.fields(9)["grpc-status"], "0")
    equal(peer.says(GOAWAY), [])
    peer.close()
    server.stop()


@test
def metadata_of_a_stock_client_is_no_hindrance():
    server = Server().start()
    client = Client(server)
    metadata = (("x-bin", bytes(range(256))), ("y", "text"), ("y", "again"), ("authorization", "none"), ("client-api-version", "3.5"))
    equal(client.call("/etcdserverpb.KV/Range", range_request(b"a"), metadata=metadata)[0], "OK")
    status, why, _ = client.call("/etcdserverpb.KV/Range", range_request(b"a"), metadata=(("large", "v" * 20000),))
    equal(status in ("INTERNAL", "RESOURCE_EXHAUSTED", "UNKNOWN", "UNAVAILABLE"), True, (status, why))
    equal(client.call("/etcdserverpb.KV/Range", range_request(b"a"))[0], "OK")
    client.close()
    sys.stdout.flush()
    server.stop()


def stream_failures(server):
    """{API: failures}, as /metrics has them."""
    lines = server.get("/metrics")[2].splitlines()
    found = [re.match(r'etcd_network_server_stream_failures_total\{API="(.*)",Type="receive"\} (\d+)', line) for line in lines]
    return {match.group(1): int(match.group(2)) for match in found if match}


@test
def a_stream_that_a_clients_bytes_end_is_counted_and_one_that_a_client_ends_is_not():
    """What etcd 3.4 counts, asked of one: an end by the client is no failure."""
    server = Server().start()
    with grpc.insecure_channel(f"127.0.0.1:{server.port}", options=[("grpc.max_send_message_length", -1)]) as channel:
        watch = channel.stream_stream("/etcdserverpb.Watch/Watch")
        renew = channel.stream_stream("/etcdserverpb.Lease/LeaseKeepAlive")
        hold = threading.Event()

        def create():
            yield b"\x0a\x03\x0a\x01a"
            hold.wait(SECONDS)

        call = watch(create())
        next(call)
        call.cancel()
        ends = []
        for method, messages, timeout in [(watch, create(), 0.3), (watch, iter([b"\xff\xff"]), SECONDS),
                                          (watch, iter([bytes(3 << 20)]), SECONDS), (renew, iter([b"\xff\xff"]), SECONDS)]:
            try:
                for _ in method(messages, timeout=timeout):
                    pass
                ends.append("OK")
            except grpc.RpcError as error:
                ends.append(error.code().name)
        hold.set()
    equal(ends, ["DEADLINE_EXCEEDED", "INTERNAL", "RESOURCE_EXHAUSTED", "INTERNAL"])
    equal(stream_failures(server), {"watch": 2, "lease-keepalive": 1})
    server.stop()


run()
