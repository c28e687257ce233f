"""Power cuts on real filesystems: what was acknowledged is there after the power comes back.

An image file is mounted through a loop device, the server's data lives there, and under write load
the filesystem is shut down without flushing even its journal (FS_IOC_GOINGDOWN): whatever was not
synced is gone when it is mounted again. 8 cuts on ext4 and 8 on XFS; 200 each with ETCDC_LONG=1.
Needs root and loop devices; says so where they are missing.
"""
import atexit
import fcntl
import os
import random
import shutil
import struct
import subprocess
import tempfile
import time

from acked import Load, hash_kv
from datadir import long_form, note
from harness import Server, Skip, equal, run, scratch, test, which
from pbtiny import Client

FS_IOC_GOINGDOWN = 0x8004587D
NO_LOG_FLUSH = 2
CUTS = 200 if long_form() else 8
SEED = int(os.environ.get("ETCDC_SEED", "1"))
MEBIBYTE = 1 << 20
FLAGS = ["--snapshot-count", "200", "--snapshot-catchup-entries", "50", "--compaction-batch-limit", "40",
         "--backend-batch-interval", "20ms", "--log-level", "warn"]
IMAGE_BYTES = 512 * MEBIBYTE  # sparse; a log segment is 64 MB, and the next one is made in advance
MAKE = {"ext4": ["mkfs.ext4", "-q", "-F"], "xfs": ["mkfs.xfs", "-q", "-f"]}

_mounted = []


def quiet(*command):
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def is_mounted(point):
    """Asks the kernel's list: a filesystem that was shut down answers no stat()."""
    with open("/proc/self/mounts", encoding="utf-8", errors="replace") as mounts:
        return any(line.split()[1] == point for line in mounts)


class Disk:
    """An image with a filesystem, mounted or not."""

    def __init__(self, kind):
        if os.geteuid() != 0:
            raise Skip("mounting needs root")
        os.environ["PATH"] += ":/usr/sbin:/sbin"
        which(MAKE[kind][0])
        which("mount")
        which("losetup")
        self.kind = kind
        self.dir = scratch("power-" + kind)
        self.image = os.path.join(self.dir, "image")
        self.point = os.path.join(self.dir, "mount")
        self.loop = None
        os.mkdir(self.point)
        with open(self.image, "wb") as image:
            image.truncate(IMAGE_BYTES)
        made = quiet(*MAKE[kind], self.image)
        if made.returncode != 0:
            raise Skip(f"{MAKE[kind][0]}: {made.stderr.strip()}")
        attached = quiet("losetup", "--find", "--show", self.image)
        if attached.returncode != 0:
            raise Skip(f"loop devices are not to be had: {attached.stderr.strip()}")
        self.loop = attached.stdout.strip()
        _mounted.append(self)
        mounted = quiet("mount", "-t", kind, self.loop, self.point)
        if mounted.returncode != 0:
            self.close()
            raise Skip(f"{kind} cannot be mounted here: {mounted.stderr.strip()}")

    def cut(self, load=None):
        """The power is gone: nothing that was not synced will be on the disk. Tells the load when."""
        here = os.open(self.point, os.O_RDONLY)
        try:
            if load is not None:
                load.cut_began = time.monotonic()
            fcntl.ioctl(here, FS_IOC_GOINGDOWN, struct.pack("I", NO_LOG_FLUSH))
            if load is not None:
                load.cut_ended = time.monotonic()
        finally:
            os.close(here)

    def keep(self):
        """A copy of what the disk holds, outside of what is removed at the end; for whoever looks into it."""
        kept = tempfile.mkdtemp(prefix="etcdc-power-lost-", dir=os.environ.get("TMPDIR", "/var/tmp"))
        shutil.copytree(self.point, os.path.join(kept, "disk"), ignore_dangling_symlinks=True)
        return kept

    def back(self):
        """The power is back: unmounts what is left and mounts what the disk holds."""
        self.unmount()
        mounted = quiet("mount", "-t", self.kind, self.loop, self.point)
        equal(mounted.returncode, 0, mounted.stderr)

    def unmount(self):
        for _ in range(100):
            if not is_mounted(self.point) or quiet("umount", self.point).returncode == 0:
                return
            time.sleep(0.05)
        raise AssertionError(f"{self.point} stays busy")

    def close(self):
        if is_mounted(self.point) and quiet("umount", self.point).returncode != 0:
            quiet("umount", "-l", self.point)
        if self.loop is not None:
            quiet("losetup", "-d", self.loop)
            self.loop = None
        if self in _mounted:
            _mounted.remove(self)


def close_all():
    for disk in list(_mounted):
        disk.close()


atexit.register(close_all)  # runs before the harness removes the scratch directory


def start_again(server):
    """A client of the server, on the directory as the disk has it."""
    server.start()
    return Client(server)


