"""The server as an operator meets it: start, stop, logs, flags, environment, file, data directory,
and everything that must be refused with a sentence."""
import json
import os
import shutil
import signal
import socket
import subprocess
import time

from harness import ETCD, Server, alarm_comes, contains, ctl, equal, free_port, run, scratch, test
from pbtiny import Client, field, message, op, put_request, range_request, txn_request


def lines(server):
    out = []
    for line in server.logged().splitlines():
        try:
            out.append(json.loads(line))
        except ValueError:
            raise AssertionError(f"no JSON: {line}") from None
    return out


def refused(server, *parts, status=1):
    """Starts a server that must end by itself with `status` and say all `parts`."""
    server.start(wait=False)
    equal(server.process.wait(30), status, server.logged()[-2000:])
    for part in parts:
        contains(server.logged(), part)
    server.stop()


def program(*args, env=None, cwd=None):
    environment = {k: v for k, v in os.environ.items() if not k.startswith("ETCD_")}
    return subprocess.run([ETCD] + list(args), capture_output=True, text=True, timeout=30, check=False,
                          env=dict(environment, **(env or {})), cwd=cwd or scratch("cwd"))


# ---- logs and signals ---------------------------------------------------------------------------

@test
def the_lines_that_scripts_wait_for_are_logged_in_order():
    server = Server().start()
    end = time.monotonic() + 30
    while "strongly discouraged" not in server.logged() and time.monotonic() < end:
        time.sleep(0.05)  # it is healthy a moment before it has published itself
    for line in lines(server):
        equal([k for k in ("level", "ts", "caller", "msg") if k not in line], [], str(line))
    equal(server.stop(), -signal.SIGTERM)  # as etcd: it stops cleanly and dies of the signal
    messages = [line["msg"] for line in lines(server)]
    wanted = ["configuring peer listeners", "configuring client listeners", "starting an etcd server",
              "starting local member", "starting etcd server", "now serving peer/client/metrics",
              "published local member to cluster through raft", "ready to serve client requests",
              "serving client traffic insecurely; this is strongly discouraged!",
              "received signal; shutting down", "closing etcd server", "closed etcd server"]
    at = -1
    for message_text in wanted:
        if message_text not in messages[at + 1:]:
            raise AssertionError(f"{message_text!r} is missing or out of order in {messages}")
        at = messages.index(message_text, at + 1)
    equal(messages[-1], "closed etcd server")


@test
def sigint_stops_cleanly_too():
    server = Server().start()
    equal(server.stop(signal.SIGINT), -signal.SIGINT)
    contains(server.logged(), '"signal":"interrupt"')


@test
def console_format_levels_and_files():
    server = Server()
    log = os.path.join(server.dir, "etcd.log")
    server.flags = ["--log-format", "console", "--log-level", "warn", "--log-outputs", log]
    server.start()
    server.stop()
    equal(server.logged(), "")
    with open(log, encoding="utf-8") as text:
        for line in text.read().splitlines():
            contains(line, "\twarn\t")


# ---- data ---------------------------------------------------------------------------------------

@test
def data_survives_clean_stops_and_kills():
    server = Server().start()
    for i in range(30):
        ctl(server, "put", f"k{i}", f"v{i}")
        if i % 10 == 9:
            server.restart(signal.SIGKILL if i == 19 else signal.SIGTERM)
    out = ctl(server, "get", "--prefix", "k", "--print-value-only")[1].split()
    equal(sorted(out), sorted(f"v{i}" for i in range(30)))
    revision = json.loads(ctl(server, "get", "k0", "-w", "json")[1])["header"]["revision"]
    equal(revision, 31)
    equal(ctl(server, "get", "k0", "--rev", "2", "--print-value-only")[1], "v0\n")
    server.stop()


@test
def snapshots_are_made_and_started_from():
    server = Server(flags=["--snapshot-count", "20", "--snapshot-catchup-entries", "5"]).start()
    for i in range(80):
        ctl(server, "put", f"k{i % 7}", f"v{i}")
    time.sleep(1)
    snaps = sorted(n for n in os.listdir(os.path.join(server.data_dir, "member/snap")) if n.endswith(".snap"))
    if len(snaps) < 2:
        raise AssertionError(f"no snapshots: {snaps}")
    server.restart(signal.SIGKILL)
    contains(server.logged(), "recovered v2 store from snapshot")
    equal(ctl(server, "get", "k2", "--print-value-only")[1], "v79\n")
    equal(ctl(server, "member", "list")[1].count("\n"), 1)
    server.stop()


