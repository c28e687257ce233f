"""etcdctl watch: ours beside Debian's, on the same server at the same time, so that their outputs
have to be the same byte for byte; then what is ours alone, and a restart of the server."""
import signal
import time

from client_common import Running, both, ctl, servers
from harness import Server, contains, equal, run, test, which


def compare(server, args, change, end, env=None):
    """Both watch while change() runs; `end` is what both must have printed at last."""
    pair = both(server, *args, env=env)
    try:
        time.sleep(0.5)  # nothing tells from outside that a watch stands
        change()
        for one in pair:
            one.until(end)
        time.sleep(0.1)
    finally:
        for one in pair:
            one.stop()
    equal(pair[0].read(), pair[1].read(), f"watch {args}")
    equal(pair[0].errors(), pair[1].errors(), f"watch {args}: standard error")


@test
def formats_and_flags_are_those_of_etcdctl():
    for server in servers():
        def change():
            ctl(server, "put", "w1", "v1")
            ctl(server, "put", "w1", "v 2")
            ctl(server, "put", "w2", "other")
            ctl(server, "del", "w1")
            ctl(server, "put", "w3", "last-one")
            ctl(server, "put", "w1", "last-one")

        hexed = "\\x6c\\x61\\x73\\x74"
        for args, end in ((["watch", "w1"], "last-one"),
                          (["watch", "w1", "--prev-kv"], "last-one"),
                          (["watch", "w", "--prefix"], "w1\nlast-one"),
                          (["watch", "w1", "w3"], "last-one"),
                          (["watch", "w1", "--rev=1"], "last-one"),
                          (["watch", "w", "--prefix", "--rev", "2", "--prev-kv"], "w1\nlast-one"),
                          (["--hex", "watch", "w1"], hexed),
                          (["-w", "json", "watch", "w1"], "bGFzdC1vbmU="),
                          (["-w", "json", "watch", "w1", "--prev-kv"], "bGFzdC1vbmU="),
                          (["-w", "fields", "watch", "w1", "--prev-kv"], "last-one"),
                          (["-w", "protobuf", "watch", "w1"], "last-one"),
                          (["watch", "w1", "--", "sh", "-c", "env | grep ^ETCD_WATCH | sort"], "last-one\""),
                          (["watch", "w", "--prefix", "--", "sh", "-c", "echo $ETCD_WATCH_KEY"], "\"w1\"")):
            compare(server, args, change, end)


@test
def key_and_range_may_come_from_the_environment():
    for server in servers():
        def change():
            ctl(server, "put", "e1", "x")
            ctl(server, "put", "e2", "y")
            ctl(server, "put", "e3", "z")
            ctl(server, "put", "e1", "last")

        compare(server, ["watch"], change, "last", env={"ETCDCTL_WATCH_KEY": "e1"})
        compare(server, ["watch"], change, "last",
                env={"ETCDCTL_WATCH_KEY": "e1", "ETCDCTL_WATCH_RANGE_END": "e3"})
        compare(server, ["watch", "--", "echo", "hello"], change, "last\nhello", env={"ETCDCTL_WATCH_KEY": "e1"})


@test
def wrong_arguments_are_refused_as_etcdctl_refuses_them():
    server = Server(binary=which("etcd")).start()
    cases = (([], None), (["a", "--"], None), (["a", "b", "--prefix"], None), (["--", "echo"], None),
             (["a"], {"ETCDCTL_WATCH_KEY": "k"}), (["a", "--", "echo"], {"ETCDCTL_WATCH_KEY": "k"}),
             ([], {"ETCDCTL_WATCH_RANGE_END": "k"}))
    for args, env in cases:
        ours = ctl(server, "watch", *args, env=env, check=False)
        theirs = ctl(server, "watch", *args, env=env, check=False, binary=which("etcdctl"))
        equal(ours, theirs, f"watch {args} {env}")
        equal(ours[0], 128)
    server.stop()


@test
def a_compacted_start_is_said_in_every_format():
    for server in servers():
        for i in range(4):
            ctl(server, "put", "foo", str(i))
        ctl(server, "compaction", "4")
        for args in (["watch", "foo", "--rev=2"], ["-w", "json", "watch", "foo", "--rev=2"],
                    
                     ["-w", "table", "watch", "foo", "--rev=2"]):
            ours = ctl(server, *args, check=False)
            theirs = ctl(server, *args, check=False, binary=which("etcdctl"))
            equal(ours, theirs, f"{args}")
        # 3.6 does not print a revision of 0 any more.
        contains(ctl(server, "-w", "fields", "watch", "foo", "--rev=2", check=False)[1], '\n"RaftTerm" : 2\n')
        equal(ctl(server, "watch", "foo", "--rev=2", check=False),
              (5, "", "watch was canceled (etcdserver: mvcc: required revision has been compacted)\n"
                      "Error: watch is canceled by the server\n"))


@test
def a_program_that_fails_ends_the_watch():
    for server in servers():
        for program in (["sh", "-c", "exit 3"], ["no-such-program-here"], ["sh", "-c", "kill -9 $$"]):
            pair = both(server, "watch", "p", "--", *program)
            time.sleep(0.5)
            ctl(server, "put", "p", "x")
            for one in pair:
                equal(one.wait(), 1)
            equal(pair[0].errors(), pair[1].errors())
            equal(pair[0].read(), pair[1].read())


