"""The Lock and Election services: the same session on a real etcd and on ours, order and fencing,
leases that end, clients that give up, stops and restarts."""
import base64
import json
import signal
import time

from harness import Server, contains, equal, run, test, which

try:
    import grpc
except ImportError as why:
    print(f"1..0 # SKIP python3-grpcio is not installed: {why}")
    raise SystemExit(0)

from pbtiny import Client, message, parse, put_request, range_request  # noqa: E402

server = Server().start()


def signed(number):
    return number - (1 << 64) if isinstance(number, int) and number >= 1 << 63 else number


class Contest:
    """Both services of one server."""

    def __init__(self, at):
        self.client = Client(at)

    def call(self, method, request=b""):
        """(code, details, fields by number, header's revision); method: "Lock/Lock"."""
        return self.result(self.start(method, request, 20))

    def start(self, method, request=b"", timeout=60):
        package = "v3lockpb" if method.startswith("Lock/") else "v3electionpb"
        return self.client.channel.unary_unary(f"/{package}.{method}").future(request, timeout=timeout)

    @staticmethod
    def result(future):
        try:
            fields = dict(parse(future.result()))
        except grpc.RpcError as error:
            return error.code().name, error.details(), None, None
        except grpc.FutureCancelledError:
            return "CANCELLED", "", None, None
        header = dict(parse(fields.pop(1)))
        return "OK", "", fields, header.get(3, 0)

    def grant(self, ident, ttl=100):
        equal(self.client.call("/etcdserverpb.Lease/LeaseGrant", message(f1=ttl, f2=ident))[0], "OK")

    def revoke(self, ident):
        equal(self.client.call("/etcdserverpb.Lease/LeaseRevoke", message(f1=ident))[0], "OK")

    def keys(self, prefix=b"\0", end=b"\0"):
        """[(key, value, lease, create revision)]"""
        _, _, reply = self.client.kv("Range", range_request(prefix, end))
        kvs = [dict(parse(v)) for n, v in parse(reply) if n == 2]
        return [(kv[1], kv.get(5, b""), signed(kv.get(6, 0)), kv[2]) for kv in kvs]

    def wait_keys(self, count, prefix=b"\0", end=b"\0"):
        for _ in range(500):
            if len(self.keys(prefix, end)) == count:
                return
            time.sleep(0.01)
        raise AssertionError(f"not {count} keys: {self.keys(prefix, end)}")


def lock(name, lease=0):
    return message(f1=name, f2=lease)


def campaign(name, lease, value):
    return message(f1=name, f2=lease, f3=value)


def leader(name, key, rev, lease):
    return message(f1=name, f2=key, f3=rev, f4=lease)


def leader_of(fields):
    """The LeaderKey of a CampaignResponse."""
    return dict(parse(fields[2]))


# ---- a real etcd and ours -----------------------------------------------------------------------

def lock_session(at):
    said = []
    c = Contest(at)
    for ident in (7, 8, 9, -7):
        c.grant(ident)
    say = said.append
    say(c.call("Lock/Lock", lock(b"a", 7)))
    say(c.call("Lock/Lock", lock(b"a", 7)))  # held already
    say(c.call("Lock/Lock", lock(b"b", -7)))
    say(c.call("Lock/Lock", lock(b"", 8)))
    say(c.call("Lock/Lock", lock(b"a/b", 8)))  # not under a's own keys, but under a's prefix
    say(c.call("Lock/Lock", lock(b"c", 4711)))
    say(c.call("Lock/Unlock", message(f1=b"none")))
    say(c.call("Lock/Unlock", b""))
    say(c.call("Lock/Unlock", message(f1=b"a/b/8")))
    second = c.start("Lock/Lock", lock(b"a", 8))
    c.wait_keys(2, b"a/", b"a0")
    third = c.start("Lock/Lock", lock(b"a", 9))
    c.wait_keys(3, b"a/", b"a0")
    say(c.keys())
    say(c.call("Lock/Unlock", message(f1=b"a/7")))
    say(c.result(second))
    say(third.done())
    third.cancel()
    c.wait_keys(1, b"a/", b"a0")
    third = c.start("Lock/Lock", lock(b"a", 9))
    c.wait_keys(2, b"a/", b"a0")
    c.revoke(8)
    say(c.result(third))
    say(c.keys())
    late = c.start("Lock/Lock", lock(b"a", 7), timeout=0.7)
    say(c.result(late)[0])
    c.wait_keys(1, b"a/", b"a0")
    code, _, fields, _ = c.call("Lock/Lock", lock(b"own"))
    say((code, fields[2].startswith(b"own/")))
    return said


