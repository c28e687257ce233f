"""The JSON gateway: every path, the rules of its JSON, its errors, and stock clients over it."""
import base64
import http.client
import json
import os
import socket
import struct
import subprocess
import time

from harness import Server, Skip, run, test


def b64(text):
    return base64.b64encode(text.encode()).decode()


def post(server, path, body, headers=None, method="POST"):
    """The status, the fields and the JSON of an answer; a text that is no JSON as it is."""
    conn = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
    data = body if isinstance(body, (str, bytes)) else json.dumps(body)
    conn.request(method, path, data, headers or {})
    reply = conn.getresponse()
    text = reply.read().decode()
    conn.close()
    try:
        return reply.status, reply.headers, json.loads(text)
    except ValueError:
        return reply.status, reply.headers, text


def rss_mib(server):
    with open(f"/proc/{server.process.pid}/statm", encoding="ascii") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") >> 20


def stall_seconds(server):
    """The longest that one turn of the loop has taken."""
    text = server.get("/metrics")[2]
    return float(text.split("\netcdc_loop_stall_max_seconds ")[1].split()[0])


_shared = []


def shared():
    if not _shared:
        _shared.append(Server().start())
    return _shared[0]


@test
def keys_go_in_and_come_out_with_64_bit_numbers_as_strings_and_bytes_in_base64():
    server = shared()
    status, fields, put = post(server, "/v3/kv/put", {"key": b64("gw/a"), "value": b64("1")})
    assert status == 200 and fields["Content-Type"] == "application/json", (status, fields)
    assert fields["Grpc-Metadata-Content-Type"] == "application/grpc"
    revision = put["header"]["revision"]
    assert isinstance(revision, str) and isinstance(put["header"]["cluster_id"], str)
    _, _, got = post(server, "/v3/kv/range", {"key": b64("gw/a")})
    assert got["kvs"] == [{"key": b64("gw/a"), "create_revision": revision, "mod_revision": revision,
                           "version": "1", "value": b64("1")}], got
    assert got["count"] == "1" and "more" not in got
    _, _, gone = post(server, "/v3/kv/deleterange", {"key": b64("gw/"), "rangeEnd": b64("gw0"), "prev_kv": True})
    assert gone["deleted"] == "1" and gone["prev_kvs"][0]["value"] == b64("1"), gone


@test
def a_transaction_takes_names_in_both_forms_enums_by_name_and_number_numbers_as_both():
    server = shared()
    compare = [{"result": "GREATER", "target": 0, "key": b64("gw/t"), "version": -1}]
    _, _, reply = post(server, "/v3/kv/txn", {
        "compare": compare,
        "success": [{"requestPut": {"key": b64("gw/t"), "value": b64("x")}},
                    {"request_txn": {"failure": [], "success": [{"request_range": {"key": b64("gw/t")}}]}}],
        "unknown": {"is": ["skipped"]}})
    assert reply["succeeded"] is True, reply
    inner = reply["responses"][1]["response_txn"]
    assert inner["responses"][0]["response_range"]["kvs"][0]["value"] == b64("x"), reply


@test
def the_older_prefix_v3beta_leads_to_the_same_methods_v3alpha_to_none():
    server = shared()
    assert post(server, "/v3beta/kv/range", {"key": b64("gw/none")})[0] == 200
    assert post(server, "/v3alpha/kv/range", {"key": b64("gw/none")})[0] == 404


@test
def errors_have_etcd_s_code_and_text_and_the_status_that_grpc_gateway_gives_them():
    server = shared()
    rows = [
        ("/v3/kv/range", "{}", 400, 3, "etcdserver: key is not provided"),
        ("/v3/kv/range", "", 400, 3, "etcdserver: key is not provided"),
        ("/v3/kv/range", '{"key":"YQ==","revision":"99999"}', 400, 11,
         "etcdserver: mvcc: required revision is a future revision"),
        ("/v3/kv/put", '{"key":"YQ==","lease":"123"}', 404, 5, "etcdserver: requested lease not found"),
        ("/v3/kv/range", "{bad", 400, 3, "invalid character 'b' looking for beginning of object key string"),
        ("/v3/kv/range", '{"key":', 400, 3, "unexpected EOF"),
        ("/v3/kv/range", '{"key":"%%%"}', 400, 3, 'proto: (line 1:8): invalid value for bytes field key: "%%%"'),
        ("/v3/kv/range", "[]", 400, 3, "proto: syntax error (line 1:1): unexpected token ["),
        ("/v3/nope", "{}", 404, 5, "Not Found"),
    ]
    for path, body, status, code, message in rows:
        got = post(server, path, body)
        assert got[0] == status and got[2] == {"code": code, "message": message}, (path, body, got[0], got[2])
    for method in ("GET", "PUT", "DELETE"):
        got = post(server, "/v3/kv/range", "{}", method=method)
        assert got[0] == 501 and got[2] == {"code": 12, "message": "Method Not Allowed"}, got


