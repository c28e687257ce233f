"""The same requests to a real etcd and to ours: every reply must be the same, byte for byte, but for
who answers (cluster, member, term). Random sequences from seeds, and tables of edge cases."""
import random

from harness import Server, Skip, equal, run, test, which
from pbtiny import (Client, compare, delete_request, message, op, put_request, range_request, txn_request,
                    without_identity)

KEYS = [b"a", b"aa", b"ab", b"b", b"ba", b"bb", b"c", b"\x00", b"\xff", b"\xff\xff", b"k" * 200]
ENDS = [b"", b"\x00", b"b", b"c", b"zz", b"a", b"\xff\xff\xff", b"ab"]
STEPS = 700
SEEDS = (1, 2, 3)


class Pair:
    """Our server and the stock one, and what both say."""

    def __init__(self):
        self.servers = [Server(binary=which("etcd")), Server()]
        for server in self.servers:
            server.start()
        self.clients = [Client(server) for server in self.servers]

    def both(self, path, request, what):
        answers = []
        for client in self.clients:
            code, details, reply = client.call(path, request)
            answers.append((code, details, without_identity(reply) if reply is not None else None))
        if answers[0] != answers[1]:
            raise AssertionError(f"{what}: {path} {request.hex()}\n  stock: {answers[0]}\n  ours:  {answers[1]}")
        return answers[0]

    def kv(self, method, request, what=""):
        return self.both(f"/etcdserverpb.KV/{method}", request, what)

    def hash_kv(self, rev, what):
        """Hash and compact revision; 3.4 does not say the revision hashed (field 4)."""
        hashes = []
        for client in self.clients:
            code, details, reply = client.maintenance("HashKV", message(f1=rev))
            fields = dict(parse_pairs(reply)) if reply is not None else {}
            hashes.append((code, details, fields.get(2, 0), fields.get(3, 0)))
        equal(hashes[1], hashes[0], what)

    def stop(self):
        for client in self.clients:
            client.close()
        for server in self.servers:
            server.stop()


def parse_pairs(reply):
    from pbtiny import parse
    return parse(reply)


def random_range(rng, revision):
    order, target = rng.choice([(0, 0)] * 4 + [(1, 0), (2, 0), (1, 2), (2, 3), (2, 2), (1, 3)])
    return range_request(
        key=rng.choice(KEYS), end=rng.choice(ENDS), limit=rng.choice([0, 0, 0, 1, 2, 5, -1]),
        rev=rng.choice([0, 0, 0, 1, revision, revision + 1, rng.randint(-2, max(revision, 1))]),
        # Ties are not ordered by Go's sort, so only targets that cannot tie are sorted by here.
        order=order, target=target if target in (0, 3) else 0, serializable=rng.random() < 0.3,
        keys_only=rng.random() < 0.2, count_only=rng.random() < 0.1,
        min_mod=rng.choice([0, 0, 0, rng.randint(0, revision)]), max_mod=rng.choice([0, 0, 0, rng.randint(0, revision)]),
        min_create=rng.choice([0, 0, 0, rng.randint(0, revision)]), max_create=rng.choice([0, 0, 0, rng.randint(0, revision)]))


def random_put(rng):
    ignore = rng.random() < 0.1
    return put_request(key=rng.choice(KEYS), value=b"" if ignore else rng.randbytes(rng.choice([0, 1, 10, 300])),
                       prev=rng.random() < 0.3, ignore_value=ignore, ignore_lease=rng.random() < 0.1,
                       lease=0 if rng.random() < 0.97 else 77)


def random_delete(rng):
    return delete_request(key=rng.choice(KEYS), end=rng.choice(ENDS), prev=rng.random() < 0.4)


def random_compare(rng, revision):
    target = rng.randint(0, 4)
    operand = rng.randbytes(rng.choice([0, 1])) if target == 3 else rng.choice([0, 1, 2, rng.randint(0, revision)])
    return compare(rng.randint(0, 3), target, rng.choice(KEYS), operand, rng.choice([b"", b"", b"", b"c", b"\x00"]))


def random_op(rng, revision, depth):
    pick = rng.random()
    if pick < 0.35:
        return op(range=random_range(rng, revision))
    if pick < 0.7:
        # No reference to older values inside a Txn: a real etcd panics when the key has just gone.
        return op(put=put_request(key=rng.choice(KEYS), value=rng.randbytes(8), prev=rng.random() < 0.3))
    if pick < 0.85 or depth == 0:
        return op(delete=random_delete(rng))
    return op(txn=random_txn(rng, revision, depth - 1))


def random_txn(rng, revision, depth=2):
    return txn_request([random_compare(rng, revision) for _ in range(rng.randint(0, 2))],
                       [random_op(rng, revision, depth) for _ in range(rng.randint(0, 3))],
                       [random_op(rng, revision, depth) for _ in range(rng.randint(0, 3))])


def revision_of(pair):
    from pbtiny import parse
    _, _, reply = pair.kv("Range", range_request(b"a"), "revision")
    return dict(parse(dict(parse(reply)).get(1, b""))).get(3, 0)


