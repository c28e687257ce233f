"""The command-line session of the book, item by item (E1-E25 without watch and lease), with its
exact outputs; run with Debian's etcdctl and with ours."""
import json

from harness import ETCDCTL, Server, Skip, ctl, equal, contains, run, test, which

BINARIES = {"ours": lambda: ETCDCTL, "stock": lambda: which("etcdctl")}


def session(who):
    binary = BINARIES[who]()
    server = Server().start()

    def do(*args, **more):
        return ctl(server, *args, binary=binary, **more)[1]

    return server, do


def book(who):
    server, do = session(who)
    # E2, E4, E5
    equal(do("put", "foo", "bar"), "OK\n")
    equal(do("get", "foo"), "foo\nbar\n")
    equal(do("get", "foo", "--print-value-only"), "bar\n")
    # E6, E7, E8
    for i in (1, 2, 3):
        equal(do("put", f"foo{i}", f"bar{i}"), "OK\n")
    equal(do("get", "foo", "foo3"), "foo\nbar\nfoo1\nbar1\nfoo2\nbar2\n")
    equal(do("get", "--prefix", "foo"), "foo\nbar\nfoo1\nbar1\nfoo2\nbar2\nfoo3\nbar3\n")
    equal(do("get", "--prefix", "--limit=2", "foo"), "foo\nbar\nfoo1\nbar1\n")
    # E10
    for key, value in (("a", "123"), ("b", "456"), ("z", "789")):
        do("put", key, value)
    equal(do("get", "--from-key", "b", "--limit=1"), "b\n456\n")
    equal(do("del", "--prefix", "foo"), "4\n")
    equal(do("get", "--from-key", "b"), "b\n456\nz\n789\n")
    # E11 - E15
    do("put", "foo", "bar")
    equal(do("del", "foo"), "1\n")
    do("put", "foo1", "bar1")
    do("put", "foo3", "bar3")
    equal(do("del", "foo", "foo9"), "2\n")
    do("put", "zoo", "val")
    equal(do("del", "--prev-kv", "zoo"), "1\nzoo\nval\n")
    do("put", "zoo1", "val1")
    do("put", "zoo2", "val2")
    equal(do("del", "--prefix", "zoo"), "2\n")
    equal(do("del", "--from-key", "b"), "2\n")
    server.stop()


def history(who):
    server, do = session(who)
    # E20: an empty store has revision 1, the first key gets 2.
    equal(json.loads(do("get", "none", "-w=json"))["header"]["revision"], 1)
    for key, value in (("foo", "bar"), ("foo1", "bar1"), ("foo", "bar_new"), ("foo1", "bar1_new")):
        do("put", key, value)
    # E9
    equal(do("get", "--prefix", "foo"), "foo\nbar_new\nfoo1\nbar1_new\n")
    equal(do("get", "--prefix", "--rev=4", "foo"), "foo\nbar_new\nfoo1\nbar1\n")
    equal(do("get", "--prefix", "--rev=3", "foo"), "foo\nbar\nfoo1\nbar1\n")
    equal(do("get", "--prefix", "--rev=2", "foo"), "foo\nbar\n")
    equal(do("get", "--prefix", "--rev=1", "foo"), "")
    # E24
    equal(do("compact", "5"), "compacted revision 5\n")
    status, out, err = ctl(server, "get", "--rev=4", "foo", binary=BINARIES[who](), check=False)
    equal((status, out), (1, ""))
    contains(err, "etcdserver: mvcc: required revision has been compacted")
    # E25: no kvs, no count; 64-bit ids as numbers.
    answer = json.loads(do("get", "mykey", "-w=json"))
    equal(sorted(answer), ["header"])
    equal(answer["header"]["revision"], 5)
    server.stop()


@test
def the_session_of_the_book_with_our_etcdctl():
    book("ours")


@test
def the_session_of_the_book_with_the_stock_etcdctl():
    book("stock")


@test
def history_and_compaction_of_the_book_with_our_etcdctl():
    history("ours")


@test
def history_and_compaction_of_the_book_with_the_stock_etcdctl():
    history("stock")


@test
def api_version_3_is_the_only_one():
    """E1: ETCDCTL_API=3 selects v3; ours speaks nothing else."""
    server = Server().start()
    equal(ctl(server, "put", "k", "v", env={"ETCDCTL_API": "3"})[1], "OK\n")
    server.stop()


@test
def a_lease_that_is_not_there_is_refused():
    """E3: put with a lease in hexadecimal; without that lease it is an error, not a put."""
    server = Server().start()
    status, _, err = ctl(server, "put", "foo1", "bar1", "--lease=1234abcd", check=False)
    equal(status, 1)
    contains(err, "etcdserver: requested lease not found")
    equal(ctl(server, "get", "foo1")[1], "")
    server.stop()


run()