@test
def a_request_over_the_limit_is_refused_with_grpc_s_words_an_answer_has_no_limit():
    server = shared()
    big = base64.b64encode(b"x" * 2200000).decode()
    status, _, reply = post(server, "/v3/kv/put", {"key": b64("gw/big"), "value": big})
    assert status == 429 and reply["code"] == 8 and "received message larger than max" in reply["message"], reply
    status, _, reply = post(server, "/v3/kv/put", {"key": b64("gw/big"), "value": "x" * 5000000})
    assert status == 413, status
    for i in range(6):
        post(server, "/v3/kv/put", {"key": b64(f"gw/big{i}"), "value": base64.b64encode(b"y" * 1500000).decode()})
    _, _, reply = post(server, "/v3/kv/range", {"key": b64("gw/big"), "range_end": b64("gw/bih")})
    assert len(reply["kvs"]) == 6 and sum(len(base64.b64decode(kv["value"])) for kv in reply["kvs"]) == 9000000
    post(server, "/v3/kv/deleterange", {"key": b64("gw/big"), "range_end": b64("gw/bih")})


@test
def the_rest_of_the_methods_that_a_single_member_has_answer():
    server = shared()
    _, _, status = post(server, "/v3/maintenance/status", "")
    assert status["version"].startswith("3.6") and status["raftTerm"].isdigit(), status
    _, _, members = post(server, "/v3/cluster/member/list", "{}")
    assert members["members"][0]["name"] == "default" and members["members"][0]["ID"].isdigit(), members
    _, _, hashed = post(server, "/v3/maintenance/hashkv", "{}")
    assert isinstance(hashed["hash"], int), hashed
    _, _, alarms = post(server, "/v3/maintenance/alarm", {"action": "GET"})
    assert "alarms" not in alarms
    _, _, lease = post(server, "/v3/lease/grant", {"TTL": 60, "ID": "7587"})
    if lease.get("code") == 12:
        raise Skip("leases are not built yet")
    assert lease["ID"] == "7587" and lease["TTL"] == "60", lease


@test
def cross_origin_requests_are_answered_as_cors_says_and_enable_grpc_gateway_false_ends_it_all():
    server = Server(flags=["--cors", "http://good.example:80", "--enable-grpc-gateway=false"]).start()
    assert post(server, "/v3/kv/range", {"key": "YQ=="})[0] == 404
    server.stop()
    server = Server(flags=["--cors", "http://good.example:80"]).start()
    _, fields, _ = post(server, "/v3/kv/range", {"key": "YQ=="}, {"Origin": "http://good.example:80"})
    assert fields["Access-Control-Allow-Origin"] == "http://good.example:80"
    _, fields, _ = post(server, "/v3/kv/range", {"key": "YQ=="}, {"Origin": "http://bad.example"})
    assert fields["Access-Control-Allow-Origin"] is None
    server.stop()


# ---- streams -------------------------------------------------------------------------------------


def stream(server, path, body):
    """An open answer; the caller reads lines from it."""
    conn = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
    conn.request("POST", path, json.dumps(body))
    return conn, conn.getresponse()


def needs_watch(server):
    conn, reply = stream(server, "/v3/watch", {"create_request": {"key": b64("x")}})
    conn.close()
    if reply.status == 501:
        raise Skip("watch is not built yet")


