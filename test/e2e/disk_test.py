"""Bad disks with real files: a directory that may not be written, files of somebody else, a file
system that is full at the start or becomes full under load, files that are missing, cut short or too
many. The server ends with a sentence that names the file, or raises NOSPACE; and starts again, with
everything that it acknowledged, once the cause is gone. Errors of single calls are badfs_test.py's."""
import atexit
import os
import shutil
import signal
import subprocess
import threading
import time

from datadir import check_db, first, hash_kv, must, note, serving
from harness import ETCD, Server, Skip, alarm_comes, contains, ctl, equal, run, scratch, test
from pbtiny import Client, delete_request, put_request, range_request

NOBODY = 65534
MIB = 1024 * 1024
_mounted = []


# ---- another user --------------------------------------------------------------------------------

def as_nobody(server):
    """Root may write anywhere, so the server must be somebody else to be refused."""
    if os.geteuid() != 0:
        raise Skip("not root: cannot become another user")
    path = server.dir
    while path != "/":  # the scratch directories are ours alone
        if os.stat(path).st_mode & 0o001 == 0:
            if not os.path.basename(path).startswith(("etcdc-e2e-", "server-")):
                raise Skip(f"{path} cannot be entered by other users")
            os.chmod(path, 0o755)
        path = os.path.dirname(path)
    binary = os.path.join(server.dir, "etcd")
    shutil.copy(ETCD, binary)
    os.chmod(binary, 0o755)
    server.process = None

    def start(wait=True):
        with open(server.log, "ab") as log:
            server.process = subprocess.Popen([binary] + server.command()[1:], stdout=log, stderr=log, cwd="/",
                                              user=NOBODY, group=NOBODY, extra_groups=[])
        if wait:
            server.wait_healthy()
        return server

    server.start = start
    return server


def own(path, user):
    os.chown(path, user, user)
    for folder, names, more in os.walk(path):
        for name in names + more:
            os.chown(os.path.join(folder, name), user, user)


def refused(server, *parts):
    """It ends by itself, by exit and not by a signal, and says where."""
    server.start(wait=False)
    status = server.process.wait(30)
    server.stop()
    if status <= 0:
        raise AssertionError(f"status {status}: {server.logged()[-2000:]}")
    said(server, *parts)


def said(server, *parts):
    """The last lines it wrote."""
    last = "\n".join(server.logged().strip().splitlines()[-2:])
    for part in parts:
        contains(last.lower(), part.lower(), "the last words")
    note(last.splitlines()[-1][-300:])


def some_data(server):
    os.makedirs(server.data_dir, 0o700, exist_ok=True)
    own(server.data_dir, NOBODY)
    server.start()
    for i in range(10):
        ctl(server, "put", f"k{i}", f"v{i}")
    server.stop()


def has_data(server):
    server.start()
    equal(ctl(server, "get", "--prefix", "k", "--print-value-only")[1].split(), [f"v{i}" for i in range(10)])
    ctl(server, "put", "after", "1")
    server.stop()


@test
def a_directory_that_may_not_be_made_is_refused():
    server = as_nobody(Server())
    refused(server, server.data_dir, "permission denied", "let etcd read and write it")
    equal(os.path.exists(server.data_dir), False)


@test
def a_directory_of_another_owner_is_refused_and_left_as_it_is():
    server = as_nobody(Server())
    some_data(server)
    own(server.data_dir, 0)
    refused(server, server.data_dir, "permission denied")
    own(server.data_dir, NOBODY)
    has_data(server)


@test
def files_that_may_not_be_written_are_refused_by_name():
    server = as_nobody(Server())
    some_data(server)
    wal = os.path.join(server.data_dir, "member/wal")
    targets = [os.path.join(server.data_dir, "member/snap/db"),
               os.path.join(wal, sorted(n for n in os.listdir(wal) if n.endswith(".wal"))[0]),
               wal, os.path.join(server.data_dir, "member/snap")]
    for target in targets:
        mode = os.stat(target).st_mode & 0o777
        os.chmod(target, 0)
        refused(server, target, "permission denied", "let etcd read and write it")
        os.chmod(target, mode)
        has_data(server)
    for target in targets[:2]:
        os.chmod(target, 0o400)
        refused(server, target, "permission denied")
        os.chmod(target, 0o600)
        has_data(server)


