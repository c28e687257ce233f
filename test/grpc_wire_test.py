#!/usr/bin/python3
"""gRPC over HTTP/2 as it looks on the wire, row by row of the protocol facts etcd's clients rely on.

usage: grpc_wire_test.py ECHO_SERVER                    starts it on a free port
       grpc_wire_test.py --target HOST:PORT [--ours | --old]    runs against a server that is there

Every case that a real etcd understands too uses etcdserverpb.KV/Range; --target runs only those,
and with --ours also those where this project's etcd is stricter or says it in other words.
--old marks etcd 3.4, whose gRPC library is older: cases it is known to answer otherwise are skipped.
Prints TAP. Needs python3-h2; skipped without it.
"""
import gzip
import select
import signal
import socket
import struct
import subprocess
import sys
import time

try:
    import h2.config
    import h2.connection
    import h2.errors
    import h2.events
    import h2.settings
except ImportError:
    print("1..0 # SKIP python3-h2 is not installed")
    sys.exit(0)

RANGE = "/etcdserverpb.KV/Range"
KEY = b"\x0a\x01a"  # RangeRequest{key: "a"}
TIMEOUT = 10
HEAD = [(":method", "POST"), (":scheme", "http"), (":path", RANGE)]
GRPC = [("content-type", "application/grpc"), ("te", "trailers")]


def message(data, flag=0):
    return struct.pack(">BI", flag, len(data)) + data


class Answer:
    """What came on one stream."""

    def __init__(self):
        self.headers = None
        self.trailers = None
        self.data = b""
        self.ended = False
        self.reset = None
        self.blocks = 0

    def field(self, name):
        for block in (self.trailers, self.headers):
            for key, value in block or []:
                if key == name:
                    return value
        return None

    @property
    def status(self):
        return self.field("grpc-status")

    @property
    def text(self):
        return self.field("grpc-message")


class Client:
    """One connection; sends what it is told, also what no client should."""

    def __init__(self, address, settings=None):
        config = h2.config.H2Configuration(
            client_side=True, header_encoding="utf-8", validate_outbound_headers=False,
            normalize_outbound_headers=False, validate_inbound_headers=False)
        self.sock = socket.create_connection(address, TIMEOUT)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.conn = h2.connection.H2Connection(config)
        self.conn.initiate_connection()
        if settings:
            self.conn.update_settings(settings)
        self.answers = {}
        self.goaway = None
        self.closed = False
        self.auto_window = True
        self.largest = 0
        self.flush()

    def close(self):
        self.sock.close()

    def flush(self):
        data = self.conn.data_to_send()
        if data:
            try:
                self.sock.sendall(data)
            except OSError:
                self.closed = True

    def raw(self, data):
        self.flush()
        try:
            self.sock.sendall(data)
        except OSError:
            self.closed = True

    def start(self, path=RANGE, fields=None, method="POST", end=False, head=None):
        stream = self.conn.get_next_available_stream_id()
        if head is None:
            head = [(":method", method), (":scheme", "http"), (":path", path),
                    (":authority", "localhost")]
        self.answers[stream] = Answer()
        self.conn.send_headers(stream, head + (GRPC if fields is None else fields),
                               end_stream=end)
        self.flush()
        return stream

    def send(self, stream, data, end=True):
        sent = 0
        while sent < len(data) or (end and sent == len(data)):
            answer = self.answers[stream]
            if answer.ended or answer.reset is not None or self.closed:
                return
            window = min(self.conn.local_flow_control_window(stream),
                         self.conn.max_outbound_frame_size)
            part = data[sent:sent + window]
            if window <= 0 and sent < len(data):
                self.poll()
                continue
            sent += len(part)
            last = end and sent == len(data)
            self.conn.send_data(stream, part, end_stream=last)
            self.flush()
            if last or sent == len(data):
                return

    def poll(self):
        try:
            data = self.sock.recv(65536)
        except (socket.timeout, ConnectionError):
            data = b""
        if not data:
            self.closed = True
            return
        for event in self.conn.receive_data(data):
            self.handle(event)
        self.flush()

    def poll_ready(self):
        if select.select([self.sock], [], [], 0)[0]:
            self.poll()

    def drain(self):
        """Reads until the server closes, whatever it says."""
        self.sock.settimeout(TIMEOUT)
        try:
            while self.sock.recv(65536):
                pass
        except ConnectionError:
            pass

    def handle(self, event):
        answer = self.answers.get(getattr(event, "stream_id", None), Answer())
        if isinstance(event, h2.events.ResponseReceived):
            answer.headers = event.headers
            answer.blocks += 1
        elif isinstance(event, h2.events.TrailersReceived):
            answer.trailers = event.headers
            answer.blocks += 1
        elif isinstance(event, h2.events.DataReceived):
            answer.data += event.data
            self.largest = max(self.largest, len(event.data))
            if self.auto_window and event.flow_controlled_length:
                self.conn.acknowledge_received_data(event.flow_controlled_length,
                                                    event.stream_id)
        elif isinstance(event, h2.events.StreamEnded):
            answer.ended = True
        elif isinstance(event, h2.events.StreamReset):
            answer.reset = event.error_code
        elif isinstance(event, h2.events.ConnectionTerminated):
            self.goaway = (event.error_code, event.additional_data or b"")

    def wait(self, stream):
        answer = self.answers[stream]
        while not answer.ended and answer.reset is None and not self.closed:
            self.poll()
        return answer

    def wait_closed(self):
        while not self.closed:
            self.poll()

    def call(self, data=None, path=RANGE, fields=None, method="POST", head=None):
        """A whole exchange; data None: END_STREAM with the headers."""
        stream = self.start(path, fields, method, end=data is None, head=head)
        if data is not None:
            self.send(stream, data)
        return self.wait(stream)


