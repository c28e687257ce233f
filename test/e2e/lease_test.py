"""Leases over the wire: the same session on a real etcd and on ours, the stock etcdctl and
python3-etcd3, running out, pauses, kills, storms, and directories that change hands with Go."""
import os
import queue
import re
import signal
import subprocess
import threading
import time

os.environ.setdefault("PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION", "python")

from harness import ETCD, ETCDCTL, Server, Skip, contains, ctl, equal, run, test, which  # noqa: E402

try:
    import grpc
except ImportError as why:
    print(f"1..0 # SKIP python3-grpcio is not installed: {why}")
    raise SystemExit(0)

from pbtiny import (Client, compare, delete_request, message, op, parse, put_request, range_request,  # noqa: E402
                    txn_request)

MAX_TTL = 9000000000
server = Server().start()


def signed(number):
    return number - (1 << 64) if number >= 1 << 63 else number


class Leases:
    """The Lease service of one server, replies as dicts of field numbers."""

    def __init__(self, at):
        self.client = Client(at)

    def unary(self, method, request):
        """(code, details, fields without the header, header)"""
        code, details, reply = self.client.call(f"/etcdserverpb.Lease/{method}", request)
        if code != "OK":
            return code, details, None, None
        fields = parse(reply)
        header = {n: v for n, v in parse(dict(fields)[1])}
        return code, details, [(n, signed(v) if isinstance(v, int) else v) for n, v in fields if n != 1], header

    def must(self, method, request):
        code, details, fields, _ = self.unary(method, request)
        equal(code, "OK", f"{method}: {details}")
        return fields

    def grant(self, ttl, ident=0):
        fields = dict(self.must("LeaseGrant", message(f1=ttl, f2=ident)))
        return fields[2], fields[3]

    def revoke(self, ident):
        self.must("LeaseRevoke", message(f1=ident))

    def time(self, ident, keys=False):
        """(remaining, granted, keys)"""
        fields = self.must("LeaseTimeToLive", message(f1=ident, f2=keys))
        return dict(fields).get(3, 0), dict(fields).get(4, 0), sorted(v for n, v in fields if n == 5)

    def list(self):
        return [signed(dict(parse(v)).get(1, 0)) for n, v in self.must("LeaseLeases", b"") if n == 2]

    def put(self, key, lease):
        code, details, _ = self.client.kv("Put", put_request(key, b"v", lease=lease))
        equal(code, "OK", details)

    def keys(self, prefix=b"\0", end=b"\0"):
        code, _, reply = self.client.kv("Range", range_request(prefix, end, keys_only=True))
        equal(code, "OK")
        return [dict(parse(v))[1] for n, v in parse(reply) if n == 2]

    def revision(self):
        _, _, reply = self.client.kv("Range", range_request(b"x"))
        return dict(parse(dict(parse(reply))[1]))[3]


class KeepAlive:
    """One stream of renewals."""

    def __init__(self, leases, metadata=()):
        self.asked = queue.Queue()
        self.stub = leases.client.channel.stream_stream("/etcdserverpb.Lease/LeaseKeepAlive")
        self.answers = self.stub(iter(self.asked.get, None), metadata=metadata)

    def ask(self, ident):
        self.asked.put(message(f1=ident))

    def answer(self):
        """(id, TTL, header)"""
        fields = dict(parse(next(self.answers)))
        return signed(fields.get(2, 0)), fields.get(3, 0), dict(parse(fields[1]))

    def renew(self, ident):
        self.ask(ident)
        got, ttl, _ = self.answer()
        equal(got, ident)
        return ttl

    def close(self):
        self.asked.put(None)
        return list(self.answers)


leases = Leases(server)


def wait_for(condition, seconds, what):
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise AssertionError(f"not within {seconds} s: {what}")
        time.sleep(0.02)


# ---- a real etcd and ours -----------------------------------------------------------------------

