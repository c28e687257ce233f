"""Out of space by quota: the drill of the documentation, with its outputs; what must go on under the
NOSPACE alarm; and the ways back. Defragmentation is not served yet, so the drill's way back is taken
with more quota: compaction frees pages, which are used again, but the file's size, which the quota
looks at, does not shrink."""
import json
import os
import re
import time

from datadir import check_db, first, must, note, observe, same, serving
from harness import ETCDCTL, Server, alarm_comes, contains, ctl, equal, run, test, which
from pbtiny import (Client, compare, delete_request, message, op, put_request, range_request, txn_request)

QUOTA = 16 * 1024 * 1024
MIB = 1024 * 1024
EXCEEDED = "etcdserver: mvcc: database space exceeded"


def alarm_list(server, binary):
    """After a refusal: the alarm is raised through the log, a moment after the answer."""
    for _ in range(100):
        listed = ctl(server, "alarm", "list", binary=binary)[1]
        if listed:
            break
        time.sleep(0.02)
    return listed


def fill(server, binary, size=MIB):
    """Puts `key` from stdin until it fails; returns how many went well and what was said then."""
    for count in range(200):
        value = os.urandom(size // 2).hex()
        status, out, err = ctl(server, "put", "key", binary=binary, stdin=value, check=False)
        if status != 0:
            return count, err
        equal(out, "OK\n")
        time.sleep(0.02)
    raise AssertionError("the quota never came")


def drill(who, etcd):
    binary = {"ours": lambda: ETCDCTL, "stock": lambda: which("etcdctl")}[who]()
    server = Server(binary=etcd() if etcd else None, flags=[f"--quota-backend-bytes={QUOTA}"]).start()
    for i in range(5):
        equal(ctl(server, "put", f"small{i}", "v", binary=binary)[1], "OK\n")
    # Fill.
    count, said = fill(server, binary)
    contains(said, f"Error: {EXCEEDED}")
    if not 8 <= count <= 17:  # bbolt places such values with gaps
        raise AssertionError(f"{count} MiB fitted in a quota of 16")
    # Look.
    listed = alarm_list(server, binary)
    table = ctl(server, "--write-out=table", "endpoint", "status", binary=binary)[1]
    row = [cell.strip() for cell in table.splitlines()[3].split("|")[1:-1]]
    heads = [cell.strip() for cell in table.splitlines()[1].split("|")[1:-1]]
    shown = dict(zip(heads, row))
    if not re.fullmatch(r"1[4-9] MB", shown["DB SIZE"]):
        raise AssertionError(f"DB SIZE {shown}")
    member = int(shown["ID"], 16)
    contains(table, "alarm:NOSPACE")
    alarm = f"memberID:{member} alarm:NOSPACE \n"
    equal(listed, alarm)
    # Way back.
    status = ctl(server, "endpoint", "status", "--write-out=json", binary=binary)[1]
    rev = re.search(r'"revision":([0-9]*)', status).group(1)
    equal(ctl(server, "compact", rev, binary=binary)[1], f"compacted revision {rev}\n")
    equal(ctl(server, "alarm", "disarm", binary=binary)[1], alarm)
    equal(ctl(server, "alarm", "list", binary=binary)[1], "")
    return server, binary, alarm


def size_of(server):
    client = Client(server)
    reply = must(client.maintenance("Status"))
    client.close()
    return first(reply, 3), first(reply, 9)  # dbSize, dbSizeInUse


def way_back(server, binary, alarm):
    """Without defragmentation the file is as large as before: the alarm comes again. With more quota
    the pages that compaction freed take new values, and the file does not grow."""
    status, _, err = ctl(server, "put", "key", binary=binary, stdin="x" * MIB, check=False)
    equal(status, 1)
    contains(err, EXCEEDED)
    equal(alarm_list(server, binary), alarm)
    for i in range(5):  # pages are free when the transaction after the one that let go of them begins
        equal(ctl(server, "del", f"small{i}", binary=binary)[1], "1\n")
        time.sleep(0.2)
    size, in_use = size_of(server)
    if in_use > size // 4:
        raise AssertionError(f"compaction freed too little: {in_use} of {size} in use")
    before = observe(server)
    server.stop()
    server.flags = [f"--quota-backend-bytes={size + 3 * MIB}"]
    server.start(wait=False)
    serving(server)
    same(observe(server), before, "after the restart")
    equal(ctl(server, "alarm", "disarm", binary=binary)[1], alarm)
    equal(ctl(server, "put", "newkey", "123", binary=binary)[1], "OK\n")
    for i in range(8):
        equal(ctl(server, "put", f"more{i}", binary=binary, stdin="y" * MIB)[1], "OK\n")
    time.sleep(0.5)
    after, _ = size_of(server)
    note(f"dbSize {size} full, {in_use} in use after compaction, {after} after 8 MiB more")
    if after > size + 2 * MIB:
        raise AssertionError(f"freed pages are not used again: {size} grew to {after}")
    equal(ctl(server, "alarm", "list", binary=binary)[1], "")
    server.stop()
    check_db(os.path.join(server.data_dir, "member/snap/db"))


@test
def the_drill_with_our_etcdctl():
    way_back(*drill("ours", None))


@test
def the_drill_with_the_stock_etcdctl():
    way_back(*drill("stock", None))


@test
def the_drill_on_go_etcd_says_the_same_to_our_etcdctl():
    """The same assertions hold there: they are etcd's behaviour, not only ours."""
    way_back(*drill("ours", lambda: which("etcd")))


def exhausted(answer, what):
    equal(answer[:2], ("RESOURCE_EXHAUSTED", EXCEEDED), what)


@test
def under_the_alarm_what_frees_space_goes_on_and_what_takes_it_does_not():
    server = Server(flags=["--quota-backend-bytes=2000000"]).start()
    client = Client(server)
    for i in range(40):
        must(client.kv("Put", put_request(b"small/%d" % i, b"v")))
    for i in range(100):
        answer = client.kv("Put", put_request(b"big/%d" % i, b"x" * 100000))
        if answer[0] != "OK":
            break
        time.sleep(0.02)
    exhausted(answer, "when full")
    for turn in range(2):  # the second time after a kill: the alarm is on disk
        for _ in range(200):  # the alarm is raised through the log, after the answer
            if server.get("/health")[0] == 503:
                break
            time.sleep(0.02)
        equal(json.loads(server.get("/health")[2]), {"health": "false", "reason": "ALARM NOSPACE"})
        # Refused, and nothing of it is done.
        rev = first(first(must(client.kv("Range", range_request(key=b"a"))), 1, b""), 3)
        exhausted(client.kv("Put", put_request(b"a", b"")), "the smallest put")
        exhausted(client.kv("Txn", txn_request([], [op(put=put_request(b"a", b"1"))], [])), "a Txn that puts")
        exhausted(client.kv("Txn", txn_request([], [op(delete=delete_request(b"small/1")),
                                                    op(put=put_request(b"a", b"1"))], [])), "a Txn that deletes and puts")
        exhausted(client.kv("Txn", txn_request([compare(0, 0, b"none", 0)], [op(delete=delete_request(b"small/1"))],
                                               [op(put=put_request(b"a", b"1"))])), "a Txn that would put otherwise")
        exhausted(client.kv("Txn", txn_request([], [op(txn=txn_request([], [op(put=put_request(b"a", b"1"))], []))], [])),
                  "a put inside a Txn inside a Txn")
        reply = must(client.kv("Range", range_request(key=b"a")))
        equal((first(first(reply, 1, b""), 3), first(reply, 4)), (rev, 0), "after the refusals")
        equal(first(must(client.kv("Range", range_request(key=b"small/1"))), 4), 1)
        # Done: reads, deletes, Txns without puts, compaction.
        equal(first(must(client.kv("DeleteRange", delete_request(b"small/%d" % (10 + turn)))), 2), 1)
        must(client.kv("Txn", txn_request([], [op(delete=delete_request(b"small/%d" % (20 + turn))),
                                               op(range=range_request(key=b"small/1"))], [])), "a Txn that deletes")
        must(client.kv("Compact", message(f1=rev, f2=True)), "compaction")
        must(client.maintenance("HashKV"))
        client.close()
        server.kill()
        server.start(wait=False)
        serving(server)
        client = Client(server)
        alarm_comes(server)
    equal(first(must(client.kv("DeleteRange", delete_request(b"big/", b"big0"))), 2) > 10, True)
    contains(ctl(server, "alarm", "disarm")[1], "alarm:NOSPACE")
    equal(json.loads(server.get("/health")[2])["health"], "true")
    # A put that does not fit raises it again, whoever disarmed it.
    exhausted(client.kv("Put", put_request(b"a", b"x" * 1000000)), "after disarm")
    contains(alarm_list(server, None), "alarm:NOSPACE")
    contains(ctl(server, "alarm", "disarm")[1], "alarm:NOSPACE")
    client.close()
    server.stop()
    check_db(os.path.join(server.data_dir, "member/snap/db"))


run()
