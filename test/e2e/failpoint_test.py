"""Death at every failpoint under load: what was acknowledged is there after the restart.

Needs a build with failpoints (`make failpoints`, build/failpoints); says so where there is none.
"""
import subprocess
import threading
import time
from pathlib import Path

from acked import Load, hash_kv
from datadir import long_form
from failpoints import AT_FOUNDING, ETCD, IN_DEFRAG, POINTS, Failpoints, need_build
from harness import ETCDCTL, Server, contains, equal, run, test
from pbtiny import Client, put_request, range_request

FLAGS = ["--snapshot-count", "60", "--snapshot-catchup-entries", "20", "--compaction-batch-limit", "40",
         "--backend-batch-interval", "10ms", "--log-level", "warn"]
ROUNDS = 5 if long_form() else 1
DEATH_SECONDS = 20


def server_with(points, terms=""):
    need_build()
    return Server(binary=ETCD, flags=FLAGS,
                  env={"GOFAIL_HTTP": f"127.0.0.1:{points.port}", "GOFAIL_FAILPOINTS": terms})


def wait_for_death(server, point):
    try:
        status = server.process.wait(DEATH_SECONDS)
    except Exception as late:
        raise AssertionError(f"{point}: nobody passed it within {DEATH_SECONDS} s") from late
    equal(status, 2, f"{point}: {server.logged()[-1000:]}")
    contains(server.logged(), f"failpoint panic: {point}")
    server.stop()


def same_after_a_clean_restart(server):
    client = Client(server)
    before = hash_kv(client)
    client.close()
    server.restart()
    client = Client(server)
    equal(hash_kv(client)[0], before[0], "HashKV after a clean restart")
    client.close()


@test
def the_protocol_is_gofails():
    points = Failpoints()
    server = server_with(points, "raftAfterSave=1*sleep(1);beforeCommit=0%panic").start()
    status, listed = points.call("GET", "/")
    equal(status, 200)
    equal([line.split("=")[0] for line in listed.splitlines()], POINTS)
    contains(listed, "\nraftAfterSave=1*sleep(1)\n")
    equal(points.call("GET", "/beforeCommit"), (200, "0%panic\n"))
    equal(points.call("PUT", "/raftBeforeSave", "sleep(\"1ms\")")[0], 204)
    equal(points.call("GET", "/raftBeforeSave"), (200, "sleep(\"1ms\")\n"))
    equal(points.call("PUT", "/failpoints", "afterCommit=sleep(1);beforeCommit=sleep(1)")[0], 204)
    equal(points.call("GET", "/beforeCommit"), (200, "sleep(1)\n"))
    equal(points.call("DELETE", "/beforeCommit")[0], 204)
    equal(points.call("GET", "/beforeCommit"), (200, "\n"))
    equal(points.call("DELETE", "/beforeCommit")[0], 400)
    for method, path, body, want in [("PUT", "/nothing", "panic", 400), ("PUT", "/afterCommit", "panik", 400),
                                     ("PUT", "/failpoints", "afterCommit", 400), ("GET", "/nothing", None, 404),
                                     ("GET", "/nothing/count", None, 404), ("DELETE", "/nothing", None, 400),
                                     ("POST", "/afterCommit", "panic", 405), ("PUT", "/afterCommit", "x" * 5000, 413)]:
        equal(points.call(method, path, body)[0], want, f"{method} {path} {body}"[:80])
    equal(points.call("GET", "/raftAfterSave/count"), (200, "1"))
    server.stop()


@test
def a_sleeping_disk_only_makes_it_slow():
    points = Failpoints()
    server = server_with(points).start()
    load = Load(server).start()
    equal(points.call("PUT", "/raftBeforeSave", "20%sleep(\"30ms\")")[0], 204)
    equal(points.call("PUT", "/beforeCommit", "50%sleep(\"50ms\")")[0], 204)
    time.sleep(1)
    load.stop()
    assert all(w.pending is None and w.acked > 0 for w in load.writers), "a writer was refused"
    client = Client(server)
    load.check(client)
    client.close()
    server.stop()


@test
def a_hanging_disk_holds_up_who_waits_for_it_and_nobody_else():
    points = Failpoints()
    server = server_with(points).start()
    lone, other = Client(server), Client(server)
    for i in range(200):  # alone for so long that its syncs run on the loop's own thread
        equal(lone.kv("Put", put_request(b"k", b"v%d" % i))[0], "OK")
    threads = [path.read_text().strip() for path in Path(f"/proc/{server.process.pid}/task").glob("*/comm")]
    assert "stand-in" in threads, threads
    equal(points.call("PUT", "/raftBeforeSave", "1*sleep(\"3s\")")[0], 204)
    late = []
    put = threading.Thread(target=lambda: late.append(lone.kv("Put", put_request(b"k", b"late"))[0]))
    put.start()
    while points.call("GET", "/raftBeforeSave/count")[1] == "0":
        time.sleep(0.01)
    for _ in range(50):
        code, _, reply = other.kv("Range", range_request(b"k", serializable=True))
        equal(code, "OK")
        contains(reply, b"v199")
        equal(server.get("/version")[0], 200)
    assert put.is_alive(), "the disk did not hang"
    equal(other.kv("Put", put_request(b"other", b"1"))[0], "OK")  # behind the first one
    put.join()
    equal(late, ["OK"])
    contains(other.kv("Range", range_request(b"k"))[2], b"late")
    lone.close()
    other.close()
    server.stop()


def die_under_load(point):
    def die():
        acked = 0
        for turn in range(ROUNDS):
            points = Failpoints()
            server = server_with(points).start()
            load = Load(server)
            for death in range(2):  # the second one on a directory that has died before
                load.start()
                time.sleep(0.15 + 0.1 * turn)
                points.arm(point, "panic" if death == 0 or point in IN_DEFRAG else "2*off->panic")
                if point in IN_DEFRAG:
                    subprocess.run([ETCDCTL, "--endpoints", server.url, "defrag"], capture_output=True, check=False)
                wait_for_death(server, point)
                load.stop()
                server.start()
                client = Client(server)
                load.check(client)
                client.close()
            same_after_a_clean_restart(server)
            server.stop()
            acked += load.acked()
        print(f"# {point}: {2 * ROUNDS} deaths, {acked} acknowledged writes, none lost", flush=True)
    die.__name__ = f"every_acknowledged_write_survives_a_death_at_{point}"
    return die


def die_at_founding(point):
    def die():
        points = Failpoints()
        server = server_with(points, f"{point}=panic").start(wait=False)
        wait_for_death(server, point)
        server.env["GOFAIL_FAILPOINTS"] = ""
        server.start()
        load = Load(server).start()
        time.sleep(0.3)
        load.stop()
        server.restart()
        client = Client(server)
        load.check(client)
        client.close()
        server.stop()
    die.__name__ = f"a_member_that_died_at_its_founding_in_{point}_starts"
    return die


for name in POINTS:
    if name not in AT_FOUNDING:
        test(die_under_load(name))
for name in AT_FOUNDING + ["raftBeforeSave", "raftAfterSave", "beforeStartDBTxn", "beforeCommit", "beforeSyncDataPages",
                           "beforeSyncMetaPage", "commitBeforePreCommitHook", "afterCommit"]:
    test(die_at_founding(name))

if __name__ == "__main__":
    run()