def session(at):
    """What clients see, without identities. Go gives the keys of a lease in any order."""
    said = []
    one = Leases(at)

    def say(method, request, drop=()):
        code, details, fields, header = one.unary(method, request)
        fields = None if fields is None else sorted((f for f in fields if f[0] not in drop), key=repr)
        said.append((method, code, details, fields, header and header.get(3, 0)))

    say("LeaseGrant", message(f1=100, f2=7))
    say("LeaseGrant", message(f1=100, f2=7))
    say("LeaseGrant", message(f1=1, f2=8))
    say("LeaseGrant", message(f1=-5, f2=9))
    say("LeaseGrant", message(f1=0, f2=10))
    say("LeaseGrant", message(f1=MAX_TTL, f2=11))
    say("LeaseGrant", message(f1=MAX_TTL + 1, f2=12))
    say("LeaseGrant", message(f1=100, f2=-7))
    say("LeaseGrant", message(f1=100), drop=(2,))
    say("LeaseRevoke", message(f1=12))
    say("LeaseRevoke", message(f1=0))
    say("LeaseTimeToLive", message(f1=12, f2=1))
    say("LeaseTimeToLive", message(f1=0))
    say("LeaseTimeToLive", message(f1=7), drop=(3,))
    for key in (b"c", b"a", b"b"):
        one.put(key, 7)
    said.append(one.client.kv("Put", put_request(b"x", b"y", lease=12))[:2])
    say("LeaseTimeToLive", message(f1=7, f2=1), drop=(3,))
    # D4: in transactions, nested ones too; a put with lease 0 lets go, ignore_lease keeps.
    code, _, _ = one.client.kv("Txn", txn_request([compare(0, 1, b"d", 0)], [
        op(put=put_request(b"d", b"1", lease=7)),
        op(txn=txn_request([], [op(put=put_request(b"e", b"1", lease=-7)), op(put=put_request(b"a", b"2"))]))]))
    said.append(code)
    said.append(one.client.kv("Txn", txn_request([], [op(put=put_request(b"f", b"1", lease=99))]))[:2])
    said.append(one.client.kv("Put", put_request(b"b", b"2", ignore_lease=True))[:2])
    one.client.kv("DeleteRange", delete_request(b"c"))
    say("LeaseTimeToLive", message(f1=7, f2=1), drop=(3,))
    say("LeaseTimeToLive", message(f1=-7, f2=1), drop=(3,))
    said.append(one.client.kv("Range", range_request(b"b"))[0])
    said.append(one.client.kv("Txn", txn_request([compare(0, 4, b"b", 7)], [op(range=range_request(b"b"))]))[0])
    one.put(b"b", -7)
    say("LeaseTimeToLive", message(f1=7, f2=1), drop=(3,))
    say("LeaseRevoke", message(f1=-7))
    said.append((one.keys(), one.revision()))
    say("LeaseRevoke", message(f1=7))
    said.append((one.keys(), one.revision()))
    say("LeaseRevoke", message(f1=11))
    said.append(sorted(i for i in one.list() if i < 100))
    stream = KeepAlive(one)
    said.append([stream.renew(i) for i in (8, 9, 10, 12, 0, -7)])
    said.append(stream.close())
    stream = KeepAlive(one, metadata=[("hasleader", "true")])
    said.append(stream.renew(8))
    one.client.close()
    return said


@test
def a_session_is_answered_as_a_real_etcd_answers_it():
    real = Server(binary=which("etcd")).start()
    ours = Server().start()
    theirs = session(real)
    for number, (got, want) in enumerate(zip(session(ours), theirs)):
        equal(got, want, f"step {number}")
    real.stop()
    ours.stop()


def stock_session(at):
    """The stock etcdctl's words, ids made alike."""
    said = []

    def say(*args):
        status, out, err = ctl(at, *args, binary=which("etcdctl"), check=False)
        said.append((args[0:2], status, re.sub(r"\b[0-9a-f]{15,16}\b", "ID", out), err.splitlines()[-1:]))
        return out

    ident = say("lease", "grant", "300").split()[1]
    say("put", "a", "1", f"--lease={ident}")
    say("put", "b", "1", f"--lease={ident}")
    say("put", "c", "1", "--lease=1234")
    for fmt in ("simple", "json", "fields"):
        out = ctl(at, "lease", "timetolive", ident, "--keys", "-w", fmt, binary=which("etcdctl"))[1]
        said.append(re.sub(r"[0-9]{2,}", "N", re.sub(r"\b[0-9a-f]{15,16}\b", "ID", out)).replace("[b a]", "[a b]")
                    .replace('"Yg==","YQ=="', '"YQ==","Yg=="').replace('"Key" : "b"\n"Key" : "a"', '"Key" : "a"\n"Key" : "b"'))
    say("lease", "list")
    say("lease", "keep-alive", "--once", ident)
    say("lease", "keep-alive", "--once", "4711")
    say("lease", "revoke", ident)
    say("lease", "revoke", ident)
    say("lease", "timetolive", ident)
    say("get", "", "--prefix", "--keys-only")
    say("lease", "grant", "9000000001")
    return said