@test
def a_log_folder_that_cannot_be_listed_gets_no_second_log():
    server = as_nobody(Server())
    some_data(server)
    wal = os.path.join(server.data_dir, "member/wal")
    before = sorted((n, os.path.getsize(os.path.join(wal, n))) for n in os.listdir(wal))
    os.chmod(wal, 0o300)  # files in it can be made and opened, not found
    refused(server, wal, "permission denied")
    os.chmod(wal, 0o700)
    equal(sorted((n, os.path.getsize(os.path.join(wal, n))) for n in os.listdir(wal)), before)
    has_data(server)


@test
def a_database_without_its_log_is_refused():
    server = Server().start()
    for i in range(10):
        ctl(server, "put", f"k{i}", f"v{i}")
    server.stop()
    wal = os.path.join(server.data_dir, "member/wal")
    os.rename(wal, os.path.join(server.dir, "wal"))
    refused(server, wal, "is missing", os.path.join(server.data_dir, "member/snap/db"), "put the log back")
    equal(os.path.exists(wal), False)
    os.rename(os.path.join(server.dir, "wal"), wal)
    has_data(server)


@test
def a_database_that_is_ahead_of_its_log_is_refused():
    """A log put back from an older copy: what the database says is applied would never be done."""
    server = Server().start()
    for i in range(10):
        ctl(server, "put", f"k{i}", f"v{i}")
    server.stop()
    wal, newer = os.path.join(server.data_dir, "member/wal"), os.path.join(server.dir, "newer")
    shutil.copytree(wal, newer)
    server.start()
    for i in range(10):
        ctl(server, "put", "k9", "v9")
    server.stop()
    os.rename(wal, os.path.join(server.dir, "newest"))
    os.rename(newer, wal)
    refused(server, wal, "ends too early", os.path.join(server.data_dir, "member/snap/db"))
    shutil.rmtree(wal)
    os.rename(os.path.join(server.dir, "newest"), wal)
    has_data(server)


# ---- files missing, empty, cut short, too many ----------------------------------------------------

def with_history(**more):
    """A stopped member with snapshots, several of them."""
    server = Server(flags=["--snapshot-count", "5", "--snapshot-catchup-entries", "1"], **more).start()
    for i in range(10):
        ctl(server, "put", f"k{i}", f"v{i}")
    server.stop()
    server.flags = []
    return server


def listing(server):
    return {os.path.join(folder, name): os.path.getsize(os.path.join(folder, name))
            for folder, _, names in os.walk(server.data_dir) for name in names}


def is_healthy(server):
    try:
        return server.get("/health")[0] == 200
    except OSError:
        return False


def refuses_or_has_all(server, target, what):
    """Nothing between: with a sentence that names the file and what helps, or with everything."""
    server.start(wait=False)
    end = time.monotonic() + 30
    while server.process.poll() is None and time.monotonic() < end:
        if is_healthy(server):
            break
        time.sleep(0.02)
    status = server.process.poll()
    if status is None:
        equal(ctl(server, "get", "--prefix", "k", "--print-value-only")[1].split(), [f"v{i}" for i in range(10)], what)
        ctl(server, "put", "after", "1")
        server.stop()
        return "serves"
    server.stop()
    if status <= 0:
        raise AssertionError(f"{what}: status {status}: {server.logged()[-2000:]}")
    last = server.logged().strip().splitlines()[-1]
    contains(last, target, what)
    contains(last, "replace", what)
    return "refused"