@test
def compaction_goes_on_after_a_kill():
    server = Server().start()
    for i in range(50):
        ctl(server, "put", "k", f"v{i}")
    ctl(server, "compact", "40")
    server.restart(signal.SIGKILL)
    status, _, err = ctl(server, "get", "k", "--rev", "39", check=False)
    equal(status, 1)
    contains(err, "required revision has been compacted")
    equal(ctl(server, "get", "k", "--rev", "40", "--print-value-only")[1], "v38\n")
    server.stop()


@test
def unix_sockets_serve_clients():
    server = Server()
    path = os.path.join(server.dir, "s")
    server.flags = ["--listen-client-urls", f"unix://{path},{server.url}", "--advertise-client-urls", server.url]
    server.command = lambda: [server.binary, "--data-dir", server.data_dir, "--listen-peer-urls", server.peer_url,
                              "--initial-advertise-peer-urls", server.peer_url,
                              "--initial-cluster", f"default={server.peer_url}"] + server.flags
    server.start()
    server.url, tcp = f"unix://{path}", server.url
    equal(ctl(server, "put", "k", "v")[1], "OK\n")
    server.url = tcp
    equal(ctl(server, "get", "k")[1], "k\nv\n")
    server.stop()


# ---- what is refused -----------------------------------------------------------------------------

@test
def a_second_server_on_the_same_directory_is_refused():
    server = Server().start()
    ctl(server, "put", "k", "v")
    other = Server(data_dir=server.data_dir)
    refused(other, "is in use by another process", os.path.join(server.data_dir, "member/snap/db"))
    equal(ctl(server, "get", "k")[1], "k\nv\n")
    server.stop()


@test
def a_port_that_is_taken_is_refused_before_anything_is_written():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        server = Server()
        server.port = taken.getsockname()[1]
        server.url = f"http://127.0.0.1:{server.port}"
        refused(server, f"listen tcp 127.0.0.1:{server.port}: bind: address already in use")
        equal(os.path.exists(os.path.join(server.data_dir, "member")), False)


@test
def a_damaged_database_is_refused_with_its_name():
    server = Server().start()
    ctl(server, "put", "k", "v")
    server.stop()
    db = os.path.join(server.data_dir, "member/snap/db")
    with open(db, "r+b") as file:
        file.write(b"\x00" * 8192)
    refused(server, "member/snap/db")


@test
def a_database_cut_short_at_its_birth_is_made_again_from_the_log():
    server = Server().start()
    ctl(server, "put", "k", "v")
    server.stop()
    db = os.path.join(server.data_dir, "member/snap/db")
    os.truncate(db, 100)  # its first page still tells of more
    refused(server, "member/snap/db")
    with open(db, "wb") as file:  # as a crash may leave it before its first commit
        file.write(b"\x00" * 4096)
    server.start()
    equal(ctl(server, "get", "k")[1], "k\nv\n")
    server.stop()


@test
def a_damaged_log_is_refused_with_file_and_offset():
    server = Server().start()
    for i in range(20):
        ctl(server, "put", "k", f"v{i}")
    server.stop()
    wal = os.path.join(server.data_dir, "member/wal/0000000000000000-0000000000000000.wal")
    with open(wal, "r+b") as file:
        file.seek(400)
        byte = file.read(1)
        file.seek(400)
        file.write(bytes([byte[0] ^ 1]))
    refused(server, "0000000000000000-0000000000000000.wal")


@test
def a_missing_database_behind_a_snapshot_is_refused():
    server = Server(flags=["--snapshot-count", "10", "--snapshot-catchup-entries", "1"]).start()
    for i in range(40):
        ctl(server, "put", "k", f"v{i}")
    time.sleep(0.5)
    server.stop()
    os.rename(os.path.join(server.data_dir, "member/snap/db"), os.path.join(server.dir, "db"))
    refused(server, "is missing", "restore this member from a snapshot")


@test
def a_data_directory_that_is_a_file_is_refused():
    server = Server()
    with open(server.data_dir, "w", encoding="utf-8"):
        pass
    refused(server, server.data_dir)