@test
def the_stock_etcdctl_hears_from_us_what_it_hears_from_a_real_etcd():
    real = Server(binary=which("etcd")).start()
    ours = Server().start()
    theirs = stock_session(real)
    for got, want in zip(stock_session(ours), theirs):
        equal(got, want)
    real.stop()
    ours.stop()


@test
def our_etcdctl_keeps_a_lease_alive_over_a_restart_until_it_is_revoked():
    one = Server().start()
    there = Leases(one)
    ident, _ = there.grant(6)
    out = open(os.path.join(one.dir, "kept"), "w+", encoding="utf-8")
    keeper = subprocess.Popen([ETCDCTL, "--endpoints", one.url, "lease", "keep-alive", f"{ident:x}"], stdout=out)
    try:
        time.sleep(4)
        one.restart(signal.SIGKILL)
        there = Leases(one)
        time.sleep(9)
        equal(there.time(ident)[0] > 0, True, "it lives longer than it would without")
        there.revoke(ident)
        equal(keeper.wait(20), 0)
    finally:
        keeper.kill()
        keeper.wait()
    out.seek(0)
    lines = out.read().splitlines()
    equal(lines[-1], f"lease {ident:016x} expired or revoked.")
    equal(set(lines[:-1]), {f"lease {ident:016x} keepalived with TTL(6)"})
    equal(len(lines) > 4, True, f"{lines}")
    one.stop()


# ---- time ---------------------------------------------------------------------------------------

@test
def an_unrenewed_lease_runs_out_with_all_its_keys_in_one_revision():
    ident, ttl = leases.grant(1)
    equal(ttl, 2, "the least time")
    for i in range(5):
        leases.put(b"out/%d" % i, ident)
    before = leases.revision()
    began = time.monotonic()
    wait_for(lambda: not leases.keys(b"out/", b"out0"), 10, "the lease runs out")
    if time.monotonic() - began < 1:
        raise AssertionError("it ran out too early")
    equal(leases.revision(), before + 1)
    equal(leases.time(ident), (-1, 0, []))
    code, details, _, _ = leases.unary("LeaseRevoke", message(f1=ident))
    equal((code, details), ("NOT_FOUND", "etcdserver: requested lease not found"))


@test
def renewals_keep_leases_alive_on_one_stream_in_order():
    idents = [leases.grant(2)[0] for _ in range(50)]
    stream = KeepAlive(leases)
    for _ in range(6):
        for ident in idents:
            stream.ask(ident)
        equal([stream.answer()[:2] for _ in idents], [(ident, 2) for ident in idents])
        time.sleep(0.6)
    equal({leases.time(ident)[0] >= 0 for ident in idents}, {True})
    wait_for(lambda: not set(idents) & set(leases.list()), 10, "all run out unrenewed")
    equal(stream.renew(idents[0]), 0, "the TTL of a lease that is gone")
    equal(stream.close(), [])
    equal(stream.answers.code(), grpc.StatusCode.OK)


@test
def a_stream_of_renewals_that_is_broken_or_given_up_ends():
    stream = KeepAlive(leases)
    stream.asked.put(b"\x08")
    try:
        next(stream.answers)
        raise AssertionError("half a message was answered")
    except grpc.RpcError as error:
        equal(error.code(), grpc.StatusCode.INTERNAL)
        contains(error.details(), "error unmarshalling request: unexpected EOF")
    stream.asked.put(None)
    ident, _ = leases.grant(100)
    for _ in range(20):
        stream = KeepAlive(leases)
        for _ in range(100):
            stream.ask(ident)
        stream.answer()
        stream.answers.cancel()
        stream.asked.put(None)
    equal(KeepAlive(leases).renew(ident), 100)