@test
def a_watch_is_one_json_object_a_line_and_goes_on_while_the_body_has_ended():
    server = shared()
    needs_watch(server)
    conn, reply = stream(server, "/v3/watch", {"create_request": {"key": b64("gw/w"), "prev_kv": True}})
    assert reply.status == 200 and reply.headers["Transfer-Encoding"] == "chunked"
    created = json.loads(reply.readline())["result"]
    assert created["created"] is True, created
    for value in ("1", "2"):
        post(server, "/v3/kv/put", {"key": b64("gw/w"), "value": b64(value)})
        event = json.loads(reply.readline())["result"]["events"][0]
        assert event["kv"]["value"] == b64(value) and "type" not in event, event
    assert event["prev_kv"]["value"] == b64("1")
    post(server, "/v3/kv/deleterange", {"key": b64("gw/w")})
    assert json.loads(reply.readline())["result"]["events"][0]["type"] == "DELETE"
    conn.close()


@test
def several_requests_in_one_body_make_several_watches_on_one_stream():
    server = shared()
    needs_watch(server)
    conn = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
    body = "\n".join(json.dumps({"create_request": {"key": b64(f"gw/m{i}"), "watch_id": str(7 + i)}}) for i in range(3))
    conn.request("POST", "/v3/watch", body)
    reply = conn.getresponse()
    ids = [json.loads(reply.readline())["result"]["watch_id"] for _ in range(3)]
    assert ids == ["7", "8", "9"], ids
    conn.close()


@test
def a_stream_whose_first_value_is_bad_answers_400_and_no_line_of_a_stream():
    # grpc-gateway answers with its error itself when there is no stream yet. For streams of requests the one of
    # etcd 3.4 says code 2 and status 500, and that of 3.6 says nothing at all.
    server = shared()
    want = {"code": 3, "message": "invalid character 'b' looking for beginning of object key string"}
    for path in ("/v3/watch", "/v3/lease/keepalive", "/v3/election/observe", "/v3/maintenance/snapshot"):
        status, fields, reply = post(server, path, "{bad")
        assert (status, fields["Content-Type"], reply) == (400, "application/json", want), (path, status, reply)
        ws = Socket(server, path)
        ws.send("{bad")
        assert json.loads(ws.receive()[1]) == want, path
        assert ws.receive()[0] == 8
        ws.close()
    status, _, reply = post(server, "/v3/watch", '{"create_request":{"key":5}}')
    assert (status, reply) == (400, {"code": 3, "message": "proto: (line 1:26): invalid value for bytes field key: 5"})


# ---- WebSocket -----------------------------------------------------------------------------------


class Socket:
    """A WebSocket by hand, so that what is refused can be sent too."""

    def __init__(self, server, path, fields=(), key="dGhlIHNhbXBsZSBub25jZQ=="):
        self.sock = socket.create_connection(("127.0.0.1", server.port), timeout=20)
        lines = [f"GET {path} HTTP/1.1", "Host: localhost", "Connection: keep-alive, Upgrade", "Upgrade: WebSocket",
                 "Sec-WebSocket-Version: 13", f"Sec-WebSocket-Key: {key}", *fields]
        self.sock.sendall(("\r\n".join(lines) + "\r\n\r\n").encode())
        self.file = self.sock.makefile("rb")
        self.head = []
        self.pongs = []
        while True:
            line = self.file.readline().decode().strip()
            if not line:
                break
            self.head.append(line)

    def send(self, text, opcode=1):
        data = text.encode()
        if len(data) < 126:
            length = bytes([0x80 | len(data)])
        elif len(data) < 65536:
            length = bytes([0x80 | 126]) + struct.pack(">H", len(data))
        else:
            length = bytes([0x80 | 127]) + struct.pack(">Q", len(data))
        self.sock.sendall(bytes([0x80 | opcode]) + length + b"\0\0\0\0" + data)

    def receive(self):
        first, length = self.file.read(2)
        if length == 126:
            length = struct.unpack(">H", self.file.read(2))[0]
        return first & 15, self.file.read(length).decode("latin-1")

    def message(self, on_frame=lambda: None):
        """A whole message, put together from its frames, and how many they were."""
        whole, frames = b"", 0
        while True:
            first, length = self.file.read(2)
            if length >= 126:
                length = int.from_bytes(self.file.read(2 if length == 126 else 8), "big")
            data = self.file.read(length)
            if first & 15 == 10:  # a pong may come between
                self.pongs.append(data)
                continue
            frames += 1
            assert first & 15 == (1 if frames == 1 else 0), (frames, first)
            whole += data
            on_frame()
            if first & 128:
                return whole.decode(), frames

    def close(self):
        self.file.close()
        self.sock.close()