def election_session(at):
    said = []
    c = Contest(at)
    say = said.append
    for ident in (7, 8, 9, -7):
        c.grant(ident)
    say(c.call("Election/Leader", message(f1=b"e")))
    say(c.call("Election/Proclaim", message(f2=b"v")))
    say(c.call("Election/Resign", b""))
    say(c.call("Election/Proclaim", message(f1=leader(b"e", b"e/9", 0, 9), f2=b"v")))
    say(c.call("Election/Proclaim", message(f1=leader(b"e", b"e/9", 99, 9), f2=b"v")))
    say(c.call("Lock/Unlock", message(f1=b"e/9")))
    say(c.call("Election/Proclaim", message(f1=leader(b"e", b"", 0, 9), f2=b"v")))
    say(c.call("Election/Resign", message(f1=leader(b"e", b"", 0, 9))))
    observed = c.client.channel.unary_stream("/v3electionpb.Election/Observe")(message(f1=b"e"), timeout=60)
    won = c.call("Election/Campaign", campaign(b"e", 7, b"first"))
    say(won)
    rev = leader_of(won[2])[3]
    say(c.call("Election/Leader", message(f1=b"e")))
    say(c.call("Election/Campaign", campaign(b"e", 7, b"first")))  # leads already
    say(c.call("Election/Campaign", campaign(b"e", 7, b"other")))  # and proclaims
    say(c.call("Election/Proclaim", message(f1=leader(b"e", b"e/7", rev, 7), f2=b"news")))
    say(c.call("Election/Proclaim", message(f1=leader(b"e", b"e/7", rev + 1, 7), f2=b"stale")))
    second = c.start("Election/Campaign", campaign(b"e", 8, b"second"))
    c.wait_keys(2, b"e/", b"e0")
    third = c.start("Election/Campaign", campaign(b"e", 9, b"third"))
    c.wait_keys(3, b"e/", b"e0")
    say(c.keys())
    say(c.call("Election/Resign", message(f1=leader(b"e", b"e/7", rev, 7))))
    say(c.result(second))
    say(c.call("Election/Resign", message(f1=leader(b"e", b"e/7", rev, 7))))  # leads no more
    say(c.call("Election/Proclaim", message(f1=leader(b"e", b"e/7", rev, 7), f2=b"late")))
    third.cancel()
    c.wait_keys(1, b"e/", b"e0")
    third = c.start("Election/Campaign", campaign(b"e", -7, b"minus"))
    c.wait_keys(2, b"e/", b"e0")
    c.revoke(8)
    say(c.result(third))
    say(c.call("Election/Campaign", campaign(b"f", 4711, b"x")))
    say(c.call("Election/Leader", message(f1=b"f")))
    # Observe may pass over what is older than its own asking; this is what each tells in the end.
    seen = []
    for reply in observed:
        kv = dict(parse(dict(parse(reply))[2]))
        seen.append((kv[1], kv.get(5, b"")))
        if kv.get(5) == b"minus":
            break
    say(seen[-1])
    observed.cancel()
    return said


@test
def locks_are_answered_as_a_real_etcd_answers_them():
    real = Server(binary=which("etcd")).start()
    theirs = lock_session(real)
    real.stop()
    for number, (got, want) in enumerate(zip(lock_session(Server().start()), theirs)):
        equal(got, want, f"step {number}")


@test
def elections_are_answered_as_a_real_etcd_answers_them():
    real = Server(binary=which("etcd")).start()
    theirs = election_session(real)
    real.stop()
    for number, (got, want) in enumerate(zip(election_session(Server().start()), theirs)):
        equal(got, want, f"step {number}")


# ---- ours ---------------------------------------------------------------------------------------

c0 = Contest(server)