@test
def a_missing_database_without_a_snapshot_is_rebuilt_from_the_log():
    server = Server().start()
    for i in range(5):
        ctl(server, "put", f"k{i}", "v")
    server.stop()
    os.unlink(os.path.join(server.data_dir, "member/snap/db"))
    server.start()
    equal(ctl(server, "get", "--prefix", "k", "--count-only", "--write-out=fields")[1].count('"Count" : 5'), 1)
    server.stop()


# ---- flags, environment, file ---------------------------------------------------------------------

@test
def version_and_help():
    done = program("--version")
    equal(done.returncode, 0)
    equal([line.split(":")[0] for line in done.stdout.splitlines()][:4],
          ["etcd Version", "Git SHA", "Go Version", "Go OS/Arch"])
    equal(done.stdout.splitlines()[0], "etcd Version: 3.6.0")
    done = program("--help")
    equal(done.returncode, 0)
    for flag in ("--name", "--data-dir", "--listen-client-urls", "--snapshot-count", "--quota-backend-bytes"):
        contains(done.stdout, flag)


@test
def bad_command_lines_are_refused_as_go_refuses_them():
    for args, status, part in (
            (["--nope"], 2, "flag provided but not defined: -nope"),
            (["--snapshot-count", "x"], 2, 'invalid value "x" for flag -snapshot-count: parse error'),
            (["--name"], 2, "flag needs an argument: -name"),
            (["stray"], 1, '\\"stray\\" is not a valid flag'),
            (["--heartbeat-interval", "500"], 1, "election"),
            (["--listen-client-urls", "http://127.0.0.1:1"], 1, "--advertise-client-urls is required"),
            (["--listen-peer-urls", "http://example.com:1"], 1, "expected IP in URL for binding"),
            (["--log-level", "loud"], 1, "loud"),
            (["--config-file", "/nonexistent.yml"], 1, "/nonexistent.yml")):
        done = program(*args)
        equal(done.returncode, status, f"{args}: {done.stderr[-500:]}")
        contains(done.stderr + done.stdout, part, str(args))


@test
def what_is_not_built_yet_is_refused_by_name():
    for args, part in ((["--cert-file", "x", "--key-file", "y"], "cert-file"), (["--discovery-srv", "x.org"], "discovery"),
                       (["--auth-token", "jwt,pub-key=a,priv-key=b,sign-method=RS256"], "auth-token"),
                       (["--force-new-cluster"], "force-new-cluster"), (["gateway", "start"], "gateway"),
                       (["grpc-proxy", "start"], "grpc-proxy")):
        done = program(*args)
        if done.returncode == 0:
            raise AssertionError(f"{args} was accepted")
        contains(done.stderr + done.stdout, part, str(args))
        contains(done.stderr + done.stdout, "not built yet", str(args))


@test
def environment_and_file_configure_the_server():
    server = Server(name="fromenv")
    server.command = lambda: [server.binary]
    server.env = {"ETCD_NAME": "fromenv", "ETCD_DATA_DIR": server.data_dir, "ETCD_LISTEN_CLIENT_URLS": server.url,
                  "ETCD_ADVERTISE_CLIENT_URLS": server.url, "ETCD_LISTEN_PEER_URLS": server.peer_url,
                  "ETCD_INITIAL_ADVERTISE_PEER_URLS": server.peer_url,
                  "ETCD_INITIAL_CLUSTER": f"fromenv={server.peer_url}"}
    server.start()
    contains(ctl(server, "member", "list")[1], "fromenv")
    contains(server.logged(), "recognized and used environment variable")
    server.stop()

    server = Server(name="fromfile")
    path = os.path.join(server.dir, "etcd.yml")
    with open(path, "w", encoding="utf-8") as file:
        file.write(f"name: fromfile\ndata-dir: {server.data_dir}\nlisten-client-urls: {server.url}\n"
                   f"advertise-client-urls: {server.url}\nlisten-peer-urls: {server.peer_url}\n"
                   f"initial-advertise-peer-urls: {server.peer_url}\ninitial-cluster: fromfile={server.peer_url}\n")
    server.command = lambda: [server.binary, "--config-file", path]
    server.start()
    contains(ctl(server, "member", "list")[1], "fromfile")
    server.stop()

    done = program("--name", "a", env={"ETCD_NAME": "a"})
    equal(done.returncode, 1)
    contains(done.stderr, "ETCD_NAME")