CASES = []


def case(also_etcd=True, old=True, ours=None):
    def register(run):
        CASES.append((run, also_etcd, old, also_etcd if ours is None else ours))
        return run
    return register


def equal(got, wanted):
    if got != wanted:
        raise AssertionError("got %r, wanted %r" % (got, wanted))


def refused(answer, status, text, http="200"):
    """Trailers-only: one block that ends the stream."""
    equal(answer.field(":status"), http)
    equal(answer.field("content-type"), "application/grpc")
    equal((answer.status, answer.text), (status, text))
    equal(answer.data, b"")
    equal(answer.blocks, 1)


# ---- answers ---------------------------------------------------------------------------------------


@case()
def a_success_is_headers_data_trailers(client):
    answer = client.call(message(KEY))
    equal(answer.headers, [(":status", "200"), ("content-type", "application/grpc")])
    equal(answer.trailers, [("grpc-status", "0"), ("grpc-message", "")])
    flag, length = struct.unpack(">BI", answer.data[:5])
    equal((flag, length), (0, len(answer.data) - 5))
    equal(answer.ended, True)


@case(also_etcd=False)
def an_empty_message_is_five_zero_bytes(client):
    answer = client.call(message(b""))
    equal((answer.status, answer.data), ("0", b"\0\0\0\0\0"))


@case()
def te_is_not_asked_for(client):
    equal(client.call(message(KEY), fields=GRPC[:1]).status, "0")


@case()
def a_content_subtype_comes_back(client):
    answer = client.call(message(KEY), fields=[("content-type", "application/grpc+proto")])
    equal(answer.status, "0")
    equal(answer.field("content-type"), "application/grpc+proto")


@case(old=False)
def gzip_in_gives_gzip_out(client):
    fields = GRPC + [("grpc-encoding", "gzip")]
    answer = client.call(message(gzip.compress(KEY), 1), fields=fields)
    equal(answer.field("grpc-encoding"), "gzip")
    equal((answer.status, answer.data[0]), ("0", 1))
    gzip.decompress(answer.data[5:])


@case()
def accepting_gzip_changes_nothing(client):
    answer = client.call(message(KEY), fields=GRPC + [("grpc-accept-encoding", "gzip")])
    equal((answer.status, answer.data[0], answer.field("grpc-encoding")), ("0", 0, None))