@test
def files_that_are_missing_empty_or_cut_short_are_refused_by_name_or_made_good():
    server = with_history()
    kept = os.path.join(server.dir, "kept")
    os.rename(server.data_dir, kept)
    member = os.path.join(server.data_dir, "member")
    names = {folder: sorted(os.listdir(os.path.join(kept, "member", folder))) for folder in ("wal", "snap")}
    snaps = [name for name in names["snap"] if name.endswith(".snap")]
    logs = [name for name in names["wal"] if name.endswith(".wal")]
    equal(len(snaps) >= 2, True, names)
    outcomes = []
    for target in ["snap/db", "snap/" + snaps[-1], "snap/" + snaps[0], "wal/" + logs[0]]:
        path = os.path.join(member, target)
        for harm in ("missing", "empty", "half", "a byte less"):
            shutil.rmtree(server.data_dir, ignore_errors=True)
            shutil.copytree(kept, server.data_dir)
            size = os.path.getsize(path)
            if harm == "missing":
                os.unlink(path)
            elif harm == "empty":
                os.truncate(path, 0)
            elif harm == "half" and target.startswith("wal"):
                os.truncate(path, 300)  # a segment is zeros in its second half
            else:
                os.truncate(path, size // 2 if harm == "half" else size - 1)
            folder = os.path.dirname(path) if target.startswith("wal") else path
            outcomes.append((target.split("-")[0], harm, refuses_or_has_all(server, folder, f"{target} {harm}")))
    for outcome in outcomes:
        note(": ".join(outcome))
    by = {(target, harm): outcome for target, harm, outcome in outcomes}
    equal(by[("snap/db", "missing")], "refused")
    equal(by[("snap/db", "empty")], "refused")
    equal(by[("wal/" + logs[0].split("-")[0], "empty")], "refused")
    equal(by[("snap/" + snaps[0].split("-")[0], "missing")], "serves")


@test
def files_that_are_not_ours_are_left_alone():
    server = with_history()
    extra = {}
    for folder in ("", "member", "member/wal", "member/snap"):
        for name in ("lost+found", "README", "0000000000000000-zzzzzzzzzzzzzzzz.wal", "db.bak", ".hidden", "x.snap.old"):
            path = os.path.join(server.data_dir, folder, name)
            if name == "lost+found":
                os.mkdir(path)
            else:
                with open(path, "wb") as file:
                    file.write(name.encode() * 10)
                extra[path] = os.path.getsize(path)
    has_data(server)
    left = listing(server)
    equal({path: left.get(path) for path in extra}, extra)


# ---- file systems of our own ---------------------------------------------------------------------

def mounted(size, kind="ext4"):
    """An empty file system of that size in a file, mounted; or the reason why there is none."""
    if os.geteuid() != 0:
        raise Skip("not root: cannot mount")
    folder = scratch("disk")
    image, point = os.path.join(folder, "image"), os.path.join(folder, "point")
    os.mkdir(point)
    with open(image, "wb") as file:
        file.truncate(size)
    for command in ([f"mkfs.{kind}", "-q", image], ["mount", "-o", "loop", image, point]):
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False)
        except FileNotFoundError:
            raise Skip(f"{command[0]} is not installed") from None
        if done.returncode != 0:
            raise Skip(f"{' '.join(command[:-2])}: {done.stderr.strip()}")
    _mounted.append(point)
    return point


def unmount(point):
    for _ in range(50):
        if subprocess.run(["umount", point], capture_output=True, check=False).returncode == 0:
            _mounted.remove(point)
            return
        time.sleep(0.1)
    raise AssertionError(f"{point} is still in use")


def fill(point, leave):
    """A file that takes all but `leave` bytes; returns its path."""
    path = os.path.join(point, "filler")
    room = os.statvfs(point)
    take = room.f_bavail * room.f_frsize - leave
    if take > 0:
        with open(path, "ab") as file:
            os.posix_fallocate(file.fileno(), file.tell() or os.path.getsize(path), take)
    return path


@test
def a_read_only_file_system_is_refused_and_left_as_it_is():
    point = mounted(300 * MIB)
    server = Server(data_dir=os.path.join(point, "data"))
    server.start()
    ctl(server, "put", "k", "v")
    server.stop()
    subprocess.run(["mount", "-o", "remount,ro", point], check=True)
    refused(server, server.data_dir, "ead-only file system", "read-only mount")
    subprocess.run(["mount", "-o", "remount,rw", point], check=True)
    server.start()
    equal(ctl(server, "get", "k", "--print-value-only")[1], "v\n")
    server.stop()
    unmount(point)