@test
def over_websocket_a_unary_call_is_one_message_each_way_and_the_connection_closes():
    server = shared()
    ws = Socket(server, "/v3/kv/put")
    assert ws.head[0] == "HTTP/1.1 101 Switching Protocols", ws.head
    assert "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" in ws.head, ws.head
    ws.send('{"key":"' + b64("gw/ws") + '",')
    ws.send('"value":"' + b64("1") + '"}')
    opcode, text = ws.receive()
    assert opcode == 1 and "revision" in json.loads(text)["header"], text
    assert ws.receive()[0] == 8
    assert ws.file.read(1) == b""
    ws.close()
    ws = Socket(server, "/v3/kv/range")
    ws.send("{bad")
    assert json.loads(ws.receive()[1]) == {
        "code": 3, "message": "invalid character 'b' looking for beginning of object key string"}
    ws.close()


@test
def over_websocket_watches_are_made_and_canceled_while_events_come():
    server = shared()
    needs_watch(server)
    ws = Socket(server, "/v3/watch", ["Sec-WebSocket-Protocol: Bearer, sometoken"])
    assert "Sec-WebSocket-Protocol: Bearer" in ws.head, ws.head
    ws.send(json.dumps({"create_request": {"key": b64("gw/x")}}))
    assert json.loads(ws.receive()[1])["result"]["created"]
    ws.send("ping", opcode=9)
    assert ws.receive() == (10, "ping")
    post(server, "/v3/kv/put", {"key": b64("gw/x"), "value": b64("1")})
    assert json.loads(ws.receive()[1])["result"]["events"][0]["kv"]["value"] == b64("1")
    ws.send(json.dumps({"cancel_request": {"watch_id": 0}}))
    assert json.loads(ws.receive()[1])["result"]["canceled"]
    ws.send("\x03\xe8", opcode=8)
    assert ws.receive()[0] == 8
    ws.close()


@test
def an_upgrade_that_is_none_is_refused_and_so_are_frames_without_a_mask():
    server = shared()
    for ws in (Socket(server, "/v3/kv/put", key="short"), Socket(server, "/v3/nope")):
        assert ws.head[0].split()[1] in ("400", "404"), ws.head
        ws.close()
    ws = Socket(server, "/v3/kv/put")
    ws.sock.sendall(b"\x81\x02{}")
    assert ws.receive() == (8, "\x03\xea")
    ws.close()
    assert post(server, "/v3/kv/range", {"key": "YQ=="})[0] == 200


@test
def a_value_in_very_many_pieces_over_websocket_costs_the_server_little():
    server = shared()
    ws = Socket(server, "/v3/kv/put")
    ws.send("{" + " " * 3500000)  # so far it is a value that may still become whole
    piece = b"\x81\x81\0\0\0\0 "
    ws.sock.sendall(piece * 20000)  # if each made the server look through all, it took a minute
    ws.send('"key":"' + b64("gw/pieces") + '"}')
    ws.sock.settimeout(20)
    assert "header" in ws.receive()[1]
    ws.close()
    ws = Socket(server, "/v3/kv/put")  # but there is an end to it
    ws.send("{" + " " * 3500000)
    ws.send(" " * 3500000)
    assert json.loads(ws.receive()[1])["code"] == 8
    ws.close()
    ws = Socket(server, "/v3/kv/put")  # pieces of a usual size are no trouble
    value = b64("x" * 1000000)
    text = '{"key":"' + b64("gw/pieces") + '",' + " " * 1000000 + '"value":"' + value + '"}'
    cut = text.index('"value"')
    for at in range(0, cut, 30000):
        ws.send(text[at:min(at + 30000, cut)])
    ws.send(text[cut:])
    assert "header" in ws.receive()[1]
    ws.close()