@case()
def identity_is_no_encoding(client):
    answer = client.call(message(KEY), fields=GRPC + [("grpc-encoding", "identity")])
    equal((answer.status, answer.data[0]), ("0", 0))


@case()
def a_message_may_come_byte_by_byte(client):
    stream = client.start()
    data = message(KEY)
    for i in range(len(data)):
        client.send(stream, data[i:i + 1], end=i == len(data) - 1)
    equal(client.wait(stream).status, "0")


@case(also_etcd=False)
def a_window_of_one_byte_is_kept(client_of):
    settings = {h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: 1}
    client = client_of(settings)
    time.sleep(0.1)
    answer = client.call(message(b"0123456789"))
    equal((answer.status, answer.data), ("0", message(b"0123456789")))
    equal(client.largest, 1)


@case(also_etcd=False)
def a_closed_window_stops_the_body_only(client):
    client.auto_window = False
    first = client.start("/test.Echo/Source")
    client.send(first, message(b"1000000"))
    deadline = time.time() + 5
    while len(client.answers[first].data) < 65535 and time.time() < deadline:
        client.poll()
    equal(len(client.answers[first].data), 65535)
    equal(client.call(message(b"x"), path="/test.Echo/Nope").status, "12")


# ---- refusals --------------------------------------------------------------------------------------


@case()
def unknown_method(client):
    refused(client.call(message(b""), path="/etcdserverpb.KV/Nope"), "12",
            "unknown method Nope for service etcdserverpb.KV")


@case()
def unknown_service(client):
    refused(client.call(message(b""), path="/nope.X/Y"), "12", "unknown service nope.X")


@case(old=False)
def malformed_path(client):
    refused(client.call(message(b""), path="/bad"), "12", 'malformed method name: "/bad"')


@case(old=False)
def a_path_without_a_slash_is_refused(client):
    refused(client.call(message(KEY), path=RANGE[1:]), "12",
            'malformed method name: "etcdserverpb.KV/Range"')


@case()
def unknown_encoding(client):
    answer = client.call(message(KEY), fields=GRPC + [("grpc-encoding", "snappy")])
    equal((answer.status, answer.text),
          ("12", 'grpc: Decompressor is not installed for grpc-encoding "snappy"'))


@case()
def a_compressed_message_without_an_encoding(client):
    answer = client.call(message(KEY, 1))
    equal((answer.status, answer.text),
          ("13", "grpc: compressed flag set with identity or empty encoding"))


@case(old=False)
def wrong_content_type(client):
    refused(client.call(message(KEY), fields=[("content-type", "text/plain")]), "3",
            'invalid gRPC request content-type "text/plain"', "415")


@case(old=False)
def no_content_type(client):
    refused(client.call(path="/version", fields=[], method="GET"), "3",
            'invalid gRPC request content-type ""', "415")


@case(old=False)
def a_get_is_not_a_call(client):
    refused(client.call(method="GET"), "13",
            'Received a HEADERS frame with :method "GET" which should be POST', "405")


@case(old=False)
def a_bad_timeout(client):
    refused(client.call(message(KEY), fields=GRPC + [("grpc-timeout", "1x")]), "13",
            'malformed grpc-timeout: transport: timeout unit is not recognized: "1x"', "400")


@case(old=False)
def a_timeout_of_nine_digits(client):
    refused(client.call(message(KEY), fields=GRPC + [("grpc-timeout", "123456789n")]), "13",
            'malformed grpc-timeout: transport: timeout string is too long: "123456789n"', "400")


@case()
def timeouts_of_all_units_pass(client):
    for timeout in ("1H", "1M", "9S", "9000m", "9000000u", "99999999n", "99999999H"):
        equal(client.call(message(KEY), fields=GRPC + [("grpc-timeout", timeout)]).status, "0")


