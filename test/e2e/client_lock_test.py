"""etcdctl lock and elect: outputs, exit codes and environments as etcdctl's; who waits gets its turn
also over a restart of the server; ours and Debian's contend for the same names."""
import signal
import time

from client_common import Running, both, ctl, servers
from harness import contains, equal, run, test, which


def keys(server, prefix):
    return ctl(server, "get", "--prefix", prefix, "--keys-only")[1].split()


@test
def a_lock_is_printed_held_and_given_back():
    for server in servers():
        one = Running(server, "lock", "L1").until("\n\n")
        key = one.read().split("\n")[0]
        equal(key[:3], "L1/")
        equal(one.read(), f"{key}\n\n")
        equal(keys(server, "L1/"), [key])
        contains(ctl(server, "-w", "fields", "get", key)[1], f'"Lease" : {int(key[3:], 16)}\n')
        equal(one.stop(), 0)
        equal(one.errors(), "")
        equal(keys(server, "L1/"), [])
        one = Running(server, "-w", "json", "lock", "L1").until("}\n")
        contains(one.read(), '"kvs":[{"key":"TDEv')
        equal(one.stop(signal.SIGINT), 0)


@test
def wrong_arguments_are_refused_as_etcdctl_refuses_them():
    for server in servers():
        for args in (["lock"], ["elect"], ["elect", "E"], ["elect", "-l", "E", "p"], ["elect", "a", "b", "c"]):
            ours = ctl(server, *args, check=False)
            equal(ours, ctl(server, *args, check=False, binary=which("etcdctl")), f"{args}")
            equal(ours[0], 128)


@test
def a_program_runs_in_the_lock_and_its_exit_code_is_ours():
    for server in servers():
        script = "echo in lock; env | grep ^ETCD_LOCK | sort"
        for args in (["lock", "LY", "true"], ["lock", "LY", "--", "sh", "-c", script],
                     ["lock", "--ttl=5", "LY", "--", "sh", "-c", script]):
            status, out, err = ctl(server, *args)
            equal((status, err), (0, ""))
            if len(args) > 3:
                lines = out.split("\n")
                equal(lines[0], "in lock")
                contains(lines[1], "ETCD_LOCK_KEY=LY/")
                contains(lines[2], "ETCD_LOCK_REV=")
            equal(keys(server, "LY/"), [])
        # 3.4 ends with 1 whatever the program ended with; 3.5 and 3.6, and we, with its code.
        equal(ctl(server, "lock", "LY", "--", "sh", "-c", "exit 3", check=False), (3, "", "Error: exit status 3\n"))
        equal(ctl(server, "lock", "LY", "--", "sh", "-c", "kill -9 $$", check=False),
              (255, "", "Error: signal: killed\n"))
        equal(ctl(server, "lock", "LY", "no-such-program-here", check=False),
              (1, "", "Error: exec: \"no-such-program-here\": executable file not found in $PATH\n"))
        equal(keys(server, "LY/"), [])
        equal(ctl(server, "lock", "LX", "sh", "-c", "true", check=False)[2],
              "Error: unknown shorthand flag: 'c' in -c\n\n")
        equal(ctl(server, "lease", "list", check=False)[1], "found 0 leases\n", "leases left behind")


@test
def who_waits_gets_the_lock_in_turn_and_who_gives_up_leaves_nothing():
    for server in servers():
        holder = Running(server, "lock", "W").until("\n\n")
        waiting = []
        for binary in (None, which("etcdctl"), None):
            waiting.append(Running(server, "lock", "W", binary=binary))
            count = len(waiting) + 1
            end = time.monotonic() + 10
            while len(keys(server, "W/")) < count:
                assert time.monotonic() < end
                time.sleep(0.05)
        equal([one.read() for one in waiting], ["", "", ""])
        equal(waiting[0].stop(), 1)
        equal(waiting[0].errors(), "Error: context canceled\n")
        equal(len(keys(server, "W/")), 3)
        equal(holder.stop(), 0)
        waiting[1].until("\n\n")
        equal(waiting[2].read(), "")
        waiting[1].stop()
        waiting[2].until("\n\n")
        waiting[2].stop()
        equal(keys(server, "W/"), [])


@test
def a_lock_outlives_a_restart_of_the_server_and_waiters_stay_in_line():
    for server in servers():
        holder = Running(server, "lock", "--ttl", "15", "R").until("\n\n")
        waiter = Running(server, "lock", "--ttl", "15", "R")
        end = time.monotonic() + 10
        while len(keys(server, "R/")) < 2:
            assert time.monotonic() < end
            time.sleep(0.05)
        server.restart(signal.SIGKILL)
        time.sleep(1)
        equal((holder.process.poll(), waiter.process.poll()), (None, None))
        equal(waiter.read(), "")
        equal(holder.stop(), 0)
        waiter.until("\n\n")
        equal(waiter.stop(), 0)


@test
def a_lock_whose_lease_is_gone_is_given_up():
    for server in servers():
        one = Running(server, "lock", "X").until("\n\n")
        lease = one.read().split("/")[1].strip()
        ctl(server, "lease", "revoke", lease)
        equal(one.wait(), 1)
        equal(one.errors(), "Error: session expired\n")


@test
def elections_print_leaders_as_etcdctl_does():
    for server in servers():
        listeners = both(server, "elect", "-l", "E1") + both(server, "-w", "json", "elect", "-l", "E1")
        time.sleep(0.5)
        leader = Running(server, "elect", "E1", "first").until("first\n")
        key = leader.read().split("\n")[0]
        equal(leader.read(), f"{key}\nfirst\n")
        follower = Running(server, "elect", "E1", "second", binary=which("etcdctl"))
        end = time.monotonic() + 10
        while len(keys(server, "E1/")) < 2:
            assert time.monotonic() < end, "the follower does not stand in line"
        third = Running(server, "elect", "E1", "third")
        for one in listeners[:2]:
            one.until("first\n")
        time.sleep(0.5)
        equal((follower.read(), third.read()), ("", ""))
        equal(leader.stop(), 0)
        for one in listeners[:2]:
            one.until("second\n")
        equal(follower.until("second\n").stop(), 0)  # the listeners may hear of it before it does
        third.until("third\n")
        for one in listeners[:2]:
            one.until("third\n")
        for one in listeners[2:]:
            one.until("dGhpcmQ=")
        third.stop()
        equal(listeners[0].read(), listeners[1].read())
        # Two proposals that follow each other at once may be told with other revisions.
        equal(listeners[2].read().count("\n"), listeners[3].read().count("\n"))
        for one in listeners:
            equal(one.stop(), 0)


if __name__ == "__main__":
    run()