@test
def interactive_runs_several_watches_and_refuses_what_it_does_not_know():
    for server in servers():
        ctl(server, "put", "i1", "before")
        pair = both(server, "watch", "-i", pipe=True)
        lines = ("watch i1 --rev 1\n", "nonsense\n", "watch\n", "\n", "watch a b --prefix\n",
                 "watch i2 --prev-kv -- sh -c \"echo ran $ETCD_WATCH_KEY\"\n", "watch \"i 3\"\n")
        for one in pair:
            for line in lines:
                one.type(line)
            one.until("before")
            one.until("mutually", name="err")
        time.sleep(0.5)
        ctl(server, "put", "i2", "two")
        for one in pair:
            one.until("ran \"i2\"")
        ctl(server, "put", "i 3", "three")
        for one in pair:
            one.until("three")
        for one in pair:
            one.process.stdin.close()
            equal(one.wait(), 3)
        equal(pair[0].read(), pair[1].read())
        # 3.4 begins the last sentence with a capital letter, 3.6 does not.
        equal(pair[0].errors(), pair[1].errors().replace("Error reading", "error reading"))
        contains(pair[0].read("err"), "Error: error reading watch request line: EOF\n")


@test
def interactive_looks_less_closely_at_a_line_with_a_program():
    server = Server(binary=which("etcd")).start()
    for env, lines in (({}, ("watch -- x y", "watch --prefix -- x", "watch a b c -- echo hit")),
                       ({"ETCDCTL_WATCH_KEY": "b"}, ("watch -- echo hit", "watch c -- echo hit", "watch a -- echo hit",
                                                     "watch --prefix c -- x", "watch c d -- echo hit"))):
        pair = both(server, "watch", "-i", pipe=True, env=env)
        for one in pair:
            for line in lines:
                one.type(line + "\n")
            one.until("Invalid command watch --prefix", name="err")
            one.until("watch was canceled" if env else "bad number", name="err")
        time.sleep(0.5)
        for key in ("a", "b", "bb", "c"):
            ctl(server, "put", key, "x")
        for one in pair:
            one.until("hit\n")
        time.sleep(0.3)
        for one in pair:
            one.process.stdin.close()
            equal(one.wait(), 3)
        # Several watches are told of one put, in an order that nobody promises.
        equal(sorted(pair[0].read().split("\n")), sorted(pair[1].read().split("\n")))
        equal(sorted(pair[0].errors().split("\n")),
              sorted(pair[1].errors().replace("Error reading", "error reading").split("\n")))
    server.stop()


@test
def interactive_ends_when_a_watch_line_is_wrong():
    server = Server(binary=which("etcd")).start()
    for line in ("watch a --", "watch --nosuch a", "watch --prefix"):
        ours = ctl(server, "watch", "-i", stdin=line + "\n", check=False)
        theirs = ctl(server, "watch", "-i", stdin=line + "\n", check=False, binary=which("etcdctl"))
        equal((ours[0], ours[2]), (theirs[0], theirs[2]), line)
        equal(ours[0], 128)
    server.stop()


@test
def progress_is_printed_when_asked_for():
    for server in servers():
        one = Running(server, "watch", "-i", pipe=True)
        one.type("watch p1\n")
        time.sleep(0.3)
        ctl(server, "put", "other", "x")
        revision = 2
        one.type("progress\n")
        one.until(f"progress notify: {revision}\n")
        one.stop(signal.SIGKILL)


@test
def progress_comes_by_itself_with_the_flag():
    for server in servers(flags=["--experimental-watch-progress-notify-interval=200ms"]):
        one = Running(server, "watch", "p1", "--progress-notify")
        one.until("progress notify: 1\n")
        one.stop()


@test
def a_watch_goes_on_over_restarts_without_a_gap_and_without_a_double():
    for server in servers():
        one = Running(server, "watch", "r", "--prefix", "--rev", "1")
        want = ""
        for round_ in range(4):
            for i in range(25):
                ctl(server, "put", f"r{round_}-{i}", "v")
                want += f"PUT\nr{round_}-{i}\nv\n"
            if round_ < 3:
                server.restart(signal.SIGKILL if round_ == 1 else signal.SIGTERM)
        one.until("r3-24\nv\n")
        equal(one.read(), want)
        equal(one.process.poll(), None)
        one.stop()


@test
def a_watch_resumes_behind_what_it_saw_also_when_it_began_now():
    for server in servers():
        one = Running(server, "watch", "n")
        time.sleep(0.5)
        server.stop()
        server.start()
        ctl(server, "put", "n", "after")
        one.until("after")
        equal(one.read(), "PUT\nn\nafter\n")
        one.stop()


@test
def a_watch_moves_to_another_endpoint():
    first = Server(binary=which("etcd")).start()
    nobody = "127.0.0.1:1"
    one = Running(first, "--endpoints", f"{nobody},{first.url[7:]}", "watch", "m")
    time.sleep(0.5)
    ctl(first, "put", "m", "found")
    one.until("found")
    one.stop()
    first.stop()


if __name__ == "__main__":
    run()