@case(old=False)
def an_expired_timeout_resets_the_stream(client):
    answer = client.call(message(KEY), fields=GRPC + [("grpc-timeout", "1n")])
    equal((answer.reset, answer.data), (h2.errors.ErrorCodes.CANCEL, b""))


@case()
def a_message_over_the_limit(client):
    answer = client.call(message(b"x" * 2097153))
    equal((answer.status, answer.text),
          ("8", "grpc: received message larger than max (2097153 vs. 2097152)"))


@case()
def a_length_over_the_limit_is_refused_before_the_message(client):
    stream = client.start()
    client.send(stream, struct.pack(">BI", 0, 0xffffffff) + b"only this", end=False)
    answer = client.wait(stream)
    equal((answer.status, answer.text),
          ("8", "grpc: received message larger than max (4294967295 vs. 2097152)"))


@case(also_etcd=False, ours=True)
def a_gzip_bomb_is_stopped(client):
    fields = GRPC + [("grpc-encoding", "gzip")]
    answer = client.call(message(gzip.compress(b"\0" * 50000000), 1), fields=fields)
    equal((answer.status, answer.text),
          ("8", "grpc: received message after decompression larger than max 2097152"))


@case(also_etcd=False, ours=True)
def what_is_not_gzip_is_refused(client):
    fields = GRPC + [("grpc-encoding", "gzip")]
    answer = client.call(message(b"not gzip at all", 1), fields=fields)
    equal((answer.status, answer.text),
          ("13", "grpc: failed to decompress the message: gzip: invalid header"))


@case(also_etcd=False, ours=True)
def bad_binary_metadata(client):
    answer = client.call(message(KEY), fields=GRPC + [("x-bin", "!!!!")])
    equal((answer.field(":status"), answer.status), ("400", "13"))


@case(also_etcd=False, ours=True)
def a_request_without_a_message(client):
    refused(client.call(), "2", "EOF")


@case(also_etcd=False, ours=True)
def a_request_with_half_a_message(client):
    refused(client.call(message(b"hello")[:7]), "2", "unexpected EOF")


@case(also_etcd=False)
def an_error_text_is_percent_encoded(client):
    answer = client.call(message("3 k\u00e9y 100%\n".encode()), path="/test.Echo/Fail")
    equal((answer.status, answer.text), ("3", "k%C3%A9y 100%25%0A"))


# ---- streams ---------------------------------------------------------------------------------------


@case(also_etcd=False)
def a_stream_answers_before_the_client_ends(client):
    stream = client.start("/test.Echo/Bidi")
    client.send(stream, message(b"one"), end=False)
    while not client.answers[stream].data:
        client.poll()
    equal(client.answers[stream].data, message(b"one"))
    client.send(stream, message(b"two") + message(b"three"), end=True)
    answer = client.wait(stream)
    equal((answer.status, answer.data), ("0", message(b"one") + message(b"two") + message(b"three")))


@case(also_etcd=False)
def a_stream_that_ends_at_once(client):
    answer = client.call(path="/test.Echo/Bidi")
    equal((answer.status, answer.blocks), ("0", 1))


@case(also_etcd=False)
def a_server_stream(client):
    answer = client.call(message(b"1000 1000"), path="/test.Echo/Server")
    equal((answer.status, len(answer.data)), ("0", 1000 * 1005))


@case()
def a_reset_stream_does_not_disturb_the_others(client):
    for _ in range(20):
        stream = client.start()
        client.conn.reset_stream(stream, h2.errors.ErrorCodes.CANCEL)
    client.flush()
    equal(client.call(message(KEY)).status, "0")


# ---- keepalive and floods --------------------------------------------------------------------------


@case()
def too_many_pings_end_in_goaway(client):
    for _ in range(8):
        if client.closed:
            break
        client.conn.ping(b"pingpong")
        client.flush()
    client.wait_closed()
    equal(client.goaway, (h2.errors.ErrorCodes.ENHANCE_YOUR_CALM, b"too_many_pings"))