@test
def a_client_that_reads_no_answers_is_held_back_and_others_are_not():
    ident, _ = leases.grant(100)
    other = Client(server)
    stub = other.channel.stream_stream("/etcdserverpb.Lease/LeaseKeepAlive")
    sent = [0]

    def flood():
        for _ in range(200000):
            sent[0] += 1
            yield message(f1=ident)

    answers = stub(flood())
    wait_for(lambda: sent[0] > 1000, 10, "the flood begins")
    time.sleep(1)
    equal(KeepAlive(leases).renew(ident), 100)
    answers.cancel()
    other.close()


@test
def d5_a_renewal_that_was_sent_while_the_server_was_stopped_counts():
    one = Server().start()
    there = Leases(one)
    renewed, left = there.grant(2)[0], there.grant(2)[0]
    there.put(b"renewed", renewed)
    there.put(b"left", left)
    stream = KeepAlive(there)
    equal(stream.renew(renewed), 2)
    one.process.send_signal(signal.SIGSTOP)
    time.sleep(0.5)
    stream.ask(renewed)
    time.sleep(2.5)
    one.process.send_signal(signal.SIGCONT)
    equal(stream.answer()[:2], (renewed, 2))
    wait_for(lambda: there.keys() == [b"renewed"], 5, "only the other one runs out")
    one.stop()


@test
def d2_a_kill_gives_every_lease_its_time_again_and_shortens_none():
    one = Server().start()
    there = Leases(one)
    ident, _ = there.grant(5)
    negative, _ = there.grant(60, ident=-3)
    there.put(b"k", ident)
    there.put(b"n", negative)
    time.sleep(3)
    one.restart(signal.SIGKILL)
    there = Leases(one)
    remaining, granted, keys = there.time(ident, keys=True)
    equal((granted, keys), (5, [b"k"]))
    if remaining < 4:
        raise AssertionError(f"{remaining} s are left after the restart")
    equal(there.time(negative, keys=True)[1:], (60, [b"n"]))
    wait_for(lambda: there.keys() == [b"n"], 15, "it runs out all the same")
    one.stop()


# ---- many ---------------------------------------------------------------------------------------

def pipelined(client, path, requests, depth=200):
    """Unary calls, `depth` at a time; every one must succeed."""
    stub = client.channel.unary_unary(path)
    flying = []
    for request in requests:
        flying.append(stub.future(request, timeout=60))
        if len(flying) >= depth:
            flying.pop(0).result()
    for call in flying:
        call.result()


@test
def d4_ten_thousand_leases_that_end_together_are_gone_soon_and_nobody_waits():
    one = Server().start()
    there = Leases(one)
    # A restart gives all of them the same deadline.
    pipelined(there.client, "/etcdserverpb.Lease/LeaseGrant", [message(f1=25, f2=i) for i in range(1, 10001)])
    for first in range(1, 10001, 100):
        puts = [op(put=put_request(b"s/%05d" % i, b"v", lease=i)) for i in range(first, first + 100, 2)]
        equal(there.client.kv("Txn", txn_request([], puts))[0], "OK")
    one.restart()
    there = Leases(one)
    slowest = 0.0
    end = time.monotonic() + 60
    began = None
    while time.monotonic() < end:
        asked = time.monotonic()
        count = len(there.list())
        slowest = max(slowest, time.monotonic() - asked)
        began = began or (time.monotonic() if count < 10000 else None)
        if count == 0:
            break
        time.sleep(0.01)
    equal(count, 0, "leases that are left")
    print(f"# gone {time.monotonic() - began:.2f} s after the first; slowest list {slowest * 1000:.0f} ms")
    equal(there.keys(b"s/", b"s0"), [])
    text = one.get("/metrics")[2]
    contains(text, "\netcd_debugging_server_lease_expired_total 10000\n")
    contains(text, "\netcd_debugging_lease_revoked_total 10000\n")
    one.stop()


@test
def the_metrics_are_etcds():
    def series(at):
        ident, _ = Leases(at).grant(100)
        KeepAlive(Leases(at)).renew(ident)
        Leases(at).revoke(ident)
        return [line for line in at.get("/metrics")[2].splitlines() if "_lease_" in line]

    real = Server(binary=which("etcd")).start()
    ours = Server().start()
    got = series(ours)
    for line in series(real):
        if line not in got:
            raise AssertionError(f"missing: {line}\n" + "\n".join(got))
    real.stop()
    ours.stop()


