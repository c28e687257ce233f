"""python3-etcd3, the stock Python client: KV, ranges, replace, transactions, compaction, status,
locks, leases, watches."""
import os

# The client's generated messages are older than the protobuf runtime that Debian ships with them.
os.environ.setdefault("PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION", "python")

from harness import Server, equal, run, test  # noqa: E402

try:
    import etcd3
except ImportError as why:
    print(f"1..0 # SKIP python3-etcd3 is not installed: {why}")
    raise SystemExit(0)

server = Server().start()
client = etcd3.client(host="127.0.0.1", port=server.port)


@test
def put_get_and_delete():
    equal(client.get("/none"), (None, None))
    client.put("/key", "value")
    value, meta = client.get("/key")
    equal((value, meta.key, meta.version), (b"value", b"/key", 1))
    client.put("/key", b"\x00\xff")
    value, meta = client.get("/key")
    equal((value, meta.version), (b"\x00\xff", 2))
    equal(client.put("/key", "3", prev_kv=True).prev_kv.value, b"\x00\xff")
    equal(client.delete("/key"), True)
    equal(client.delete("/key"), False)
    equal(client.get("/key"), (None, None))


@test
def prefixes_and_ranges():
    for i in range(20):
        client.put(f"/range/{i:02}", str(i))
    client.put("/rangf", "no")
    equal([v for v, _ in client.get_prefix("/range/")], [str(i).encode() for i in range(20)])
    equal([v for v, _ in client.get_range("/range/05", "/range/08")], [b"5", b"6", b"7"])
    equal([v for v, _ in client.get_prefix("/range/", sort_order="descend")], [str(i).encode() for i in reversed(range(20))])
    equal([v for v, _ in client.get_prefix("/range/", sort_order="descend", sort_target="mod")][:2], [b"19", b"18"])
    equal([(v, m.key) for v, m in client.get_prefix("/range/", keys_only=True)][0], (b"", b"/range/00"))
    equal(len(list(client.get_all())), 21)
    equal(client.delete_prefix("/range/").deleted, 20)
    equal(list(client.get_prefix("/range/")), [])


@test
def replace_swaps_only_what_is_expected():
    client.put("/swap", "a")
    equal(client.replace("/swap", "a", "b"), True)
    equal(client.replace("/swap", "a", "c"), False)
    equal(client.get("/swap")[0], b"b")
    equal(client.put_if_not_exists("/swap", "x"), False)
    equal(client.put_if_not_exists("/fresh", "x"), True)


@test
def transactions_take_one_branch():
    t = client.transactions
    client.put("/txn/a", "1")
    ok, answers = client.transaction(
        compare=[t.value("/txn/a") == "1", t.version("/txn/a") > 0, t.create("/txn/none") == 0, t.mod("/txn/a") > 1],
        success=[t.put("/txn/b", "2"), t.get("/txn/a"), t.delete("/txn/a")],
        failure=[t.put("/txn/c", "3")])
    equal(ok, True)
    equal(answers[1][0][0], b"1")
    equal(client.get("/txn/a"), (None, None))
    equal(client.get("/txn/b")[0], b"2")
    ok, _ = client.transaction(compare=[t.value("/txn/a") == "1"], success=[t.put("/txn/x", "")],
                               failure=[t.put("/txn/c", "3")])
    equal((ok, client.get("/txn/c")[0], client.get("/txn/x")[0]), (False, b"3", None))


@test
def compaction_forgets_history():
    client.put("/old", "1")
    client.put("/old", "2")
    revision = client.get("/old")[1].mod_revision
    client.compact(revision)
    equal(client.get("/old")[0], b"2")
    try:
        client.compact(revision - 1)
        raise AssertionError("a compacted revision was compacted again")
    except Exception as error:  # the client has no class of its own for it
        if "required revision has been compacted" not in str(error):
            raise


@test
def status_hash_and_members():
    status = client.status()
    equal(status.version, "3.6.0")
    equal(status.leader.id, next(client.members).id)
    if status.db_size <= 0 or status.raft_index <= 0:
        raise AssertionError(f"{status.db_size} {status.raft_index}")
    equal(client.hash() > 0, True)
    member = next(client.members)
    equal((member.name, list(member.client_urls), list(member.peer_urls)), ("default", [server.url], [server.peer_url]))


@test
def alarms_are_raised_listed_and_taken_back():
    equal(list(client.list_alarms()), [])
    client.create_alarm()
    equal(len(list(client.list_alarms())), 1)
    try:
        client.put("/full", "x")
        raise AssertionError("a put under NOSPACE went through")
    except Exception as error:
        if "database space exceeded" not in str(error):
            raise
    client.delete("/swap")
    client.disarm_alarm()
    equal(list(client.list_alarms()), [])
    client.put("/full", "x")


@test
def a_lock_is_held_by_one_at_a_time_and_falls_with_its_lease():
    one, two = (etcd3.client(host="127.0.0.1", port=server.port) for _ in range(2))
    first, second = one.lock("py-lock", ttl=5), two.lock("py-lock", ttl=5)
    equal(first.acquire(), True)
    equal(second.acquire(timeout=0), False)
    equal(first.is_acquired(), True)
    first.lease.revoke()
    equal(second.acquire(timeout=0), True)
    equal(first.is_acquired(), False)
    equal(second.release(), True)


@test
def leased_keys_go_with_their_lease_and_watches_are_told():
    one = etcd3.client(host="127.0.0.1", port=server.port)
    lease = one.lease(60)
    one.put("py-l/a", "1", lease)
    one.put("py-l/b", "2", lease)
    equal(sorted(lease.keys), [b"py-l/a", b"py-l/b"])
    events, cancel = one.watch_prefix("py-l/")
    lease.revoke()
    gone = [next(events) for _ in range(2)]
    equal(sorted(event.key for event in gone), [b"py-l/a", b"py-l/b"])
    equal(gone[0].mod_revision, gone[1].mod_revision)
    cancel()


@test
def data_survives_a_restart():
    client.put("/kept", "yes")
    server.restart()
    again = etcd3.client(host="127.0.0.1", port=server.port)
    equal(again.get("/kept")[0], b"yes")


run()