@test
def no_space_for_a_new_member_is_refused_and_starts_once_there_is():
    point = mounted(120 * MIB)
    server = Server(data_dir=os.path.join(point, "data"))
    for leave in (0, 12 * 1024, 2 * MIB, 20 * MIB):  # not even folders; no database; no segment
        fill(point, leave)
        refused(server, server.data_dir, "no space left on device", "make room on its file system")
        os.unlink(os.path.join(point, "filler"))
    server.start()
    equal(ctl(server, "put", "k", "v")[1], "OK\n")
    server.stop()
    unmount(point)


class Load(threading.Thread):
    """Writes until it is refused; keeps what was acknowledged."""

    def __init__(self, server, number, size):
        threading.Thread.__init__(self)
        self.server, self.number, self.size = server, number, size
        self.acked, self.said = {}, ""

    def run(self):
        client = Client(self.server)
        serial = 0
        while serial < 5000:
            serial += 1
            key = b"w%d/%d" % (self.number, serial % 40)
            value = (b"%d." % serial) + os.urandom(self.size)
            code, details, _ = client.kv("Put", put_request(key, value))
            if code != "OK":
                self.said, self.last = f"{code} {details}", (key, value)
                break
            self.acked[key] = value
        client.close()


def holds(server, loads):
    client = Client(server)
    for load in loads:
        for key, value in load.acked.items():
            reply = must(client.kv("Range", range_request(key=key)))
            held = first(first(reply, 2, b""), 5, b"")
            if held != value and (key, held) != load.last:  # the one under way may have been done
                raise AssertionError(f"{key}: {held[:20]}, acknowledged was {value[:20]}")
    hashed = hash_kv(client)
    client.close()
    return hashed


def runs_full(leave, size, threads=3):
    """A member whose file system becomes full under load. Returns how it went."""
    point = mounted(260 * MIB)
    server = Server(data_dir=os.path.join(point, "data"), flags=["--snapshot-count", "100"])
    server.start()
    ctl(server, "put", "first", "1")
    filler = fill(point, leave)
    loads = [Load(server, i, size) for i in range(threads)]
    for load in loads:
        load.start()
    for load in loads:
        load.join()
    acked = sum(len(load.acked) for load in loads)
    # It goes on, says why, and does what frees space.
    equal(server.process.poll(), None, server.logged()[-2000:])
    for load in loads:
        contains(load.said, "RESOURCE_EXHAUSTED etcdserver: mvcc: database space exceeded")
    alarm_comes(server)
    client = Client(server)
    must(client.kv("DeleteRange", delete_request(b"none")))
    client.close()
    server.kill()
    serving(server.start(wait=False))  # as full as before
    holds(server, loads)
    server.kill()
    os.unlink(filler)
    server.start(wait=False)
    serving(server)
    before = holds(server, loads)
    server.kill()
    serving(server.start(wait=False))
    equal(holds(server, loads), before, "HashKV after one more kill")
    equal(ctl(server, "get", "first", "--print-value-only")[1], "1\n")
    ctl(server, "alarm", "disarm")
    equal(ctl(server, "put", "last", "1")[1], "OK\n")
    server.stop(signal.SIGTERM)
    check_db(os.path.join(server.data_dir, "member/snap/db"))
    unmount(point)
    note(f"{leave // 1024} KiB left, values of {size}: {acked} keys acknowledged, then {loads[0].said[:100]}")


@test
def a_file_system_that_becomes_full_under_load_loses_nothing_small_writes():
    runs_full(64 * 1024, 3000)


@test
def a_file_system_that_becomes_full_under_load_loses_nothing_large_writes():
    runs_full(5 * MIB, 300000)


@test
def a_file_system_that_becomes_full_when_a_segment_is_cut_loses_nothing():
    runs_full(70 * MIB, 900000)


def clean():
    for point in list(_mounted):
        subprocess.run(["umount", "-l", point], capture_output=True, check=False)


atexit.register(clean)
run()