# ---- hostile clients ------------------------------------------------------------------------------

def still_serves(server):
    equal(ctl(server, "put", "alive", "yes")[1], "OK\n")


@test
def a_transaction_nested_5000_deep_is_an_error_to_its_sender_only():
    server = Server().start()
    client = Client(server)
    request = txn_request(success=[op(put=put_request(b"deep", b"v"))])
    for _ in range(5000):
        request = txn_request(success=[op(txn=request)])
    code, details, _ = client.kv("Txn", request)
    if code == "OK":
        raise AssertionError("accepted")
    equal(code in ("INTERNAL", "INVALID_ARGUMENT", "RESOURCE_EXHAUSTED"), True, f"{code} {details}")
    still_serves(server)
    server.stop()


@test
def requests_over_the_limits_are_refused():
    server = Server(flags=["--max-request-bytes", "10000", "--max-txn-ops", "3"]).start()
    client = Client(server)
    equal(client.kv("Put", put_request(b"k", b"x" * 9000))[0], "OK")
    equal(client.kv("Put", put_request(b"k", b"x" * 10001))[:2],
          ("INVALID_ARGUMENT", "etcdserver: request is too large"))
    code, details, _ = client.kv("Put", put_request(b"k", b"x" * 600000))
    equal(code, "RESOURCE_EXHAUSTED")
    contains(details, "grpc: received message larger than max")
    equal(client.kv("Txn", txn_request(success=[op(put=put_request(b"%d" % i)) for i in range(4)]))[1],
          "etcdserver: too many operations in txn request")
    still_serves(server)
    server.stop()


@test
def the_quota_raises_an_alarm_and_recovers():
    server = Server(flags=["--quota-backend-bytes", str(16 * 1024 * 1024)]).start()
    client = Client(server)
    code = "OK"
    count = 0
    while code == "OK" and count < 1000:
        code, details, _ = client.kv("Put", put_request(b"k", bytes([count % 256]) * 500000))
        count += 1
    equal((code, details), ("RESOURCE_EXHAUSTED", "etcdserver: mvcc: database space exceeded"))
    alarm_comes(server)
    equal(server.get("/health")[0], 503)
    equal(client.kv("Range", range_request(b"k"))[0], "OK")
    equal(client.kv("DeleteRange", message(f1=b"k"))[0], "OK")
    revision = json.loads(ctl(server, "endpoint", "status", "-w", "json")[1])[0]["Status"]["header"]["revision"]
    equal(client.kv("Compact", message(f1=revision, f2=True))[0], "OK")
    server.stop()


@test
def garbage_on_the_wire_harms_nobody():
    server = Server().start()
    preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
    for garbage in (b"", b"\x00" * 100, b"\xff" * 5000, preface, preface + b"\xff" * 200, preface + b"\x00" * 4096,
                    preface + b"\x00\x00\x00\x04\x00\x00\x00\x00\x00" + b"\x7f\xff\xff\x01\x05\x00\x00\x00\x01",
                    b"GET / HTTP/1.1\r\n", b"GET / HTTP/9.9\r\n\r\n", b"A" * 100000, b"GET /health HTTP/1.1\r\n\r\n",
                    b"POST /health HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"):
        with socket.create_connection(("127.0.0.1", server.port), timeout=5) as sock:
            try:
                sock.sendall(garbage)
                sock.shutdown(socket.SHUT_WR)
                sock.settimeout(2)
                while sock.recv(65536):
                    pass
            except OSError:
                pass
    for i in range(300):  # half-open and idle ones
        socket.create_connection(("127.0.0.1", server.port), timeout=5)
    still_serves(server)
    equal(server.get("/health")[0], 200)
    server.stop()


@test
def unknown_fields_and_odd_enums_do_not_crash():
    server = Server().start()
    client = Client(server)
    equal(client.kv("Range", range_request(b"k", order=99))[1], "etcdserver: invalid sort option")
    equal(client.kv("Put", put_request(b"k", b"v") + field(99, b"unknown"))[0], "OK")
    equal(client.kv("Txn", txn_request([message(f1=9, f2=9, f3=b"k")]))[0], "OK")
    equal(client.maintenance("Alarm", message(f1=7, f2=1, f3=9))[0], "OK")
    still_serves(server)
    server.restart()
    still_serves(server)
    server.stop()


run()
