"""Hostile HTTP/1 clients: heads and bodies without end, chunks, pipelines, shapes that smuggle.

See hostile.py for what must hold in each."""
import socket
import sys

from harness import Server, equal, run, test
from hostile import attack_on, connect, exchange, shout

server = Server().start()
attack = attack_on(server)

POST = b"POST /version HTTP/1.1\r\nHost: x\r\n"
INNER = b"GET /version HTTP/1.1\r\nHost: x\r\n\r\n"
LARGE = 4 << 20


@attack
def heads_and_bodies_without_end_are_cut_off():
    host = b"GET /health HTTP/1.1\r\nHost: x\r\n"
    post = b"POST /health HTTP/1.1\r\nHost: x\r\n"
    chunked = post + b"Transfer-Encoding: chunked\r\n\r\n"
    for name, data in (("method", b"G" * LARGE), ("target", b"GET /" + b"a" * LARGE), ("version", b"GET / HTTP/1." + b"1" * LARGE),
                       ("one name", host + b"x" * LARGE), ("one field", host + b"x: " + b"y" * LARGE),
                       ("fields", host + b"x: y\r\n" * (LARGE // 6)), ("empty fields", host + b"x:\r\n" * (LARGE // 4)),
                       ("blank lines", b"\r\n" * (LARGE // 2)),
                       ("body", post + b"Content-Length: 99999999999\r\n\r\n" + b"z" * LARGE),
                       ("chunk", chunked + b"ffffffff\r\n" + b"z" * (16 << 20)),
                       ("chunks", chunked + b"1;ext=aaaaaaaaaaaaaaaa\r\nz\r\n" * 1000000),
                       ("chunk extension", chunked + b"1;" + b"e" * LARGE), ("digits of a chunk", chunked + b"0" * LARGE),
                       ("trailers", chunked + b"0\r\n" + b"x: y\r\n" * LARGE), ("one trailer", chunked + b"0\r\nx: " + b"y" * LARGE)):
        equal(shout(server, data), True, f"cut off: {name}")


@attack
def pipelined_requests_are_answered_in_order():
    one = b"GET /%s HTTP/1.1\r\nHost: x\r\n\r\n"
    answer = exchange(server, b"".join(one % p for p in (b"version", b"nosuch", b"version") * 300) +
                      b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    codes = [part[:3] for part in answer.split(b"HTTP/1.1 ")[1:]]
    equal(codes, [b"200", b"404", b"200"] * 300 + [b"200"])


@attack
def a_long_pipeline_of_large_answers_waits_for_its_reader():
    """More questions than are answered ahead: what waits comes up as the answers are read."""
    count = 400
    with connect(server, 20) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16384)
        sock.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n" * count + b"GET /version HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        sock.shutdown(socket.SHUT_WR)
        seen, tail = 0, b""
        while True:
            part = sock.recv(1 << 18)
            if not part:
                break
            tail += part
            seen += tail.count(b"HTTP/1.1 200 OK\r\n")
            last = tail.rfind(b"HTTP/1.1 200 OK\r\n")
            tail = tail[last + 17:] if last >= 0 else tail[-16:]
        equal(seen, count + 1)
        equal(b"etcdserver" in tail, True)


def one_refusal(data, what):
    answer = exchange(server, data)
    equal(answer.count(b"HTTP/1.1 "), 1, (what, answer))
    equal(answer[9:10] in (b"4", b"5"), True, (what, answer))
    equal(b"etcdserver" in answer, False, (what, answer))


@attack
def shapes_that_smuggle_get_one_refusal():
    for fields in (b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
                   b"Content-Length: 5\r\nContent-Length: 6\r\n", b"Content-Length: 5\r\nContent-Length: 5\r\n",
                   b"Transfer-Encoding : chunked\r\n", b"Transfer-Encoding\t: chunked\r\n", b"Transfer-Encoding: xchunked\r\n",
                   b"Transfer-Encoding: chunked, identity\r\n", b"Transfer-Encoding: chunked, chunked\r\n",
                   b"Transfer-Encoding: identity\r\n", b"Transfer-Encoding: \x0bchunked\r\n", b"Transfer-Encoding: \"chunked\"\r\n",
                   b"Transfer-Encoding: gzip\r\nTransfer-Encoding: x\r\n",
                   b"Content-Length: +5\r\n", b"Content-Length: 5, 5\r\n", b"Content-Length: 0x5\r\n", b"Content-Length: -1\r\n",
                   b"Content-Length: 5 5\r\n", b"Content-Length: \r\n", b"Content-Length: 18446744073709551621\r\n",
                   b"Host: y\r\n", b"A\0: b\r\n", b"A: b\0c\r\n", b": b\r\n", b"A B: c\r\n", b"A\r\n", b"\x01: b\r\n", b"A: \x01\r\n",
                   b"A: b\rTransfer-Encoding: chunked\r\n", b"A: b\r\rC: d\r\n", b"A: b\r\r\n", b"(A): b\r\n", b"A: \x7f\r\n",
                   b"A: b\r\n Transfer-Encoding: chunked\r\n", b"Transfer-Encoding:\r\n chunked\r\n", b"A: b\r\n\tc\r\n",
                   b" A: b\r\n", b"Expect: 200-ok\r\n"):
        one_refusal(POST + fields + b"\r\n0\r\n\r\n" + INNER, fields)
    for first in (b"GET  /version HTTP/1.1", b"GET /version  HTTP/1.1", b"GET /ver sion HTTP/1.1", b"GET\t/version HTTP/1.1", b" GET /version HTTP/1.1",
                  b"GET /version", b"GET /version HTTP/1.1x", b"GET /version HTTP/1.", b"GET /version HTTP/3.0", b"GET /version http/1.1",
                  b"GET /version HTTP/1.1\r\n ", b"get /version HTTP/1.1", b"GET /ver\0sion HTTP/1.1", b"\0GET /version HTTP/1.1",
                  b"BREW /version HTTP/1.1", b"CONNECT x:1 HTTP/1.1"):
        one_refusal(first + b"\r\nHost: x\r\n\r\n" + INNER, first)


@attack
def chunks_that_lie_get_one_refusal():
    chunked = POST + b"Transfer-Encoding: chunked\r\n\r\n"
    for chunks in (b"x\r\n", b"-1\r\n", b"+1\r\nz\r\n", b"0x1\r\nz\r\n", b" 1\r\nz\r\n", b"1\r\nzz\r\n", b"1\r\nz0\r\n\r\n",
                   b"10000000000000000\r\nz", b"ffffffffffffffff\r\nz", b"1\rz\r\n", b"2\r\nz\r\n0\r\n\r\n", b"1\r\nz\n\r\n0\r\n\r\n", b"\r\n"):
        one_refusal(chunked + chunks + INNER, chunks)


@attack
def what_is_unusual_but_right_is_answered():
    for data, count in ((b"\r\n\r\n" + INNER, 1), (b"GET http://y/version HTTP/1.1\r\nHost: x\r\n\r\n", 1), (b"GET /version HTTP/1.0\r\n\r\n", 1),
                        (POST + b"Transfer-Encoding: chunked\r\n\r\n1;a=b\r\nz\r\n0\r\nContent-Length: 9\r\n\r\n" + INNER, 2),
                        (POST + b"Content-Length: \t0\r\n\r\n" + INNER, 2), (POST + b"CONTENT-LENGTH: 1\r\n\r\nz" + INNER, 2)):
        answer = exchange(server, data)
        equal(answer.count(b"HTTP/1."), count, (data, answer))
        equal(b"HTTP/1.1 4" in answer.replace(b"HTTP/1.1 405", b""), False, (data, answer))


@attack
def a_name_may_be_as_odd_as_it_likes():
    for path in (b"/%00", b"/%2e%2e/%2e%2e/etc/passwd", b"/..//../version", b"//", b"/" + b"%41" * 1000, b"/health?serializable=%zz&x;y", b"/metrics?" + b"&" * 5000,
                 b"*", b"/\xff\xfe", b"/v2/keys/" + b"a/" * 500, b"/debug/pprof/../../version"):
        answer = exchange(server, b"GET " + path + b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        equal(answer.count(b"HTTP/1.1 "), 1, (path, answer[:200]))


@test
def the_server_stops_cleanly_after_all_that():
    sys.stdout.flush()
    equal(server.stop() in (0, -15), True)


run()
