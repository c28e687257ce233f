"""Large transactions on the real server: the same bytes as Go's etcd gives, in little memory, and with others
served in their midst. That they are cut is told by what is answered meanwhile, not by time."""
import re
import subprocess
import threading

from harness import Server, equal, run, test, which
from pbtiny import (Client, compare, delete_request, op, parse, put_request, range_request, txn_request,
                    without_identity)

KEYS = 200000
OPS = 1000


def fill(client, count, size):
    for start in range(0, count, OPS):
        equal(client.kv("Txn", txn_request(success=[
            op(put=put_request(b"k%06d" % i, bytes([97 + i % 26]) * (size + i % 7)))
            for i in range(start, min(start + OPS, count))]))[0], "OK")


def gauge(server, name):
    return float(re.search(rf"^{name} (\S+)$", server.get("/metrics")[2], re.MULTILINE).group(1))


def revision_of(reply):
    return dict(parse(dict(parse(reply))[1]))[3]


def count_of(reply):
    return dict(parse(reply)).get(4, 0)


class Background:
    """One call on a connection of its own."""

    def __init__(self, server, request):
        self.reply = None
        self.thread = threading.Thread(target=self.call, args=(server, request))
        self.thread.start()

    def call(self, server, request):
        client = Client(server)
        self.reply = client.kv("Txn", request)
        client.close()

    def is_done(self):
        return self.reply is not None

    def end(self):
        self.thread.join()
        equal(self.reply[0], "OK", self.reply[1])
        return self.reply[2]


server = Server(flags=[f"--max-txn-ops={OPS}"]).start()


@test
def others_are_served_in_the_midst_of_a_txn_and_see_none_of_it():
    client = Client(server)
    fill(client, KEYS, 10)
    before = revision_of(client.kv("Range", range_request(b"k000000"))[2])
    deleted = gauge(server, "etcd_mvcc_delete_total")
    served = 0
    txn = Background(server, txn_request(
        [compare(2, 0, b"k", 1, end=b"l"), compare(0, 0, b"k", 1, end=b"l")],  # the first fails: version < 1
        success=[op(put=put_request(b"never"))],
        failure=[op(txn=txn_request(success=[op(put=put_request(b"m", b"1")),
                                             op(delete=delete_request(b"k", b"l")),
                                             op(range=range_request(b"k", b"z"))]))]))
    puts = 0
    while not txn.is_done():
        so_far = gauge(server, "etcd_mvcc_delete_total") - deleted
        code, _, reply = client.kv("Range", range_request(b"k", b"z", count_only=True, serializable=True))
        equal(code, "OK")
        if revision_of(reply) == before:
            equal(count_of(reply), KEYS)
            served += 0 < so_far < KEYS
        elif puts < 5:
            equal(client.kv("Put", put_request(b"x", b"1"))[0], "OK")
            puts += 1
    reply = txn.end()
    print(f"# {served} times others were answered in its midst")
    equal(served >= 3, True, f"{served} were answered in its midst")
    equal(revision_of(reply), before + 1)
    nested = dict(parse(dict(parse(dict(parse(reply))[3]))[4]))
    equal(nested[2], 1, "succeeded")
    deletion, after = [dict(parse(value))
                       for number, value in parse(dict(parse(dict(parse(reply))[3]))[4]) if number == 3][1:]
    equal(dict(parse(deletion[3]))[2], KEYS)
    equal(count_of(after[1]), 1, "the put before it is all that is left")
    equal(gauge(server, "etcd_mvcc_delete_total") - deleted, KEYS)
    old = client.kv("Range", range_request(b"k", b"l", count_only=True, rev=before))[2]
    equal(count_of(old), KEYS)
    client.close()


@test
def others_are_served_while_a_txn_only_reads():
    client = Client(server)
    fill(client, KEYS, 10)
    revision = revision_of(client.kv("Range", range_request(b"k000000"))[2])
    reads = [op(range=range_request(b"k", b"l", target=1, order=1, limit=1)) for _ in range(30)]  # by version
    txn = Background(server, txn_request([compare(1, 0, b"k", 0, end=b"l")], success=reads))
    puts = 0
    while not txn.is_done():
        equal(client.kv("Put", put_request(b"k000000", b"later"))[0], "OK")
        puts += 1
    reply = txn.end()
    last = revision_of(client.kv("Range", range_request(b"k000000"))[2])
    print(f"# {last - revision_of(reply)} of {puts} puts came after what it has read")
    equal(last, revision + puts)
    equal(last - revision_of(reply) >= 3, True, "puts were applied in its midst")
    responses = [dict(parse(value))[1] for number, value in parse(reply) if number == 3]
    equal(len(responses), 30)
    for response in responses:
        equal(revision_of(response), revision_of(reply))
        equal(count_of(response), KEYS)
    client.close()