@case(also_etcd=False, ours=True)
def rapid_reset_ends_in_goaway(client):
    for _ in range(4000):
        if client.closed or client.goaway:
            break
        stream = client.start(end=False)
        client.conn.reset_stream(stream, h2.errors.ErrorCodes.CANCEL)
        client.poll_ready()
    client.wait_closed()
    equal(client.goaway, (h2.errors.ErrorCodes.ENHANCE_YOUR_CALM, b"too_many_resets"))


@case(also_etcd=False, ours=True)
def a_header_list_over_16_kib_costs_the_stream(client):
    answer = client.call(message(KEY), fields=GRPC + [("x", "v" * 17000)])
    equal(answer.reset is not None, True)
    equal(client.call(message(KEY)).status, "0")


@case(also_etcd=False, ours=True)
def a_continuation_flood_ends_the_connection(client):
    client.raw(b"\0\0\1\1\0\0\0\0\1\x83")
    for _ in range(100):
        client.raw(b"\0\0\1\x09\0\0\0\0\1\x86")
    client.drain()


# ---- RFC 9113 --------------------------------------------------------------------------------------


@case(old=False)
def data_on_an_idle_stream_is_a_connection_error(client):
    client.raw(b"\0\0\1\0\0\0\0\0\x05x")
    client.wait_closed()
    equal(client.goaway[0], h2.errors.ErrorCodes.PROTOCOL_ERROR)


@case(also_etcd=False, ours=True)
def an_even_stream_is_a_connection_error(client):
    client.raw(b"\0\0\3\1\5\0\0\0\2\x83\x86\x84")
    client.wait_closed()
    equal(client.goaway[0], h2.errors.ErrorCodes.PROTOCOL_ERROR)


@case(also_etcd=False, ours=True)
def an_upper_case_name_is_malformed(client):
    answer = client.call(message(KEY), fields=GRPC + [("X-Upper", "v")])
    equal(answer.reset, h2.errors.ErrorCodes.PROTOCOL_ERROR)


@case(also_etcd=False, ours=True)
def connection_fields_are_malformed(client):
    answer = client.call(message(KEY), fields=GRPC + [("connection", "keep-alive")])
    equal(answer.reset, h2.errors.ErrorCodes.PROTOCOL_ERROR)


@case(also_etcd=False)
def a_wrong_content_length_is_malformed(client):
    stream = client.start("/test.Echo/Bidi", GRPC + [("content-length", "3")])
    client.send(stream, message(b"hello"))
    equal(client.wait(stream).reset, h2.errors.ErrorCodes.PROTOCOL_ERROR)


@case()
def an_authority_may_be_a_url(client):
    for authority in ("http://127.0.0.1:2379", "unix:///run/etcd.sock", "a b", ""):
        head = HEAD + [(":authority", authority)]
        equal(client.call(message(KEY), head=head).status, "0")


@case()
def an_authority_may_be_absent(client):
    equal(client.call(message(KEY), head=HEAD).status, "0")


def malformed(client, head, fields=None, data=None):
    """Costs the stream; the next one is fine. Go says it with a reset as well."""
    answer = client.call(data, fields=fields, head=head)
    equal((answer.reset, answer.data), (h2.errors.ErrorCodes.PROTOCOL_ERROR, b""))
    equal(client.call(message(KEY)).status, "0")


@case(also_etcd=False, ours=True)
def a_request_lacks_nothing(client):
    for i in range(len(HEAD)):
        malformed(client, HEAD[:i] + HEAD[i + 1:])


@case()
def a_pseudo_field_comes_once(client):
    for field in HEAD:
        malformed(client, HEAD + [field])


@case()
def a_pseudo_field_comes_first(client):
    malformed(client, HEAD[:2] + [("x", "y")] + HEAD[2:])


@case()
def pseudo_fields_are_those_of_a_request(client):
    malformed(client, HEAD + [(":status", "200")])
    malformed(client, HEAD + [(":nope", "x")])


@case()
def a_value_has_no_control_characters(client):
    malformed(client, HEAD, GRPC + [("x", "a\0b")])
    malformed(client, HEAD, GRPC + [("x", "a\nb")])


