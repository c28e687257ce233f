"""Input and output errors under a running server, one call at a time (test/badfs.c, preloaded): a failed
sync or write ends it with a sentence that names the file and no acknowledgement, a refused allocation does
not, transfers cut short and interrupted calls are nothing at all; after every end it starts again with
everything that it acknowledged."""
import os
import shutil
import signal
import subprocess
import time

from acked import Load, hash_kv
from datadir import check_db, db_path, note
from harness import ROOT, Server, Skip, contains, equal, run, scratch, test
from pbtiny import Client

EIO, ENOSPC = 5, 28
FLAGS = ["--snapshot-count", "60", "--snapshot-catchup-entries", "20", "--backend-batch-interval", "20ms",
         "--log-level", "warn"]
_shim = []


def shim():
    if not _shim:
        compiler = shutil.which("cc") or shutil.which("gcc")
        if compiler is None:
            raise Skip("no C compiler")
        out = os.path.join(scratch("badfs"), "badfs.so")
        done = subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", out, os.path.join(ROOT, "test/badfs.c"), "-ldl"],
                              capture_output=True, text=True, check=False)
        equal(done.returncode, 0, done.stderr)
        _shim.append(out)
    return _shim[0]


def founded():
    """A member with some history, stopped."""
    server = Server(flags=FLAGS).start()
    load = Load(server, writers=2).start()
    time.sleep(0.2)
    load.stop()
    equal(server.stop(), -signal.SIGTERM)
    return server, load


def whole_again(server, load, what):
    server.env = None
    server.start()
    client = Client(server)
    try:
        load.check(client)
    except AssertionError as why:
        raise AssertionError(f"{what}: {why}") from why
    before = hash_kv(client)
    client.close()
    server.restart()
    client = Client(server)
    equal(hash_kv(client)[0], before[0], what)
    client.close()
    equal(server.stop(), -signal.SIGTERM)
    check_db(db_path(server), go=False)


def ends(call, part, nth, error, words):
    """Under load; the sentence names the file."""
    what = f"{call} of {part}, number {nth}, error {error}"
    server, load = founded()
    server.env = {"LD_PRELOAD": shim(), "BADFS": f"{call}:{part}:{nth}:{error}"}
    server.start(wait=False)
    try:
        server.wait_healthy()
        load.start()
    except AssertionError:
        pass  # so soon; its status and last words are looked at below
    try:
        status = server.process.wait(20)
    except subprocess.TimeoutExpired as late:
        raise AssertionError(f"{what}: it goes on: {server.logged()[-1000:]}") from late
    if load.compactor.ident is not None:
        load.stop()
    contains(server.logged(), "badfs: " + call, what)
    equal(status, 1, f"{what}: {server.logged()[-1500:]}")
    last = server.logged().strip().splitlines()[-1]
    for word in words:
        contains(last, word, what)
    server.stop()
    whole_again(server, load, what)
    note(f"{what}: {last[-170:]}")


@test
def a_failed_sync_ends_it_and_is_never_tried_again():
    ends("fdatasync", ".wal", 30, EIO, ["fdatasync", ".wal", "repair the disk"])
    ends("fdatasync", "snap/db", 3, EIO, ["fdatasync", "snap/db", "once the disk is well"])
    ends("fdatasync", "snap/db", 4, EIO, ["fdatasync", "snap/db", "once the disk is well"])
    ends("fsync", ".snap", 1, EIO, ["fsync", ".snap", "repair the disk"])


@test
def a_sync_that_finds_no_space_is_a_failed_sync():
    ends("fdatasync", ".wal", 20, ENOSPC, ["fdatasync", ".wal", "No space left on device"])
    ends("fdatasync", "snap/db", 3, ENOSPC, ["fdatasync", "snap/db", "No space left on device"])


@test
def a_failed_write_ends_it():
    ends("pwrite", ".wal", 30, EIO, ["write", ".wal", "repair the disk"])
    ends("pwrite", ".wal", 1, EIO, ["write", ".wal", "repair the disk"])
    ends("pwrite", "snap/db", 3, EIO, ["write", "snap/db", "once the disk is well"])
    ends("pwrite", ".wal", 30, ENOSPC, ["write", ".wal", "No space left on device"])
    ends("rename", ".snap", 1, EIO, ["rename", ".snap"])


@test
def what_fails_while_it_starts_is_refused_by_name():
    for call, part, nth, error in [("open", "snap/db", 1, EIO), ("open", ".wal", 1, EIO), ("fsync", ".wal", 1, EIO),
                                   ("fsync", "snap/db", 1, EIO), ("fsync", "member/wal", 1, EIO)]:
        what = f"{call} of {part}, error {error}"
        server, load = founded()
        server.env = {"LD_PRELOAD": shim(), "BADFS": f"{call}:{part}:{nth}:{error}"}
        server.start(wait=False)
        equal(server.process.wait(20), 1, f"{what}: {server.logged()[-1500:]}")
        contains(server.logged(), "badfs: " + call, what)
        contains(server.logged().strip().splitlines()[-1], "Input/output error", what)
        contains(server.logged().strip().splitlines()[-1], os.path.join(server.data_dir, "member"), what)
        server.stop()
        whole_again(server, load, what)


@test
def an_allocation_that_is_refused_once_is_asked_for_again():
    """The next segment of the log and the growth of the database: nothing was written, nothing is lost."""
    server, load = founded()
    server.env = {"LD_PRELOAD": shim(), "BADFS": f"fallocate:snap/db:1:{ENOSPC}"}
    server.start()
    load.start()
    time.sleep(1.5)
    load.is_over = True
    load.stop()
    equal(server.process.poll(), None, server.logged()[-1000:])
    equal(server.stop(), -signal.SIGTERM)
    whole_again(server, load, "a refused allocation")


@test
def interrupted_calls_and_short_transfers_are_nothing():
    server, load = founded()
    server.env = {"LD_PRELOAD": shim(), "BADFS": "short"}
    server.start()
    load.start()
    time.sleep(1)
    load.stop()
    assert all(w.pending is None and w.acked > 0 for w in load.writers), "a writer was refused"
    server.kill()
    server.start()
    client = Client(server)
    load.check(client)
    client.close()
    equal(server.stop(), -signal.SIGTERM)
    whole_again(server, load, "short transfers")


run()
