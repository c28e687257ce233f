"""A disk that becomes full under a running server, seen with the stock etcdctl: puts are refused with
etcd's own error and NOSPACE is raised; reads, deletes and compaction go on; kill -9 in the middle does no
harm; and once there is room and the alarm is disarmed puts go on, without a restart
(docs/notes/out-of-space.md). On ext4 and XFS through loop devices, and on a tmpfs of limited size, which
knows no durability but the same lack of space."""
import atexit
import os
import subprocess
import time

from datadir import check_db, first, hash_kv, must, note, serving
from harness import ETCDCTL, Server, Skip, contains, ctl, equal, run, scratch, test, which
from pbtiny import Client, put_request, range_request

MIB = 1 << 20
EXCEEDED = "etcdserver: mvcc: database space exceeded"
_mounted = []


def etcdctl():
    """Debian's where there is one."""
    try:
        return which("etcdctl")
    except Skip:
        return ETCDCTL


def mounted(kind, size):
    if os.geteuid() != 0:
        raise Skip("not root: cannot mount")
    folder = scratch("space-" + kind)
    point = os.path.join(folder, "point")
    os.mkdir(point)
    os.environ["PATH"] += ":/usr/sbin:/sbin"
    commands = [["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", point]]
    if kind != "tmpfs":
        image = os.path.join(folder, "image")
        with open(image, "wb") as file:
            file.truncate(size)
        commands = [[which(f"mkfs.{kind}"), "-q", image], ["mount", "-o", "loop", image, point]]
    for command in commands:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise Skip(f"{' '.join(command[:-1])}: {done.stderr.strip()}")
    _mounted.append(point)
    return point


def unmount(point):
    for _ in range(50):
        if subprocess.run(["umount", point], capture_output=True, check=False).returncode == 0:
            _mounted.remove(point)
            return
        time.sleep(0.1)
    raise AssertionError(f"{point} is still in use")


def clean():
    for point in list(_mounted):
        subprocess.run(["umount", "-l", point], capture_output=True, check=False)


atexit.register(clean)  # runs before the harness removes the scratch directory


def fill(point, leave):
    """Somebody else takes all but `leave` bytes."""
    path = os.path.join(point, "filler")
    with open(path, "ab") as file:
        for step in (8 * MIB, MIB, 64 * 1024, 4096):
            while True:
                room = os.statvfs(point)
                if room.f_bavail * room.f_frsize < leave + step:
                    break
                at = os.path.getsize(path)
                try:
                    os.posix_fallocate(file.fileno(), at, step)
                except OSError:
                    break
    return path


def refused(client):
    code, details, _ = client.kv("Put", put_request(b"small", b"1"))
    equal((code, details), ("RESOURCE_EXHAUSTED", EXCEEDED), "a small put")


def writes_until_refused(server, size):
    client = Client(server)
    acked = {}
    for number in range(2000):
        key, value = b"k%d" % (number % 60), (b"%d." % number) + os.urandom(size)
        code, details, _ = client.kv("Put", put_request(key, value))
        if code != "OK":
            equal((code, details), ("RESOURCE_EXHAUSTED", EXCEEDED), f"put {number}")
            client.close()
            return acked
        acked[key] = value
    raise AssertionError("the disk never became full")


def holds(server, acked):
    client = Client(server)
    for key, value in acked.items():
        reply = must(client.kv("Range", range_request(key=key)))
        if first(first(reply, 2, b""), 5, b"") != value:
            raise AssertionError(f"{key} is not what was acknowledged")
    hashed = hash_kv(client)
    client.close()
    return hashed


def waits_for(what, condition):
    for _ in range(200):
        if condition():
            return
        time.sleep(0.05)
    raise AssertionError(f"{what}: not within 10 s")