def unsynced_data_is_lost(disk):
    """The cut really takes what was not synced, else the test would prove nothing."""
    path = os.path.join(disk.point, "unsynced")
    with open(path, "wb") as file:
        file.write(b"x" * 4096)
        file.flush()
        os.fsync(file.fileno())
        file.write(b"y" * 4096)
        file.flush()
        disk.cut()
    disk.back()
    with open(path, "rb") as file:
        equal(file.read(), b"x" * 4096, "what the disk holds after a cut")
    os.unlink(path)


def never_sent_to_a_dead_disk(load):
    """A request that was sent when the shutdown was over cannot have been answered."""
    for writer in load.writers:
        for late in writer.late:
            if late.sent > load.cut_ended:
                raise AssertionError(f"acknowledged {1e3 * (late.answered - load.cut_ended):.1f} ms after the disk was "
                                     f"gone, sent {1e3 * (late.sent - load.cut_ended):.1f} ms after: {late.change}")


def tell_lost(load, kind, number):
    for late in load.late_lost:
        note(f"{kind}, cut {number}: not there, though acknowledged {1e3 * (late.answered - load.cut_began):.2f} ms after "
             f"the shutdown began, {1e3 * (late.answered - load.cut_ended):+.2f} ms from its end; "
             f"sent {1e3 * (late.sent - load.cut_began):+.2f} ms from its begin")
    return len(load.late_lost)


def cuts(kind):
    draw = random.Random(SEED)
    disk = Disk(kind)
    server = None
    late_lost = 0
    try:
        unsynced_data_is_lost(disk)
        server = Server(data_dir=os.path.join(disk.point, "data"), flags=FLAGS)
        server.start()
        load = Load(server)
        for number in range(CUTS):
            load.start()
            time.sleep(draw.uniform(0.05, 0.6))
            disk.cut(load)
            # It may find out by itself and stop with a sentence, or be gone with the power.
            time.sleep(draw.choice([0, 0, 0.05]))
            server.kill()
            load.stop()
            never_sent_to_a_dead_disk(load)
            disk.back()
            client = start_again(server)
            try:
                load.check(client)
            except AssertionError as why:
                raise AssertionError(f"cut {number + 1} of {kind}, seed {SEED}, kept in {disk.keep()}: {why}") from why
            finally:
                client.close()
            late_lost += tell_lost(load, kind, number + 1)
        client = Client(server)
        before = hash_kv(client)
        client.close()
        equal(server.stop(), -15)
        client = start_again(server)
        equal(hash_kv(client)[0], before[0], "HashKV after a clean restart")
        client.close()
        server.stop()
        note(f"{kind}: {CUTS} cuts, {load.acked()} writes acknowledged before them, 0 of these lost; "
             f"{load.late} acknowledged while the filesystem was being shut down, {late_lost} of these lost")
    finally:
        if server is not None and server.process is not None and server.process.poll() is None:
            server.kill()
        disk.close()


@test
def every_acknowledged_write_survives_power_cuts_on_ext4():
    cuts("ext4")


@test
def every_acknowledged_write_survives_power_cuts_on_xfs():
    cuts("xfs")


@test
def the_cuts_find_a_server_that_does_not_sync():
    """Were this server unharmed, the cuts above would show nothing."""
    disk = Disk("ext4")
    server = None
    try:
        for _ in range(5):
            server = Server(data_dir=os.path.join(disk.point, "data"), flags=FLAGS + ["--unsafe-no-fsync"])
            server.start()
            load = Load(server).start()
            time.sleep(0.4)
            disk.cut()
            server.kill()
            load.stop()
            disk.back()
            try:
                client = start_again(server)
                load.check(client)
                client.close()
            except AssertionError:
                return
            server.kill()
            shutil.rmtree(server.data_dir)
        raise AssertionError("five power cuts did a server without syncs no harm")
    finally:
        if server is not None and server.process.poll() is None:
            server.kill()
        disk.close()


@test
def a_member_founded_just_before_a_cut_starts_again():
    """Cuts while the directory, the first segment and the database are being made."""
    draw = random.Random(SEED)
    tried = 0
    server = None
    for kind in MAKE:
        try:
            disk = Disk(kind)
        except Skip as why:
            print(f"# {kind}: {why}", flush=True)
            continue
        try:
            for _ in range(25 if CUTS > 8 else 5):
                server = Server(data_dir=os.path.join(disk.point, "data"), flags=FLAGS)
                server.start(wait=False)
                time.sleep(draw.uniform(0.0, 0.12))
                disk.cut()
                server.kill()
                disk.back()
                client = start_again(server)
                load = Load(server, writers=2).start()
                time.sleep(0.1)
                load.stop()
                load.check(client)
                client.close()
                server.kill()
                shutil.rmtree(server.data_dir)
                tried += 1
        finally:
            if server is not None and server.process.poll() is None:
                server.kill()
            disk.close()
    if tried == 0:
        raise Skip("no filesystem could be mounted")


if __name__ == "__main__":
    run()