def both(clients, method, request, what):
    replies = [client.kv(method, request) for client in clients]
    equal(replies[0][:2], replies[1][:2], what)
    if replies[0][2] is None:
        return None
    got, want = without_identity(replies[0][2]), without_identity(replies[1][2])
    if got != want:
        raise AssertionError(f"{what}: {len(got)} bytes differ from {len(want)}")
    return replies[0][2]


@test
def large_nested_transactions_are_answered_as_a_real_etcd_does():
    other = Server(binary=which("etcd"), flags=[f"--max-txn-ops={OPS}"]).start()
    ours = Server(flags=[f"--max-txn-ops={OPS}"]).start()
    clients = [Client(ours), Client(other)]
    for client in clients:
        fill(client, 4000, 300)
        equal(client.kv("Put", put_request(b"large", b"v" * (1 << 20)))[0], "OK")
    whole = range_request(b"k", b"l")
    nested = txn_request(
        [compare(1, 0, b"k", 0, end=b"l")],
        success=[op(range=whole), op(put=put_request(b"k000100", b"new", prev=True)), op(range=whole),
                 op(txn=txn_request([compare(0, 3, b"k000100", b"new")],
                                    failure=[op(delete=delete_request(b"k001", b"k003", prev=True)),
                                             op(range=range_request(b"k", b"l", limit=1500)),
                                             op(range=range_request(b"k", b"l", keys_only=True)),
                                             op(range=range_request(b"k", b"l", order=2, limit=70))])),
                 op(put=put_request(b"large", b"w", prev=True)),
                 op(range=range_request(b"k", b"l", rev=4)),
                 op(delete=delete_request(b"k0002", b"k0009")), op(range=range_request(b"k", b"\0", min_mod=3)),
                 op(put=put_request(b"z"))])
    for what, request in (
            ("nested", nested),
            ("again", nested),
            ("only reads", txn_request([compare(1, 0, b"k", 0, end=b"l")],
                                       success=[op(range=whole), op(txn=txn_request(success=[op(range=whole)]))])),
            ("a future revision at its end", txn_request(success=[op(range=whole), op(put=put_request(b"k1", b"no")),
                                                                  op(range=range_request(b"k", rev=1 << 40))])),
            ("a lease that is none", txn_request(success=[op(delete=delete_request(b"k", b"l")),
                                                          op(put=put_request(b"m", lease=77))])),
            ("a key that is not there", txn_request(success=[op(range=whole),
                                                             op(put=put_request(b"none", ignore_value=True))])),
            ("the rest", txn_request(success=[op(delete=delete_request(b"k", b"l", prev=True))]))):
        reply = both(clients, "Txn", request, what)
        if what == "nested":
            equal(reply is not None, True, "it is not refused")
            equal(len(reply) > 4 << 20, True, "large enough to be streamed")
    both(clients, "Range", range_request(b"a", b"\0"), "what is left")
    revision = revision_of(clients[0].kv("Range", range_request(b"z"))[2])
    for client in clients:
        equal(client.call("/etcdserverpb.KV/Compact", b"\x08" + bytes([revision]))[0], "OK")
    both(clients, "Txn", txn_request(success=[op(put=put_request(b"y")), op(range=range_request(b"k", rev=2))]),
         "a compacted revision")
    hashes = [parse(client.maintenance("HashKV", b"")[2]) for client in clients]
    equal(*[[value for number, value in reply if number == 2] for reply in hashes], "HashKV")
    for client in clients:
        client.close()

    texts = []
    for one in (ours, other):
        script = 'mod("z") > "0"\n\nput a 1\nget k --from-key\nget "" --from-key\n\nget a\n\n'
        done = subprocess.run([which("etcdctl"), "--endpoints", one.url, "txn"], input=script, capture_output=True,
                              text=True, check=True, env={"ETCDCTL_API": "3"}, timeout=30)
        texts.append(done.stdout)
    equal(texts[0], texts[1], "stock etcdctl")
    other.stop()
    ours.stop()


def peak_mib():
    with open(f"/proc/{server.process.pid}/status", encoding="ascii") as status:
        return int(re.search(r"VmHWM:\s+(\d+)", status.read()).group(1)) / 1024


@test
def a_reply_with_large_ranges_takes_no_memory_of_that_size():
    client = Client(server)
    fill(client, 20000, 1000)
    equal(client.kv("DeleteRange", delete_request(b"k02", b"l"))[0], "OK")
    with open(f"/proc/{server.process.pid}/clear_refs", "w", encoding="ascii") as refs:
        refs.write("5")  # the peak begins anew
    before = peak_mib()
    reply = client.kv("Txn", txn_request(success=[op(put=put_request(b"m", b"2"))] + 5 * [
        op(range=range_request(b"k", b"l"))]))[2]
    growth = peak_mib() - before
    print(f"# a reply of {len(reply) >> 20} MiB: the peak grew by {growth:.1f} MiB")
    equal(len(reply) > 90 << 20, True)
    if growth > 32:
        raise AssertionError(f"{growth:.0f} MiB")
    client.close()


run()