def full_and_back(kind, leave, size):
    point = mounted(kind, 320 * MIB)
    server = Server(data_dir=os.path.join(point, "data"), flags=["--snapshot-count", "200"]).start()
    tool = etcdctl()
    equal(ctl(server, "put", "first", "1", binary=tool)[1], "OK\n")
    filler = fill(point, leave)
    acked = writes_until_refused(server, size)
    # Refused with etcd's words; the alarm is there.
    status, _, err = ctl(server, "put", "small", "1", binary=tool, check=False)
    equal(status, 1)
    contains(err, f"Error: {EXCEEDED}")
    waits_for("the alarm", lambda: "alarm:NOSPACE" in ctl(server, "alarm", "list", binary=tool)[1])
    contains(server.get("/health")[2], "NOSPACE")
    # Goes on: reads, deletes, compaction.
    equal(ctl(server, "get", "first", "--print-value-only", binary=tool)[1], "1\n")
    holds(server, acked)
    gone = sorted(acked)[0]
    equal(ctl(server, "del", gone.decode(), binary=tool)[1], "1\n")
    del acked[gone]
    client = Client(server)
    rev = first(first(must(client.kv("Range", range_request(key=b"first"))), 1, b""), 3)
    equal(ctl(server, "compact", str(rev - 1), binary=tool)[1], f"compacted revision {rev - 1}\n")
    # Disarmed while the disk is full, it comes back with the next put.
    contains(ctl(server, "alarm", "disarm", binary=tool)[1], "alarm:NOSPACE")
    refused(client)
    waits_for("the alarm again", lambda: "alarm:NOSPACE" in ctl(server, "alarm", "list", binary=tool)[1])
    client.close()
    # Killed in the middle, and started on the disk as full as it is.
    before = holds(server, acked)
    for _ in range(2):
        server.kill()
        serving(server.start(wait=False))
        equal(holds(server, acked), before, "HashKV after a kill on a full disk")
        contains(ctl(server, "alarm", "list", binary=tool)[1], "alarm:NOSPACE")
    equal(ctl(server, "del", "none", binary=tool)[1], "0\n")
    # There is room again; the server finds it by itself.
    pid = server.process.pid
    os.unlink(filler)
    client = Client(server)
    refused(client)
    time.sleep(2.5)
    contains(ctl(server, "alarm", "disarm", binary=tool)[1], "alarm:NOSPACE")
    equal(ctl(server, "alarm", "list", binary=tool)[1], "")
    equal(ctl(server, "put", "small", "1", binary=tool)[1], "OK\n")
    for number in range(20):
        must(client.kv("Put", put_request(b"more%d" % number, os.urandom(500000))))
    client.close()
    equal((server.process.poll(), server.process.pid), (None, pid), "no restart")
    holds(server, acked)
    equal(server.stop(), -15)
    check_db(os.path.join(server.data_dir, "member/snap/db"))
    unmount(point)
    note(f"{kind}, {leave // 1024} KiB left, values of {size}: {len(acked) + 1} keys, then refused; and back")


@test
def a_full_ext4_is_waited_out():
    full_and_back("ext4", 0, 100000)


@test
def a_nearly_full_ext4_is_waited_out():
    full_and_back("ext4", 40 * MIB, 700000)


@test
def a_full_xfs_is_waited_out():
    full_and_back("xfs", 0, 100000)


@test
def a_full_tmpfs_is_waited_out():
    full_and_back("tmpfs", 0, 100000)


@test
def a_stop_on_a_full_disk_loses_nothing():
    point = mounted("ext4", 320 * MIB)
    server = Server(data_dir=os.path.join(point, "data")).start()
    filler = fill(point, 0)
    acked = writes_until_refused(server, 200000)
    before = holds(server, acked)
    equal(server.stop(), -15)
    serving(server.start(wait=False))
    equal(holds(server, acked), before, "HashKV after a stop on a full disk")
    os.unlink(filler)
    equal(server.stop(), -15)
    check_db(os.path.join(server.data_dir, "member/snap/db"))
    unmount(point)


@test
def a_database_of_go_etcd_has_a_reserve_too():
    """etcd 3.6 makes its file longer than needed and leaves it empty there: promised is not allocated."""
    point = mounted("tmpfs", 320 * MIB)
    data_dir = os.path.join(point, "data")
    go = Server(binary=which("etcd"), data_dir=data_dir).start()
    equal(ctl(go, "put", "first", "1", binary=etcdctl())[1], "OK\n")
    equal(go.stop(), -15)
    path = os.path.join(data_dir, "member/snap/db")
    os.truncate(path, os.path.getsize(path) + 16 * MIB)  # as 3.6 does; 3.4 lets it grow with each write
    server = Server(data_dir=data_dir).start()
    fill(point, 0)
    acked = writes_until_refused(server, 60000)
    waits_for("the alarm", lambda: "alarm:NOSPACE" in ctl(server, "alarm", "list", binary=etcdctl())[1])
    equal(ctl(server, "get", "first", "--print-value-only", binary=etcdctl())[1], "1\n")
    equal(ctl(server, "del", sorted(acked)[0].decode(), binary=etcdctl())[1], "1\n")
    before = holds(server, dict(sorted(acked.items())[1:]))
    server.kill()
    serving(server.start(wait=False))
    equal(holds(server, dict(sorted(acked.items())[1:])), before, "HashKV after a kill on a full disk")
    equal(server.stop(), -15)
    check_db(path)
    unmount(point)


run()
