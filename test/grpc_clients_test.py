#!/usr/bin/python3
"""Stock clients against the echo server: grpcio, curl, h2load, nghttp. Each is skipped, with the
reason, where it is not installed.

usage: grpc_clients_test.py ECHO_SERVER
"""
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile

try:
    import grpc
except ImportError:
    grpc = None

CASES = []


def case(tool):
    def register(run):
        CASES.append((run, tool))
        return run
    return register


def equal(got, wanted):
    if got != wanted:
        raise AssertionError("got %r, wanted %r" % (got, wanted))


def output(*command):
    done = subprocess.run(command, capture_output=True, timeout=60, check=False)
    return done.stdout.decode("latin-1")


def failure(call, *args, **kwargs):
    try:
        call(*args, **kwargs)
    except grpc.RpcError as error:
        return error.code().value[0], error.details()
    raise AssertionError("the call succeeded")


# ---- grpcio ----------------------------------------------------------------------------------------


def channel_of(port):
    return grpc.insecure_channel("127.0.0.1:%d" % port,
                                 options=[("grpc.max_receive_message_length", -1)])


@case("grpcio")
def unary_calls_of_many_sizes(port):
    with channel_of(port) as channel:
        call = channel.unary_unary("/test.Echo/Unary")
        for size in (0, 1, 100, 16384, 65536, 1500000, 2097152):
            equal(call(b"x" * size), b"x" * size)


@case("grpcio")
def errors_have_their_code_and_text(port):
    with channel_of(port) as channel:
        equal(failure(channel.unary_unary("/test.Echo/Fail"), "3 k\u00e9y 100%\n".encode()),
              (3, "k\u00e9y 100%\n"))
        equal(failure(channel.unary_unary("/test.Echo/Nope"), b""),
              (12, "unknown method Nope for service test.Echo"))
        equal(failure(channel.unary_unary("/test.Echo/Unary"), b"x" * 2097153),
              (8, "grpc: received message larger than max (2097153 vs. 2097152)"))


@case("grpcio")
def every_code_comes_through(port):
    with channel_of(port) as channel:
        call = channel.unary_unary("/test.Echo/Fail")
        for code in range(1, 17):
            equal(failure(call, b"%d text" % code), (code, "text"))


@case("grpcio")
def a_deadline_passes(port):
    with channel_of(port) as channel:
        code, _ = failure(channel.unary_unary("/test.Echo/Hang"), b"", timeout=0.2)
        equal(code, 4)


@case("grpcio")
def compressed_calls(port):
    with channel_of(port) as channel:
        data = b"zip" * 10000
        call = channel.unary_unary("/test.Echo/Unary")
        equal(call(data, compression=grpc.Compression.Gzip), data)


@case("grpcio")
def a_large_reply_streams(port):
    with channel_of(port) as channel:
        equal(len(channel.unary_unary("/test.Echo/Source")(b"40000000")), 40000000)


@case("grpcio")
def server_and_bidi_streams(port):
    with channel_of(port) as channel:
        got = list(channel.unary_stream("/test.Echo/Server")(b"300 2000"))
        equal((len(got), sum(map(len, got))), (300, 600000))
        sent = [b"m" * n for n in range(0, 30000, 500)]
        equal(list(channel.stream_stream("/test.Echo/Bidi")(iter(sent))), sent)


@case("grpcio")
def many_calls_at_once(port):
    with channel_of(port) as channel:
        call = channel.unary_unary("/test.Echo/Unary")
        futures = [call.future(b"%d" % i) for i in range(500)]
        equal([f.result() for f in futures], [b"%d" % i for i in range(500)])


# ---- command-line tools ----------------------------------------------------------------------------


@case("curl")
def curl_over_http1(port):
    text = output("curl", "-si", "http://127.0.0.1:%d/version" % port)
    lines = text.split("\r\n")
    equal(lines[:2], ["HTTP/1.1 200 OK", "Content-Type: application/json"])
    equal(lines[2].startswith("Date: "), True)
    equal(lines[3:], ["Content-Length: 22", "", '{"etcdserver":"3.6.0"}'])


@case("curl")
def curl_reads_a_chunked_body(port):
    equal(len(output("curl", "-s", "http://127.0.0.1:%d/chunks?n=3000" % port)), 3000000)


@case("curl")
def curl_posts_with_expect(port):
    with tempfile.NamedTemporaryFile() as body:
        body.write(b"e" * 2000000)
        body.flush()
        equal(len(output("curl", "-s", "-H", "Expect: 100-continue", "--data-binary",
                         "@" + body.name, "http://127.0.0.1:%d/echo" % port)), 2000000)


@case("curl")
def curl_head_has_no_body(port):
    text = output("curl", "-sI", "http://127.0.0.1:%d/version" % port)
    equal("Content-Length: 22\r\n" in text, True)


@case("curl")
def curl_offers_an_upgrade_that_is_ignored(port):
    text = output("curl", "-si", "--http2", "http://127.0.0.1:%d/version" % port)
    equal(text.startswith("HTTP/1.1 200 OK\r\n"), True)


@case("curl")
def curl_over_h2_is_no_grpc(port):
    text = output("curl", "-si", "--http2-prior-knowledge", "http://127.0.0.1:%d/version" % port)
    equal(text.split("\r\n")[:4],
          ["HTTP/2 415 ", "content-type: application/grpc", "grpc-status: 3",
           'grpc-message: invalid gRPC request content-type ""'])


@case("nghttp")
def nghttp_gets_an_answer(port):
    text = output("nghttp", "-v", "-n", "-H", "content-type: application/grpc",
                  "http://127.0.0.1:%d/test.Echo/Unary" % port)
    equal("grpc-status: 13" in text and "POST" in text, True)


@case("h2load")
def h2load_has_no_failure(port):
    with tempfile.NamedTemporaryFile() as body:
        body.write(b"\0\0\0\0\5hello")
        body.flush()
        text = output("h2load", "-n", "20000", "-c", "10", "-m", "20", "-t", "1", "-d", body.name,
                      "-H", "content-type: application/grpc", "-H", "te: trailers",
                      "http://127.0.0.1:%d/test.Echo/Unary" % port)
    found = re.search(r"requests: 20000 total.*20000 succeeded, 0 failed, 0 errored", text)
    equal(found is not None, True)


# ---- running ---------------------------------------------------------------------------------------


def missing(tool):
    if tool == "grpcio":
        return grpc is None
    return shutil.which(tool) is None


def main():
    if len(sys.argv) != 2:
        print(__doc__)
        return 2
    os.environ.pop("http_proxy", None)
    process = subprocess.Popen([sys.argv[1], "127.0.0.1", "0"], stdout=subprocess.PIPE, text=True)
    port = int(process.stdout.readline().split()[1].rsplit(":", 1)[1])
    failed = 0
    print("1..%d" % len(CASES))
    for number, (run, tool) in enumerate(CASES, 1):
        name = run.__name__.replace("_", " ")
        if missing(tool):
            print("ok %d - %s # SKIP %s is not installed" % (number, name, tool))
            continue
        try:
            run(port)
            print("ok %d - %s" % (number, name))
        except Exception as error:  # whatever went wrong is this case's failure
            failed += 1
            print("not ok %d - %s\n# %s: %s" % (number, name, type(error).__name__, error))
        sys.stdout.flush()
    process.send_signal(signal.SIGTERM)
    process.wait(10)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