@test
def an_upgrade_offered_by_http_1_0_is_ignored():
    with socket.create_connection(("127.0.0.1", shared().port), timeout=20) as sock:
        sock.sendall(b"GET /v3/watch HTTP/1.0\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
                     b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
        answer = sock.makefile("rb").read()
    assert answer.startswith(b"HTTP/1.0 501 "), answer


# ---- bodies that stay open -----------------------------------------------------------------------


class Stream:
    """A POST whose body goes on: chunks go out by say(), lines of the answer come in by line()."""

    def __init__(self, server, path, *fields):
        self.sock = socket.create_connection(("127.0.0.1", server.port), timeout=20)
        lines = [f"POST {path} HTTP/1.1", "Host: localhost", "Transfer-Encoding: chunked", *fields]
        self.sock.sendall(("\r\n".join(lines) + "\r\n\r\n").encode())
        self.file = self.sock.makefile("rb")

    def say(self, message):
        data = message if isinstance(message, bytes) else json.dumps(message).encode()
        self.sock.sendall(b"%x\r\n" % len(data) + data + b"\r\n")

    def head(self):
        lines = []
        while not lines or lines[-1]:
            lines.append(self.file.readline().decode().strip())
        return lines

    def line(self):
        length = int(self.file.readline(), 16)
        text = self.file.read(length + 2)
        return json.loads(text) if length else None

    def close(self):
        self.file.close()
        self.sock.close()


def watch_of(key):
    return {"create_request": {"key": b64(key)}}


@test
def a_watch_is_answered_while_its_body_is_open_and_takes_more_as_it_comes():
    # etcd 3.4 takes them as they come, too, but its answer waits for the body's end unless the client says
    # "Connection: close" or "Expect: 100-continue"; here it never waits.
    server = shared()
    for fields in ((), ("Connection: close",), ("Expect: 100-continue",)):
        stream = Stream(server, "/v3/watch", *fields)
        if "Expect" in str(fields):
            assert stream.head()[0] == "HTTP/1.1 100 Continue"
        text = json.dumps(watch_of("gw/open1")).encode()
        stream.say(text[:11])  # a value may come in pieces
        stream.say(text[11:])
        assert stream.head()[0] == "HTTP/1.1 200 OK"
        assert stream.line()["result"]["created"] is True
        post(server, "/v3/kv/put", {"key": b64("gw/open1"), "value": b64("1")})
        assert stream.line()["result"]["events"][0]["kv"]["key"] == b64("gw/open1")
        stream.say(b"\r\n" + json.dumps(watch_of("gw/open2")).encode() + b'{"cancel_request":{"watch_id":0}}')
        assert stream.line()["result"]["watch_id"] == "1"
        assert stream.line()["result"]["canceled"] is True
        stream.sock.sendall(b"0\r\n\r\n")  # the watch goes on
        post(server, "/v3/kv/put", {"key": b64("gw/open2"), "value": b64("1")})
        assert stream.line()["result"]["watch_id"] == "1"
        stream.close()


@test
def renewals_go_on_over_an_open_body_and_end_with_it_and_the_connection_serves_the_next_request():
    server = shared()
    lease = post(server, "/v3/lease/grant", {"TTL": 60})[2]["ID"]
    stream = Stream(server, "/v3/lease/keepalive")
    for i in range(5):
        stream.say({"ID": lease})
        if i == 0:
            stream.head()
        assert stream.line()["result"]["TTL"] == "60"
    stream.say(b'{"ID":"%d"}' % int(lease) * 1000)  # more than a turn's worth
    for i in range(1000):
        assert stream.line()["result"]["TTL"] == "60"
    stream.sock.sendall(b"0\r\n\r\nPOST /v3/kv/range HTTP/1.1\r\nHost: a\r\nContent-Length: 14\r\n\r\n{\"key\":\"YQ==\"}")
    assert stream.line() is None
    assert stream.head()[0] == "HTTP/1.1 200 OK"
    stream.close()
    stream = Stream(server, "/v3/lease/keepalive")
    stream.say({"ID": "12345678"})  # no such lease: TTL 0, and so left out
    stream.head()
    assert "TTL" not in stream.line()["result"]
    stream.close()


@test
def curl_talks_both_ways_at_once():
    server = shared()
    url = f"http://127.0.0.1:{server.port}/v3/watch"
    command = ["curl", "-sN", "-m", "20", "-X", "POST", "-T", "-", url]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0) as curl:
        curl.stdin.write(json.dumps(watch_of("gw/curl1")).encode())
        time.sleep(0.5)
        post(server, "/v3/kv/put", {"key": b64("gw/curl1"), "value": b64("1")})
        for _ in range(4):  # curl looks at its socket when its input has said something
            curl.stdin.write(json.dumps(watch_of("gw/curl2")).encode())
            time.sleep(0.2)
        lines = [json.loads(curl.stdout.readline())["result"] for _ in range(3)]  # and its input is still open
        curl.kill()
    assert lines[0]["created"] and lines[2]["created"] and lines[2]["watch_id"] == "1", lines
    assert lines[1]["events"][0]["kv"]["key"] == b64("gw/curl1"), lines