# ---- directories that change hands --------------------------------------------------------------

def hand_over(at, binary, signum=signal.SIGTERM):
    at.stop(signum)
    at.binary = binary
    at.start()
    return Leases(at)


@test
def leases_and_what_is_left_of_them_change_hands_with_go():
    go = which("etcd")
    one = Server(binary=go).start()
    there = Leases(one)
    there.grant(500, ident=5)
    there.grant(7, ident=7)
    there.put(b"five", 5)
    there.put(b"seven", 7)
    there = hand_over(one, ETCD)
    equal(there.time(5, keys=True)[1:], (500, [b"five"]))
    there.grant(600, ident=6)
    there.put(b"six", 6)
    there.put(b"more", 5)
    wait_for(lambda: there.keys() == [b"five", b"more", b"six"], 15, "Go's lease runs out here")
    there = hand_over(one, go, signal.SIGKILL)
    equal(there.time(5, keys=True)[1:], (500, [b"five", b"more"]))
    equal(there.time(6, keys=True)[1:], (600, [b"six"]))
    equal(sorted(there.list()), [5, 6])
    there.revoke(5)
    equal(there.keys(), [b"six"])
    there = hand_over(one, ETCD)
    equal(sorted(there.list()), [6])
    there.revoke(6)
    equal(there.keys(), [])
    one.stop()


@test
def a_checkpoint_in_the_log_of_go_shortens_the_lease_here_and_there():
    """Go checkpoints only every five minutes, so ours writes the row: by an entry of Go's form."""
    if os.environ.get("ETCDC_LONG", "0") in ("", "0"):
        raise Skip("takes five minutes: make test-long")
    one = Server().start()
    there = Leases(one)
    there.grant(1000, ident=5)
    time.sleep(302)
    there = hand_over(one, which("etcd"))
    equal(there.time(5)[0] in range(690, 703), True, f"Go after ours: {there.time(5)}")
    there = hand_over(one, ETCD)
    equal(there.time(5)[0] in range(690, 703), True, f"ours after Go: {there.time(5)}")
    stream = KeepAlive(there)
    equal(stream.renew(5), 1000)
    there = hand_over(one, which("etcd"))
    equal(there.time(5)[0] > 990, True, f"Go after a renewal here: {there.time(5)}")
    one.stop()


# ---- python3-etcd3 ------------------------------------------------------------------------------

@test
def python_etcd3_grants_refreshes_and_revokes():
    try:
        import etcd3  # pylint: disable=import-outside-toplevel
    except ImportError as missing:
        raise Skip(f"python3-etcd3 is not installed: {missing}") from missing
    client = etcd3.client(host="127.0.0.1", port=server.port)
    lease = client.lease(30)
    client.put("/py", "v", lease=lease)
    equal((lease.granted_ttl, lease.remaining_ttl in (29, 30), lease.keys), (30, True, [b"/py"]))
    equal([answer.TTL for answer in lease.refresh()], [30])
    lease.revoke()
    equal(client.get("/py"), (None, None))
    with client.lock("py-lock", ttl=10) as lock:
        equal(lock.is_acquired(), True)
        lock.refresh()
        equal(client.get(lock.key)[0] is not None, True)
    equal(client.get("/locks/py-lock"), (None, None))


@test
def many_clients_at_once_see_their_own_leases():
    failures = []

    def one(number):
        try:
            mine = Leases(server)
            stream = KeepAlive(mine)
            for _ in range(20):
                ident, _ = mine.grant(60)
                mine.put(b"many/%d" % number, ident)
                equal(stream.renew(ident), 60)
                equal(mine.time(ident, keys=True)[1:], (60, [b"many/%d" % number]))
                mine.revoke(ident)
                equal(stream.renew(ident), 0)
            stream.close()
        except Exception as error:  # pylint: disable=broad-except
            failures.append(error)

    threads = [threading.Thread(target=one, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    equal(failures, [])
    equal(leases.keys(b"many/", b"many0"), [])


run()