@test
def d6_who_waited_longer_than_its_lease_lived_does_not_get_the_lock():
    for ident in (101, 102):
        c0.grant(ident)
    equal(c0.call("Lock/Lock", lock(b"d6", 101))[0], "OK")
    waiter = c0.start("Lock/Lock", lock(b"d6", 102))
    c0.wait_keys(2, b"d6/", b"d60")
    c0.revoke(102)
    c0.wait_keys(1, b"d6/", b"d60")
    equal(waiter.done(), False)
    equal(c0.call("Lock/Unlock", message(f1=b"d6/%x" % 101))[0], "OK")
    equal(c0.result(waiter)[:2], ("UNKNOWN", "mutex: session is expired"))
    equal(c0.keys(b"d6/", b"d60"), [])


@test
def d6_who_waited_longer_than_its_lease_lived_is_not_elected():
    for ident in (111, 112):
        c0.grant(ident)
    won = c0.call("Election/Campaign", campaign(b"d6e", 111, b"x"))
    waiter = c0.start("Election/Campaign", campaign(b"d6e", 112, b"y"))
    c0.wait_keys(2, b"d6e/", b"d6e0")
    c0.revoke(112)
    equal(c0.call("Election/Resign", message(f1=won[2][2]))[0], "OK")
    equal(c0.result(waiter)[:2], ("UNKNOWN", "election: not leader"))


@test
def many_get_a_lock_in_the_order_in_which_they_came_and_one_at_a_time():
    count = 25
    waiting = []
    for i in range(count):
        c0.grant(200 + i)
        waiting.append(c0.start("Lock/Lock", lock(b"q", 200 + i)))
        c0.wait_keys(i + 1, b"q/", b"q0")
    last = 0
    for i in range(count):
        code, details, fields, revision = c0.result(waiting[i])
        equal((code, details), ("OK", ""))
        equal(fields[2], b"q/%x" % (200 + i))
        equal([w.done() for w in waiting[i + 1:]], [False] * (count - i - 1), "only the next one is woken")
        create = [k[3] for k in c0.keys(b"q/", b"q0") if k[0] == fields[2]][0]
        equal(create > last, True, "its number fences those before")
        equal(revision >= create, True)
        last = create
        equal(c0.call("Lock/Unlock", message(f1=fields[2]))[0], "OK")


@test
def a_lock_is_free_when_its_lease_runs_out():
    c0.grant(301, ttl=2)
    c0.grant(302)
    equal(c0.call("Lock/Lock", lock(b"out", 301))[0], "OK")
    began = time.monotonic()
    equal(c0.call("Lock/Lock", lock(b"out", 302))[0], "OK")
    equal(time.monotonic() - began > 1, True, "not before")


@test
def who_gives_up_in_any_state_leaves_nothing_behind():
    c0.grant(401)
    equal(c0.call("Lock/Lock", lock(b"up", 401))[0], "OK")
    for i in range(40):
        c0.grant(410 + i)
        future = c0.start("Lock/Lock", lock(b"up", 410 + i))
        time.sleep(0.0007 * (i % 8))
        future.cancel()
    c0.wait_keys(1, b"up/", b"up0")
    # A lock that is held already is not taken away by a second asking that is given up.
    again = c0.start("Lock/Lock", lock(b"up", 401))
    equal(c0.result(again)[0], "OK")
    equal(len(c0.keys(b"up/", b"up0")), 1)


@test
def observers_follow_the_leaders_and_are_many():
    c0.grant(501)
    c0.grant(502)
    stub = c0.client.channel.unary_stream("/v3electionpb.Election/Observe")
    streams = [stub(message(f1=b"obs"), timeout=30) for _ in range(20)]
    time.sleep(0.3)
    won = c0.call("Election/Campaign", campaign(b"obs", 501, b"1"))
    first = [next(s) for s in streams]
    equal(len({dict(parse(r))[2] for r in first}), 1)
    for value in (b"2", b"3"):
        equal(c0.call("Election/Proclaim", message(f1=won[2][2], f2=value))[0], "OK")
    for s in streams:
        equal([dict(parse(dict(parse(next(s)))[2]))[5] for _ in range(2)], [b"2", b"3"])
    waiter = c0.start("Election/Campaign", campaign(b"obs", 502, b"4"))
    c0.revoke(501)
    equal(c0.result(waiter)[0], "OK")
    for s in streams:
        reply = dict(parse(next(s)))
        kv, header = dict(parse(reply[2])), dict(parse(reply[1]))
        equal((kv[1], kv[5], header[3] >= kv[3]), (b"obs/%x" % 502, b"4", True))
        s.cancel()