@test
def an_open_body_that_makes_no_sense_is_refused_or_ends_what_the_client_says():
    server = shared()
    for bad, status, code in ((b"{bad", 400, 3), (b"[]", 400, 3), (b'{"create_request":5}', 400, 3)):
        stream = Stream(server, "/v3/watch")
        stream.say(bad)
        assert f" {status} " in stream.head()[0]
        assert json.loads(stream.file.read())["code"] == code  # and the connection ends
        stream.close()
    stream = Stream(server, "/v3/watch")
    stream.say(watch_of("gw/bad"))
    stream.head()
    stream.line()
    stream.say(b"{bad")
    stream.say(watch_of("gw/bad2"))  # nobody listens any more, but the watch goes on
    post(server, "/v3/kv/put", {"key": b64("gw/bad"), "value": b64("1")})
    assert stream.line()["result"]["events"][0]["kv"]["key"] == b64("gw/bad")
    stream.close()
    stream = Stream(server, "/v3/watch")  # framing: the connection ends, so that nothing can hide behind it
    stream.say(watch_of("gw/bad"))
    stream.head()
    stream.line()
    stream.sock.sendall(b"zz\r\nPOST /v3/kv/put HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n{}")
    assert stream.file.read() == b""
    stream.close()
    stream = Stream(server, "/v3/watch")  # a value without end
    stream.say(b"{")
    try:
        for _ in range(6):
            stream.say(b" " * 1000000)
        assert " 429 " in stream.head()[0]
    except (BrokenPipeError, ConnectionResetError):
        pass
    stream.close()
    host = Stream(server, "/v3/kv/range")  # a single message: the whole body is waited for
    host.sock.settimeout(0.5)
    host.say({"key": "YQ=="})
    try:
        raise AssertionError(host.head())
    except TimeoutError:
        pass
    host.close()