def sequence(seed):
    rng = random.Random(seed)
    pair = Pair()
    compacted = 0
    revision = 1
    for step in range(STEPS):
        what = f"seed {seed}, step {step}"
        pick = rng.random()
        if pick < 0.30:
            pair.kv("Put", random_put(rng), what)
        elif pick < 0.60:
            pair.kv("Range", random_range(rng, revision), what)
        elif pick < 0.72:
            pair.kv("DeleteRange", random_delete(rng), what)
        elif pick < 0.96:
            pair.kv("Txn", random_txn(rng, revision), what)
        elif pick < 0.98:
            target = rng.randint(max(1, compacted - 1), revision + 1)
            # Physical, so that both have removed their rows before hashes are compared.
            pair.kv("Compact", message(f1=target, f2=True), what)
            if target <= revision:
                compacted = max(compacted, target)
        else:
            pair.hash_kv(0, what)
        if step % 25 == 0:
            revision = revision_of(pair)
    pair.hash_kv(0, f"seed {seed}, end")
    revision = revision_of(pair)
    for rev in range(max(1, compacted - 2), revision + 2, 7):
        pair.hash_kv(rev, f"seed {seed}, hash at {rev}")
    # What was written must still be there, and the same, after both have started again.
    before = pair.kv("Range", range_request(b"\x00", b"\x00"), "before restart")
    for server in pair.servers:
        server.restart()
    equal(pair.kv("Range", range_request(b"\x00", b"\x00"), "after restart"), before)
    pair.hash_kv(0, f"seed {seed}, after restart")
    pair.stop()


for one in SEEDS:
    def wrapped(seed=one):
        sequence(seed)
    wrapped.__name__ = f"random_requests_are_answered_alike_with_seed_{one}"
    test(wrapped)


@test
def refusals_are_the_same():
    pair = Pair()
    kv = pair.kv
    kv("Put", put_request(b"k", b"v"))
    for _ in range(3):
        kv("Put", put_request(b"k2", b"v"))
    cases = [
        ("Put", put_request(b"", b"v")),
        ("Put", put_request(b"k", b"v", ignore_value=True)),
        ("Put", put_request(b"nope", b"", ignore_value=True)),
        ("Put", put_request(b"nope", b"v", ignore_lease=True)),
        ("Put", put_request(b"k", b"v", lease=5, ignore_lease=True)),
        ("Put", put_request(b"k", b"v", lease=5)),
        ("Put", put_request(b"k", b"x" * (1536 * 1024))),
        ("Put", put_request(b"k", b"x" * (1536 * 1024 - 100))),
        ("Range", range_request(b"")),
        ("Range", range_request(b"k", rev=100)),
        ("DeleteRange", delete_request(b"")),
        ("Txn", txn_request([compare(0, 0, b"", 1)])),
        ("Txn", txn_request(success=[b""])),
        ("Txn", txn_request(success=[op(put=put_request(b"x")), op(put=put_request(b"x"))])),
        ("Txn", txn_request(success=[op(put=put_request(b"x")), op(delete=delete_request(b"x"))])),
        ("Txn", txn_request(success=[op(delete=delete_request(b"a", b"z")), op(put=put_request(b"x"))])),
        ("Txn", txn_request(success=[op(delete=delete_request(b"a", b"\0")), op(put=put_request(b"x"))])),
        ("Txn", txn_request(success=[op(put=put_request(b"x%d" % i)) for i in range(128)])),
        ("Txn", txn_request(success=[op(put=put_request(b"x%d" % i)) for i in range(129)])),
        ("Txn", txn_request(success=[op(range=range_request(b"k", rev=100))])),
        ("Txn", txn_request(success=[op(put=put_request(b"y", lease=9))])),
        ("Txn", txn_request(success=[op(put=put_request(b"gone", ignore_value=True))])),
        ("Txn", txn_request(success=[op(txn=txn_request(success=[op(put=put_request(b"n"))])),
                                     op(put=put_request(b"n"))])),
        ("Txn", txn_request()),
        ("Compact", message(f1=100)),
        ("Compact", message(f1=3)),
        ("Compact", message(f1=3)),
        ("Compact", message(f1=0)),
        ("Range", range_request(b"k", rev=2)),
        ("Range", range_request(b"k", rev=3)),
        ("Txn", txn_request(success=[op(range=range_request(b"k", rev=2))])),
        ("Txn", txn_request(success=[op(put=put_request(b"y")), op(range=range_request(b"k", rev=2))])),
        ("Range", b"\x0a\xff"),
        ("Put", b"\xff\xff\xff"),
        ("Put", b"\x08\x01"),
        ("Txn", b"\x0a\x02\x0a"),
    ]
    for number, (method, request) in enumerate(cases):
        kv(method, request, f"case {number}")
    pair.hash_kv(0, "after refusals")
    pair.stop()


@test
def unknown_methods_and_services_are_refused_alike():
    pair = Pair()
    for path in ("/etcdserverpb.KV/Nope", "/nope.X/Y", "/etcdserverpb.Nope/Range"):
        pair.both(path, b"", path)
    pair.stop()


try:
    which("etcd")
    import grpc  # noqa: F401
except Skip as why:
    print(f"1..0 # SKIP {why}")
else:
    run()