@test
def a_stop_ends_who_waits_and_a_restart_keeps_their_place():
    one = Server().start()
    c = Contest(one)
    for ident in (7, 8, 9):
        c.grant(ident)
    equal(c.call("Lock/Lock", lock(b"a", 7))[0], "OK")
    second = c.start("Lock/Lock", lock(b"a", 8))
    c.wait_keys(2)
    third = c.start("Lock/Lock", lock(b"a", 9))
    c.wait_keys(3)
    observed = c.client.channel.unary_stream("/v3electionpb.Election/Observe")(message(f1=b"e"), timeout=30)
    kept = c.client.channel.stream_stream("/etcdserverpb.Lease/LeaseKeepAlive")(iter([message(f1=7)]), timeout=30)
    next(kept)
    began = time.monotonic()
    one.stop()
    equal(time.monotonic() - began < 4, True, "the stop waits for nobody")
    equal(c.result(second)[0], "UNAVAILABLE")
    try:
        next(observed)
        raise AssertionError("an observer outlived the server")
    except grpc.RpcError as error:
        equal(error.code().name, "UNAVAILABLE")
    one.start()
    c = Contest(one)
    equal([k[0] for k in c.keys()], [b"a/7", b"a/8", b"a/9"])
    third = c.start("Lock/Lock", lock(b"a", 9))
    second = c.start("Lock/Lock", lock(b"a", 8))
    equal(c.call("Lock/Unlock", message(f1=b"a/7"))[0], "OK")
    equal(c.result(second)[0], "OK")
    equal(third.done(), False)
    one.stop(signal.SIGKILL)
    del third


@test
def the_json_gateway_locks_and_elects_and_stands_an_election_without_a_leader():
    def post(path, **body):
        status, _, text = server.get(path, method="POST", data=json.dumps(body).encode())
        return status, json.loads(text)

    def b64(text):
        return base64.b64encode(text.encode()).decode()

    status, granted = post("/v3/lease/grant", TTL=100, ID=601)
    equal((status, granted["ID"], granted["TTL"]), (200, "601", "100"))
    status, locked = post("/v3/lock/lock", name=b64("json"), lease=601)
    equal((status, locked["key"]), (200, b64("json/259")))
    equal(post("/v3/lock/unlock", key=locked["key"])[0], 200)
    status, won = post("/v3/election/campaign", name=b64("je"), lease=601, value=b64("me"))
    equal((status, won["leader"]["key"], won["leader"]["lease"]), (200, b64("je/259"), "601"))
    equal(post("/v3/election/proclaim", leader=won["leader"], value=b64("still me"))[0], 200)
    equal(post("/v3/election/leader", name=b64("je"))[1]["kv"]["value"], b64("still me"))
    for path in ("/v3/election/proclaim", "/v3/election/resign"):  # issue 9379
        status, refused = post(path)
        equal((status, refused["message"]), (500, '"leader" field must be provided'))
    equal(post("/v3/election/resign", leader=won["leader"])[0], 200)
    status, refused = post("/v3/election/leader", name=b64("je"))
    equal((status, refused["message"]), (500, "election: no leader"))
    equal(post("/v3/lease/revoke", ID=601)[0], 200)


@test
def requests_that_are_no_messages_are_refused():
    for method in ("Lock/Lock", "Lock/Unlock", "Election/Campaign", "Election/Proclaim", "Election/Leader",
                   "Election/Resign"):
        code, details, _, _ = c0.call(method, b"\x0a\x05ab")
        equal(code, "INTERNAL", method)
        contains(details, "grpc: error unmarshalling request: unexpected EOF")
    equal(c0.client.kv("Put", put_request(b"alive", b"1"))[0], "OK")


run()
