"""The database as a file: defragmentation while everything goes on, snapshots over the wire, and what
is restored from them. Whatever one program makes, the other one reads."""
import hashlib
import os
import subprocess
import threading
import time

import grpc

from datadir import check_db, hash_kv, must, note, observe, same, serving
from harness import BUILD, ETCD, ETCDCTL, Server, Skip, contains, ctl, equal, run, scratch, test, which
from pbtiny import Client, delete_request, parse, put_request, range_request, message

ETCDUTL = os.path.join(BUILD, "etcdutl")


def tool(binary, *args, check=True):
    environment = {k: v for k, v in os.environ.items() if not k.startswith("ETCDCTL_")}
    if binary not in (ETCDCTL, ETCDUTL):
        environment["ETCDCTL_API"] = "3"
    done = subprocess.run([binary] + list(args), capture_output=True, text=True, timeout=60, env=environment,
                          check=False)
    if check and done.returncode != 0:
        raise AssertionError(f"{binary} {' '.join(args)}: status {done.returncode}\n{done.stdout}{done.stderr}")
    return done.returncode, done.stdout, done.stderr


def db(server):
    return os.path.join(server.data_dir, "member/snap/db")


def fill(client, keys=2000, size=500):
    """Rows, holes among them, and a history that is compacted."""
    for i in range(keys):
        must(client.kv("Put", put_request(b"key/%06d" % i, os.urandom(size))))
    must(client.kv("DeleteRange", delete_request(b"key/000000", b"key/%06d" % (keys * 3 // 4))))
    reply = must(client.kv("Put", put_request(b"last", b"row")))
    revision = dict(parse(dict(parse(reply))[1]))[3]
    must(client.kv("Compact", message(f1=revision, f2=1)))
    time.sleep(0.3)


def sizes(client):
    reply = dict(parse(must(client.maintenance("Status"))))
    return reply[3], reply.get(9, 0)


def metric(server, name):
    for line in server.get("/metrics")[2].splitlines():
        if line.startswith(name + " "):
            return float(line.split()[1])
    raise AssertionError(f"no metric {name}")


def snapshot(server, options=()):
    """(the file's bytes, the remaining_bytes of each message, the versions of each)."""
    channel = grpc.insecure_channel(server.url.replace("http://", ""), options=options)
    parts = [dict(parse(m)) for m in channel.unary_stream("/etcdserverpb.Maintenance/Snapshot")(b"", timeout=60)]
    channel.close()
    data = b"".join(p[3] for p in parts[:-1])
    equal(hashlib.sha256(data).digest(), parts[-1][3], "the digest at the end")
    return data, [p.get(2, 0) for p in parts], {p.get(4, b"") for p in parts}


# ---- defragmentation ---------------------------------------------------------------------------------


@test
def defragmentation_gives_space_back_and_changes_nothing_else():
    server = Server().start()
    client = Client(server)
    fill(client)
    before, _ = sizes(client)
    seen = observe(server)
    hashed = hash_kv(client)
    for binary in [ETCDCTL, which("etcdctl")]:
        status, out, err = ctl(server, "defrag", binary=binary)
        equal(out, f"Finished defragmenting etcd member[{server.url[7:]}]\n")
    after, in_use = sizes(client)
    if after > before * 2 // 3 or in_use < after * 3 // 4:
        raise AssertionError(f"{before} bytes before, {after} after, {in_use} in use")
    equal(hash_kv(client), hashed)
    same(observe(server), seen, "after defragmenting")
    equal(metric(server, "etcd_disk_defrag_inflight"), 0)
    equal(metric(server, "etcd_disk_backend_defrag_duration_seconds_count"), 2)
    must(client.kv("Put", put_request(b"after", b"defrag")))
    client.close()
    server.stop()
    equal(sorted(n for n in os.listdir(os.path.dirname(db(server))) if n.startswith("db")), ["db"])
    check_db(db(server))
    # A Go etcd goes on with the file.
    other = Server(binary=which("etcd"), data_dir=server.data_dir)
    other.start(wait=False)
    serving(other)
    client = Client(other)
    equal(dict(parse(dict(parse(must(client.kv("Range", range_request(b"after")))))[2]))[5], b"defrag")
    client.close()


@test
def clients_are_served_while_it_runs():
    server = Server().start()
    client = Client(server)
    fill(client, keys=6000, size=2000)
    stop = threading.Event()
    acknowledged = [0] * 4
    errors = []

    def writer(number):
        own = Client(server)
        while not stop.is_set():
            i = acknowledged[number]
            answer = own.kv("Put", put_request(b"live/%d/%d" % (number, i % 500), b"%d" % i))
            if answer[0] != "OK":
                errors.append(answer)
                return
            acknowledged[number] = i + 1
        own.close()

    threads = [threading.Thread(target=writer, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    runs = 0
    counts = []
    end = time.monotonic() + 4
    while time.monotonic() < end:
        start = sum(acknowledged)
        must(client.maintenance("Defragment"))
        counts.append(sum(acknowledged) - start)
        runs += 1
    stop.set()
    for thread in threads:
        thread.join()
    equal(errors, [])
    if runs < 3 or sum(counts) == 0:
        raise AssertionError(f"{runs} runs, puts during each: {counts}")
    stalls = [line for line in server.get("/metrics")[2].splitlines()
              if line.startswith("etcdc_loop_stall_seconds_bucket")]
    note(f"{runs} defragmentations, {sum(counts)} puts during them; turns of the loop: " +
         " ".join(line.split('le="')[1].replace('"}', "") for line in stalls[-10:]))
    seen = observe(server, 500)
    server.kill()
    check_db(db(server))
    server.start(wait=False)
    serving(server)
    same(observe(server, 500), seen, "after a kill")
    client = Client(server)
    for number in range(4):
        last = acknowledged[number] - 1
        reply = dict(parse(must(client.kv("Range", range_request(b"live/%d/%d" % (number, last % 500))))))
        equal(dict(parse(reply[2]))[5], b"%d" % last)
    client.close()


@test
def a_full_disk_is_an_answer_and_the_member_goes_on():
    """The new file may not take its name: there is a directory of that name."""
    server = Server().start()
    client = Client(server)
    fill(client, keys=100)
    seen = observe(server)
    blocker = db(server) + ".tmp.defrag"
    os.makedirs(os.path.join(blocker, "full"))
    answer = client.maintenance("Defragment")
    equal(answer[0], "UNKNOWN")
    contains(answer[1], "db.tmp.defrag")
    status, out, err = ctl(server, "defrag", check=False)
    equal((status, out), (1, ""))
    contains(err, f"Failed to defragment etcd member[{server.url[7:]}] (")
    same(observe(server), seen, "after two that failed")
    os.rmdir(os.path.join(blocker, "full"))
    os.rmdir(blocker)
    must(client.maintenance("Defragment"))
    same(observe(server), seen, "after one that did not")
    client.close()


@test
def a_member_defragments_itself_at_the_start_when_that_is_worth_it():
    server = Server().start()
    client = Client(server)
    fill(client, keys=6000, size=1000)
    before, _ = sizes(client)
    seen = observe(server)
    client.close()
    server.flags = ["--bootstrap-defrag-threshold-megabytes=1000"]
    server.restart()
    contains(server.logged(), "Skipping defragmentation")
    client = Client(server)
    equal(sizes(client)[0], before)
    client.close()
    server.flags = ["--bootstrap-defrag-threshold-megabytes=1"]
    server.restart()
    client = Client(server)
    if sizes(client)[0] > before // 2:
        raise AssertionError(f"{before} bytes before, {sizes(client)[0]} after")
    same(observe(server), seen, "after the start")
    client.close()


@test
def a_page_that_rots_while_the_server_runs_is_found_by_the_scrub():
    server = Server(flags=["--scrub-interval=300ms"]).start()
    client = Client(server)
    for i in range(500):
        must(client.kv("Put", put_request(b"key/%06d" % i, os.urandom(500))))
    time.sleep(0.5)  # until all of it is committed
    passes, pages = metric(server, "etcdc_scrub_passes_total"), metric(server, "etcdc_scrub_pages_total")
    end = time.monotonic() + 20
    while metric(server, "etcdc_scrub_passes_total") < passes + 3 and time.monotonic() < end:
        time.sleep(0.1)
    if metric(server, "etcdc_scrub_pages_total") < pages + 2 * 60:  # the first of the three had begun
        raise AssertionError("the scrub does not see the pages")
    equal(metric(server, "etcdc_scrub_unsealed_pages"), 0)
    client.close()
    with open(db(server), "r+b") as file:
        data = file.read()
        at = data.rfind(b"key/000250") + 200
        file.seek(at)
        file.write(bytes([data[at] ^ 0x10]))
    server.process.wait(20)
    equal(server.process.returncode, 1)
    contains(server.logged(), f"page {at // 4096} does not have the checksum that was written with it")
    contains(server.logged(), db(server))
    server.start(wait=False)
    equal(server.process.wait(20), 1)  # nor does it start with it


# ---- snapshots ---------------------------------------------------------------------------------------


@test
def a_snapshot_is_the_file_in_pieces_of_32_kib_and_a_digest():
    server = Server().start()
    client = Client(server)
    fill(client, keys=500)
    data, remaining, versions = snapshot(server)
    equal(versions, {b"3.6.0"})
    equal(remaining[0], len(data) - 32768)
    equal(remaining[-1], 0)
    equal(len(data) % 4096, 0)
    if any(a - b != 32768 for a, b in zip(remaining[:-2], remaining[1:-2])):
        raise AssertionError(f"remaining bytes {remaining}")
    client.close()


@test
def both_tools_save_show_and_restore_what_either_server_sends():
    stock = which("etcdctl")
    where = scratch("saved")
    for who, binary in [("ours", None), ("go", which("etcd"))]:
        server = Server(binary=binary)
        server.start(wait=False)
        serving(server)
        client = Client(server)
        fill(client, keys=300)
        hashed = hash_kv(client)
        seen = observe(server)
        files = {}
        for name, saver in [("ours", ETCDCTL), ("stock", stock)]:
            path = files[name] = os.path.join(where, f"{who}-{name}.db")
            _, out, err = ctl(server, "snapshot", "save", path, binary=saver)
            want = f"Snapshot saved at {path}\n"
            if who == "ours" and name == "ours":
                want += "Server version 3.6.0\n"
            equal(out, want)
            for line in ["created temporary db file", "fetching snapshot", "fetched snapshot", "saved"]:
                contains(err, f'"msg":"{line}"')
            equal(os.stat(path).st_mode & 0o777, 0o600)
            equal(os.path.exists(path + ".part"), False)
            equal(os.stat(path).st_size % 512, 32)
        contents = [open(path, "rb").read() for path in files.values()]
        if who == "ours":  # Go's two copies may differ by what it frees in between
            equal(contents[0], contents[1])
        for path in files.values():
            for form in ["simple", "json", "fields", "table"]:
                want = tool(stock, "snapshot", "status", path, "-w", form)[1]
                equal(tool(ETCDCTL, "snapshot", "status", path, "-w", form)[1], want)
            simple = tool(stock, "snapshot", "status", path)[1].strip()
            equal(tool(ETCDUTL, "snapshot", "status", path)[1].strip(), simple + ",")
            for restorer in [stock, ETCDCTL, ETCDUTL]:
                for starter in [None, which("etcd")]:
                    restored(path, restorer, starter, hashed, seen)
        client.close()
        server.stop()


def restored(path, restorer, starter, hashed, seen):
    server = Server(binary=starter)
    tool(restorer, "snapshot", "restore", path, "--data-dir", server.data_dir, "--name", server.name,
         "--initial-cluster", f"{server.name}={server.peer_url}",
         "--initial-advertise-peer-urls", server.peer_url)
    server.start(wait=False)
    serving(server)
    client = Client(server)
    what = f"{os.path.basename(path)} restored by {restorer}, started by {starter}"
    equal(hash_kv(client), hashed, what)
    must(client.kv("Put", put_request(b"new", b"row")))
    client.close()
    server.stop()
    check_db(db(server))


@test
def a_restored_store_can_go_on_far_above():
    server = Server().start()
    client = Client(server)
    for i in range(20):
        must(client.kv("Put", put_request(b"k", b"%d" % i)))
    client.close()
    path = os.path.join(scratch("bumped"), "s.db")
    ctl(server, "snapshot", "save", path)
    server.stop()
    status, _, err = tool(ETCDUTL, "snapshot", "restore", path, "--data-dir", path + ".x", "--bump-revision", "1000",
                          check=False)
    equal((status, err), (128, "Error: --mark-compacted required if --revision-bump > 0\n"))
    for starter in [None, which("etcd")]:
        other = Server(binary=starter)
        tool(ETCDUTL, "snapshot", "restore", path, "--data-dir", other.data_dir, "--bump-revision", "1000",
             "--mark-compacted", "--initial-cluster", f"default={other.peer_url}",
             "--initial-advertise-peer-urls", other.peer_url)
        other.start(wait=False)
        serving(other)
        client = Client(other)
        reply = dict(parse(must(client.kv("Range", range_request(b"k")))))
        equal(dict(parse(reply[2]))[5], b"19")
        equal(dict(parse(reply[1]))[3], 1021)
        answer = client.kv("Range", range_request(b"k", rev=500))
        equal(answer[:2], ("OUT_OF_RANGE", "etcdserver: mvcc: required revision has been compacted"))
        must(client.kv("Put", put_request(b"k", b"more")))
        client.close()
        other.stop()


@test
def a_restore_refuses_what_it_must():
    server = Server().start()
    client = Client(server)
    must(client.kv("Put", put_request(b"k", b"v")))
    client.close()
    where = scratch("refused")
    path = os.path.join(where, "s.db")
    ctl(server, "snapshot", "save", path)
    server.stop()
    copied = os.path.join(where, "copied.db")
    data = open(path, "rb").read()
    with open(copied, "wb") as file:
        file.write(data[:-32])
    flipped = os.path.join(where, "flipped.db")
    with open(flipped, "wb") as file:
        file.write(data[:9000] + bytes([data[9000] ^ 1]) + data[9001:])
    full = os.path.join(where, "full")
    os.makedirs(os.path.join(full, "member"))
    out = os.path.join(where, "out")
    cases = [
        ([path, "--data-dir", full], 1, f'data-dir "{full}" not empty or could not be read'),
        ([copied, "--data-dir", out + "1"], 1, "snapshot missing hash but --skip-hash-check=false"),
        ([flipped, "--data-dir", out + "2"], 1, "expected sha256 ["),
        ([path, "--data-dir", out + "3", "--wal-dir", full], 1, f'wal-dir "{full}" exists'),
        ([path, "--data-dir", out + "4", "--name", "x"], 1, 'couldn\'t find local name "x"'),
        ([where + "/none.db", "--data-dir", out + "5"], 1, "no such file or directory"),
        ([], 128, "snapshot restore requires exactly one argument"),
        ([path, "--data-dir", out + "6", "--mark-compacted"], 128, "--mark-compacted required"),
    ]
    for args, code, said in cases:
        status, _, err = tool(ETCDUTL, "snapshot", "restore", *args, check=False)
        equal(status, code, args)
        contains(err, said)
        if code == 1 and "--data-dir" in args:
            made = os.path.join(args[args.index("--data-dir") + 1], "member/snap/db")
            equal(os.path.exists(made), False, made)
    tool(ETCDUTL, "snapshot", "restore", copied, "--data-dir", out + "7", "--skip-hash-check",
         "--wal-dir", out + "8")
    equal(os.path.exists(out + "7/member/wal"), False)
    status, _, err = tool(ETCDUTL, "snapshot", "status", where + "/none.db", check=False)
    equal((status, err), (1, f"Error: stat {where}/none.db: no such file or directory\n"))
    status, _, err = tool(ETCDUTL, "-w", "protobuf", "snapshot", "status", path, check=False)
    equal((status, err), (4, "Error: protobuf not supported as output format\n"))


@test
def a_save_that_fails_leaves_no_file():
    server = Server().start()
    path = os.path.join(scratch("failed"), "s.db")
    status, _, err = tool(ETCDCTL, "--endpoints", f"{server.url},127.0.0.1:1", "snapshot", "save", path, check=False)
    equal(status, 5)
    contains(err, "snapshot must be requested to one selected node, not multiple [")
    status, _, err = tool(ETCDCTL, "--endpoints", server.url, "snapshot", "save", check=False)
    equal((status, err), (128, "Error: snapshot save expects one argument\n"))
    status, _, err = tool(ETCDCTL, "--endpoints", server.url, "snapshot", "save", "/proc/none/s.db", check=False)
    equal(status, 5)
    contains(err, "could not open /proc/none/s.db.part")
    status, _, err = tool(ETCDCTL, "--endpoints", "127.0.0.1:1", "--command-timeout=300ms", "snapshot", "save", path,
                          check=False)
    equal(status, 5)
    equal(os.listdir(os.path.dirname(path)), [])


@test
def streams_are_capped_and_a_client_that_takes_nothing_loses_its_own():
    server = Server(flags=["--snapshot-stall-timeout=2s"]).start()
    client = Client(server)
    for i in range(3000):
        must(client.kv("Put", put_request(b"key/%06d" % i, os.urandom(5000))))
    time.sleep(0.3)
    before = int(open(f"/proc/{server.process.pid}/statm").read().split()[1]) * 4096
    channels = [grpc.insecure_channel(server.url.replace("http://", ""), options=[("c", i)]) for i in range(17)]
    calls = []
    refused = []
    for i, channel in enumerate(channels):
        call = channel.unary_stream("/etcdserverpb.Maintenance/Snapshot")(b"", timeout=60)
        try:
            next(call)
            calls.append(call)
        except grpc.RpcError as error:
            refused.append((error.code().name, error.details()))
    equal(len(calls), 16)
    equal(refused, [("RESOURCE_EXHAUSTED", "etcdserver: too many requests")])
    # The others are served meanwhile, and what the streams hold is bounded.
    for i in range(50):
        must(client.kv("Put", put_request(b"meanwhile", b"%d" % i)))
    must(client.maintenance("Defragment"))
    grown = int(open(f"/proc/{server.process.pid}/statm").read().split()[1]) * 4096 - before
    anonymous = [int(line.split()[1]) for line in open(f"/proc/{server.process.pid}/status") if "RssAnon" in line][0]
    note(f"16 streams that stand still: RSS grew by {grown >> 10} KiB, anonymous {anonymous} KiB")
    if anonymous > 64 * 1024:
        raise AssertionError(f"{anonymous} KiB anonymous with 16 streams")
    time.sleep(3)
    data, _, _ = snapshot(server)  # the places are free again
    if len(data) < 3000 * 5000:
        raise AssertionError(f"a snapshot of {len(data)} bytes")
    contains(server.logged(), "a client has stopped to take a snapshot")
    for call in calls:
        call.cancel()
    for channel in channels:
        channel.close()
    client.close()
    server.stop()
    check_db(db(server))


# ---- files without a server --------------------------------------------------------------------------


@test
def etcdutl_defragments_and_hashes_a_directory():
    server = Server().start()
    client = Client(server)
    fill(client)
    hashed = hash_kv(client)
    client.close()
    status, _, err = tool(ETCDUTL, "defrag", "--data-dir", server.data_dir, check=False)
    equal(status, 1)
    contains(err, "is in use; stop the server")
    server.stop()
    before = tool(which("etcdctl"), "snapshot", "status", db(server), "-w", "json")[1]
    _, out, _ = tool(ETCDUTL, "defrag", "--data-dir", server.data_dir)
    equal(out, "")
    check_db(db(server))
    after = tool(which("etcdctl"), "snapshot", "status", db(server), "-w", "json")[1]
    equal(after.split(",")[:3], before.split(",")[:3])
    _, out, _ = tool(ETCDUTL, "hashkv", db(server))
    note(f"hashkv {out.strip()}, the server's {hashed}")
    contains(str(hashed), out.split(",")[0])
    _, out, _ = tool(ETCDUTL, "hashkv", db(server), "-w", "json")
    contains(out, '{"hash":')
    status, _, err = tool(ETCDUTL, "hashkv", db(server), "--rev", "1000000", check=False)
    equal((status, err), (1, "Error: mvcc: required revision is a future revision\n"))
    status, _, err = tool(ETCDUTL, "defrag", check=False)
    equal(status, 1)
    contains(err, 'Error: required flag(s) "data-dir" not set')
    status, _, err = tool(ETCDUTL, "defrag", "--data-dir", "/none", check=False)
    equal(status, 1)
    contains(err, "Failed to defragment etcd data[/none] (")
    equal(tool(ETCDUTL, "version")[1], "etcdutl version: 3.6.0\nAPI version: 3.6\n")
    contains(tool(ETCDUTL, "completion", "bash")[1], "etcdutl")
    server.start()


run()