@test
def a_large_answer_costs_neither_memory_nor_time_while_its_reader_is_slow():
    server = Server().start()
    value = base64.b64encode(os.urandom(1000)).decode()
    for part in range(40):
        puts = [{"request_put": {"key": b64(f"gw/l/{part:02}/{i:03}"), "value": value}} for i in range(100)]
        assert post(server, "/v3/kv/txn", {"success": puts})[0] == 200
    ask = {"key": b64("gw/l/"), "range_end": b64("gw/l0")}
    whole = post(server, "/v3/kv/range", ask)[2]
    assert len(whole["kvs"]) == 4000 and whole["count"] == "4000" and "more" not in whole
    assert [kv["key"] for kv in whole["kvs"]] == sorted(kv["key"] for kv in whole["kvs"])
    before = rss_mib(server)
    slow = []
    for _ in range(40):  # 5 MB each
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
        sock.connect(("127.0.0.1", server.port))
        body = json.dumps(ask).encode()
        sock.sendall(b"POST /v3/kv/range HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        slow.append(sock)
    time.sleep(1)
    grown = rss_mib(server) - before
    assert grown < 60, f"{grown} MiB for 40 answers that nobody reads"
    assert stall_seconds(server) < 0.02, stall_seconds(server)
    reply = http.client.HTTPResponse(slow[0])
    reply.begin()
    assert len(json.loads(reply.read())["kvs"]) == 4000
    for sock in slow:
        sock.close()
    assert post(server, "/v3/kv/range", {"key": "YQ=="})[0] == 200
    limited = post(server, "/v3/kv/range", {**ask, "limit": 3000, "sort_target": "VALUE", "sort_order": "DESCEND"})[2]
    assert len(limited["kvs"]) == 3000 and limited["more"] is True, limited["count"]
    gone = post(server, "/v3/kv/deleterange", {**ask, "prev_kv": True})[2]
    assert gone["deleted"] == "4000" and len(gone["prev_kvs"]) == 4000
    server.stop()


@test
def over_websocket_a_large_answer_is_one_message_in_parts_that_waits_for_its_reader():
    server = Server().start()
    value = base64.b64encode(os.urandom(1000)).decode()
    for part in range(40):
        puts = [{"request_put": {"key": b64(f"gw/l/{part:02}/{i:03}"), "value": value}} for i in range(100)]
        assert post(server, "/v3/kv/txn", {"success": puts})[0] == 200
    ask = {"key": b64("gw/l/"), "range_end": b64("gw/l0")}
    whole = post(server, "/v3/kv/range", ask)[2]
    before = rss_mib(server)
    slow = [Socket(server, "/v3/kv/range") for _ in range(40)]  # 5 MB each
    for ws in slow:
        ws.send(json.dumps(ask))
    time.sleep(1)
    grown = rss_mib(server) - before
    assert grown < 60, f"{grown} MiB for 40 answers that nobody reads"
    ws = slow[0]
    text, frames = ws.message(lambda: ws.send("now", opcode=9))
    assert json.loads(text) == whole and frames > 10, frames
    assert ws.pongs and set(ws.pongs) == {b"now"}, "answered before the message has ended"
    for ws in slow[1:39]:
        ws.close()
    for method, asked, kind in (("range", {**ask, "limit": 3000}, "kvs"),
                                ("deleterange", {**ask, "prev_kv": True}, "prev_kvs")):
        ws = Socket(server, f"/v3/kv/{method}")
        ws.send(json.dumps(asked))
        assert len(json.loads(ws.message()[0])[kind]) == (3000 if kind == "kvs" else 4000)
        assert ws.receive() == (8, "\x03\xe8")
        ws.close()
    server.kill()  # who has read half of it sees that it was cut
    try:
        raise AssertionError(len(slow[39].message()[0]))
    except (ValueError, ConnectionResetError):
        pass


# ---- stock clients -------------------------------------------------------------------------------


@test
def python3_etcd3gw_works_keys_prefixes_transactions_and_what_it_needs_of_leases_locks_watches():
    try:
        import etcd3gw
    except ImportError as missing:
        raise Skip("python3-etcd3gw is not installed") from missing
    server = shared()
    client = etcd3gw.Etcd3Client(host="127.0.0.1", port=server.port, api_path="/v3/")
    assert client.put("gw3/a", "1") and client.put("gw3/b", "2")
    assert client.get("gw3/a") == [b"1"]
    assert sorted(kv[0] for kv in client.get_prefix("gw3/")) == [b"1", b"2"]
    assert client.replace("gw3/a", "1", "3") and not client.replace("gw3/a", "1", "4")
    assert client.create("gw3/c", "5") and not client.create("gw3/c", "6")
    assert client.delete("gw3/c") and not client.delete("gw3/c")
    assert client.status()["version"].startswith("3.")
    assert client.members()[0]["name"] == "default"
    if post(server, "/v3/lease/grant", {"TTL": 5})[0] == 501:
        raise Skip("leases are not built yet; keys and transactions passed")
    lease = client.lease(ttl=60)
    client.put("gw3/l", "x", lease=lease)
    assert lease.keys() == [b"gw3/l"] and 0 < lease.ttl() <= 60 and lease.refresh() > 0
    lease.revoke()
    assert client.get("gw3/l") == []
    with client.lock(id="gw3-lock", ttl=30) as lock:
        assert lock.is_acquired()
    assert not lock.is_acquired()
    events, cancel = client.watch("gw3/w")
    client.put("gw3/w", "1")
    event = next(events)
    assert event["kv"]["key"] == b"gw3/w" and event["kv"]["value"] == b"1", event
    cancel()


@test
def python3_tooz_s_etcd3gw_driver_takes_and_gives_back_a_lock():
    try:
        import etcd3gw
        from tooz import coordination
    except ImportError as missing:
        raise Skip("python3-tooz is not installed") from missing
    # Debian's tooz names an argument that Debian's etcd3gw.client() does not pass on.
    etcd3gw.client = etcd3gw.Etcd3Client
    server = shared()
    if post(server, "/v3/lease/grant", {"TTL": 5})[0] == 501:
        raise Skip("leases are not built yet")
    one = coordination.get_coordinator(f"etcd3+http://127.0.0.1:{server.port}?api_version=v3", b"one")
    two = coordination.get_coordinator(f"etcd3+http://127.0.0.1:{server.port}?api_version=v3", b"two")
    one.start()
    two.start()
    lock = one.get_lock(b"gw-lock")
    other = two.get_lock(b"gw-lock")
    assert lock.acquire() and not other.acquire(blocking=False)
    assert lock.release() and other.acquire(blocking=False) and other.release()
    one.stop()
    two.stop()


if __name__ == "__main__":
    os.environ.setdefault("no_proxy", "127.0.0.1")
    run()