@case(also_etcd=False, ours=True)
def te_asks_for_trailers_only(client):
    malformed(client, HEAD, [GRPC[0], ("te", "gzip")])


@case(also_etcd=False)
def trailers_have_no_pseudo_fields_and_end_the_stream(client):
    for fields, flags in ((b"\x84", 5), (b"\0\1x\1y", 4)):
        stream = client.start("/test.Echo/Bidi")
        client.raw(struct.pack(">I", len(fields))[1:] + bytes([1, flags]) +
                   struct.pack(">I", stream) + fields)
        equal(client.wait(stream).reset, h2.errors.ErrorCodes.PROTOCOL_ERROR)


@case(also_etcd=False)
def trailers_of_a_request_mean_nothing(client):
    stream = client.start("/test.Echo/Bidi")
    client.send(stream, message(b"one"), end=False)
    client.conn.send_headers(stream, [("x", "y")], end_stream=True)
    client.flush()
    answer = client.wait(stream)
    equal((answer.status, answer.data), ("0", message(b"one")))


@case(old=False)
def a_window_overflow_is_an_error(client):
    client.raw(b"\0\0\4\x08\0\0\0\0\0\x7f\xff\xff\xff")
    client.wait_closed()
    equal(client.goaway[0], h2.errors.ErrorCodes.FLOW_CONTROL_ERROR)


@case()
def a_frame_over_the_maximum_is_an_error(client):
    client.raw(b"\1\0\0\4\0\0\0\0\0" + b"\0" * 65536)
    client.wait_closed()


@case()
def unknown_frames_are_ignored(client):
    client.raw(b"\0\0\3\xee\0\0\0\0\0abc")
    equal(client.call(message(KEY)).status, "0")


@case()
def a_ping_is_answered_with_its_bytes(client):
    client.raw(b"\0\0\x08\6\0\0\0\0\0pingpong")
    data = b""
    while b"\0\0\x08\6\1\0\0\0\0pingpong" not in data:
        part = client.sock.recv(65536)
        if not part:
            raise AssertionError("closed")
        data += part


# ---- running ---------------------------------------------------------------------------------------


def run_one(run, address):
    clients = []

    def client_of(settings):
        clients.append(Client(address, settings))
        return clients[-1]

    try:
        if run.__code__.co_varnames[0] == "client_of":
            run(client_of)
        else:
            run(client_of(None))
        return None
    except Exception as error:  # whatever went wrong is this case's failure
        return "%s: %s" % (type(error).__name__, error)
    finally:
        for client in clients:
            client.close()


def start_echo(program):
    process = subprocess.Popen([program, "127.0.0.1", "0"], stdout=subprocess.PIPE, text=True)
    address = process.stdout.readline().split()[1]
    host, port = address.rsplit(":", 1)
    return process, (host, int(port))


def main():
    args = sys.argv[1:]
    if not args:
        print(__doc__)
        return 2
    process = None
    is_old = "--old" in args
    if "--target" in args:
        host, port = args[args.index("--target") + 1].rsplit(":", 1)
        address = (host, int(port))
        cases = [c for c in CASES if c[3 if "--ours" in args else 1]]
    else:
        process, address = start_echo(args[0])
        cases = CASES
    print("1..%d" % (len(cases) + (process is not None)))
    failed = 0
    number = 0
    for run, _, old, _ in cases:
        number += 1
        name = run.__name__.replace("_", " ")
        if is_old and not old:
            print("ok %d - %s # SKIP an older gRPC answers otherwise" % (number, name))
            continue
        why = run_one(run, address)
        print("%s %d - %s" % ("ok" if why is None else "not ok", number, name))
        if why is not None:
            failed += 1
            print("# " + why)
        sys.stdout.flush()
    if process is not None:
        process.send_signal(signal.SIGTERM)
        code = process.wait(10)
        print("%s %d - the server stops cleanly" % ("ok" if code == 0 else "not ok", number + 1))
        failed += code != 0
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
