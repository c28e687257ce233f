"""One data directory, served in turn by us and by a stock etcd: log, .snap files and database
change hands unchanged, and each sees what the other wrote."""
import glob
import hashlib
import json
import os
import subprocess

from harness import ETCD, Server, Skip, contains, ctl, equal, run, scratch, test, which

SNAPSHOT_COUNT = 10
WRITES = 2 * SNAPSHOT_COUNT


def hash_kv(server):
    return json.loads(ctl(server, "endpoint", "hashkv", "-w=json")[1])[0]["HashKV"]["hash"]


def everything(server):
    return ctl(server, "get", "", "--prefix")[1]


class Estate:
    """The directory, and what must be in it."""

    def __init__(self, token="etcd-cluster"):
        self.stock = which("etcd")
        # The addresses are the member's identity at a first start: the same for both.
        self.server = Server(data_dir=os.path.join(scratch("estate"), "data"),
                             flags=[f"--snapshot-count={SNAPSHOT_COUNT}"])
        self.server.flags.append(f"--initial-cluster-token={token(self.server) if callable(token) else token}")
        self.seen = None
        self.hash = None
        self.count = 0

    def serve(self, ours):
        self.server.binary = ETCD if ours else self.stock
        self.server.start()
        if self.seen is not None:
            equal(everything(self.server), self.seen, "keys of the one before")
            equal(hash_kv(self.server), self.hash, "hash of the history")
            equal(ctl(self.server, "get", "key1", "--rev=2")[1], "key1\nvalue 1\n")

    def write(self):
        for _ in range(WRITES):
            self.count += 1
            ctl(self.server, "put", f"key{self.count}", f"value {self.count}")
        ctl(self.server, "put", "latest", str(self.count))
        self.seen = everything(self.server)
        self.hash = hash_kv(self.server)

    def snapshots(self):
        return set(glob.glob(os.path.join(self.server.data_dir, "member/snap/*.snap")))


@test
def a_directory_of_ours_goes_to_a_stock_etcd_and_back():
    estate = Estate()
    made = set()
    for ours in (True, False, True, False, True):
        estate.serve(ours)
        estate.write()
        if estate.server.stop() not in (0, -15):
            raise AssertionError(estate.server.logged()[-2000:])
        if not estate.snapshots() - made:
            raise AssertionError("no snapshot was made in this turn, so none changed hands")
        made = estate.snapshots()


def token_of_a_small_id(server):
    """A token that gives the member an id whose first hexadecimal digit is 0, which nobody prints."""
    for i in range(10000):
        token = f"token{i}"
        if hashlib.sha1((server.peer_url + token).encode()).digest()[0] < 16:
            return token
    raise AssertionError("no such token")


@test
def a_member_whose_id_begins_with_a_zero_goes_to_and_fro():
    estate = Estate(token_of_a_small_id)
    for ours in (True, False, True, False):
        estate.serve(ours)
        member_id = json.loads(ctl(estate.server, "endpoint", "status", "-w=json")[1])[0]["Status"]["header"]["member_id"]
        if member_id >= 1 << 60:
            raise AssertionError(f"{member_id:x} has 16 digits")
        estate.write()
        estate.server.stop()


@test
def a_directory_of_a_stock_etcd_comes_to_us_and_back():
    estate = Estate()
    for ours in (False, True, False):
        estate.serve(ours)
        estate.write()
        estate.server.stop()


@test
def a_directory_that_we_were_killed_on_is_whole_for_a_stock_etcd_and_the_reverse():
    estate = Estate()
    for ours in (True, False, True, False):
        estate.serve(ours)
        estate.write()
        estate.server.kill()
    estate.serve(True)
    estate.server.stop()


@test
def what_is_recorded_as_cluster_version_lets_an_etcd_of_3_4_in():
    estate = Estate()
    version = subprocess.run([estate.stock, "--version"], capture_output=True, text=True, check=False).stdout
    if "etcd Version: 3.4." not in version:
        raise Skip(f"needs an etcd 3.4: {version.splitlines()[:1]}")
    estate.serve(True)
    contains(estate.server.get("/version")[2], '"etcdcluster":"3.6.0"')
    estate.server.stop()
    estate.serve(False)
    contains(estate.server.get("/version")[2], '"etcdcluster":"3.4.0"')
    estate.server.stop()


run()
