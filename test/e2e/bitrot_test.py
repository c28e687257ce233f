"""One bit of a stopped member's files flips: it refuses with a sentence that names the file, or it
serves exactly what it served before. Never a signal, never a hang, never other data.

Pages of the database carry no checksums (bbolt's format has none), so there a flip can change data
without anybody noticing at start; those are counted, and comparing HashKV must show each of them.

Positions are drawn from every structure of every file: ETCDC_SEED chooses, ETCDC_LONG=1 takes 25 times as many.
"""
import os
import random
import shutil
import struct
import time
from collections import Counter

from acked import everything, hash_kv
from datadir import long_form
from harness import Server, equal, run, scratch, test
from pbtiny import Client, delete_request, message, op, put_request, txn_request

LONG = long_form()
SEED = int(os.environ.get("ETCDC_SEED", "1"))
END_SECONDS = 20  # starting takes 0.1 s; what takes this long hangs
PAGE = 4096
FLAGS = ["--snapshot-count", "50", "--snapshot-catchup-entries", "5", "--log-level", "warn",
         "--backend-batch-interval", "1000s"]  # acknowledged writes are in the log alone
RECORD_TYPES = {1: "metadata", 2: "entry", 3: "state", 4: "crc", 5: "snapshot"}


# ---- what is where ------------------------------------------------------------------------------

def read_varint(data, at):
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at


def proto_parts(data, start, end, names):
    """{part: [offsets]} of one message: its tags, lengths and the values of its fields."""
    out = {}
    at = start
    fields = {}
    while at < end:
        tag, after = read_varint(data, at)
        out.setdefault("tag", []).extend(range(at, after))
        name = names.get(tag >> 3, "other")
        value, stop = read_varint(data, after)
        if tag & 7 == 2:
            out.setdefault("length", []).extend(range(after, stop))
            out.setdefault(name, []).extend(range(stop, stop + value))
            stop += value
        else:
            out.setdefault(name, []).extend(range(after, stop))
        fields[tag >> 3] = value
        at = stop
    return out, fields


def wal_parts(data):
    out = {}
    at = 0
    while at + 8 <= len(data):
        (word,) = struct.unpack_from("<Q", data, at)
        if word == 0:
            break
        size = word & 0xFFFFFFFFFFFFFF
        pad = (word >> 56) & 7 if word >> 63 else 0
        parts, fields = proto_parts(data, at + 8, at + 8 + size, {1: "type", 2: "checksum", 3: "data"})
        kind = RECORD_TYPES[fields[1]]
        parts["frame"] = list(range(at, at + 8))
        parts["padding"] = list(range(at + 8 + size, at + 8 + size + pad))
        for part, offsets in parts.items():
            out.setdefault(f"log, {kind}, {part}", []).extend(offsets)
        last = {f"log, last record, {part}": offsets for part, offsets in parts.items()}
        at += 8 + size + pad
    out.update(last)
    out["log, behind the end"] = list(range(at, at + 64)) + [at + 4096, at + 1000003]
    return out


def snap_parts(data):
    parts, _ = proto_parts(data, 0, len(data), {1: "checksum", 2: "data"})
    return {f"snapshot, {part}": offsets for part, offsets in parts.items()}


def leaf_or_branch_parts(data, base, is_leaf):
    _, _, count, overflow = struct.unpack_from("<QHHI", data, base)
    name = "leaf" if is_leaf else "branch"
    end = base + PAGE * (overflow + 1)
    used = base + 16 + 16 * count
    out = {f"db, {name}, header": list(range(base, base + 16)),
           f"db, {name}, elements": list(range(base + 16, used))}
    for number in range(count):
        element = base + 16 + 16 * number
        if is_leaf:
            _, position, key, value = struct.unpack_from("<IIII", data, element)
        else:
            position, key, value = *struct.unpack_from("<II", data, element), 0
        out.setdefault(f"db, {name}, keys", []).extend(range(element + position, element + position + key))
        out.setdefault(f"db, {name}, values", []).extend(
            range(element + position + key, element + position + key + value))
        used = max(used, element + position + key + value)
    out[f"db, {name}, unused"] = list(range(used, end))
    return out


def tree_pages(data, number, out):
    """The pages in use below page `number`, with those of the buckets in it."""
    base = number * PAGE
    out.add(number)
    _, kind, count, overflow = struct.unpack_from("<QHHI", data, base)
    out.update(range(number, number + overflow + 1))
    for index in range(count):
        element = base + 16 + 16 * index
        if kind == 1:
            tree_pages(data, struct.unpack_from("<Q", data, element + 8)[0], out)
            continue
        flags, position, key, _ = struct.unpack_from("<IIII", data, element)
        if flags & 1:
            root = struct.unpack_from("<Q", data, element + position + key)[0]
            if root != 0:
                tree_pages(data, root, out)


def db_parts(data):
    out = {}
    ids = [struct.unpack_from("<Q", data, number * PAGE + 64)[0] for number in (0, 1)]
    newest = 0 if ids[0] > ids[1] else 1
    for number in (0, 1):
        base = number * PAGE
        name = "newest meta" if number == newest else "older meta"
        out[f"db, {name}, header"] = list(range(base, base + 16))
        out[f"db, {name}, fields"] = list(range(base + 16, base + 72))
        out[f"db, {name}, checksum"] = list(range(base + 72, base + 80))
        out[f"db, {name}, unused"] = list(range(base + 80, base + PAGE))
    used = {0, 1}
    tree_pages(data, struct.unpack_from("<Q", data, newest * PAGE + 32)[0], used)
    high = struct.unpack_from("<Q", data, newest * PAGE + 56)[0]
    at = 2
    while at < high:
        base = at * PAGE
        _, kind, _, overflow = struct.unpack_from("<QHHI", data, base)
        if at not in used:
            out.setdefault("db, free page", []).extend(range(base, base + PAGE))
            at += 1
            continue
        for part, offsets in leaf_or_branch_parts(data, base, kind == 2).items():
            out.setdefault(part, []).extend(offsets)
        at += overflow + 1
    out["db, behind the end"] = list(range(high * PAGE, min(high * PAGE + PAGE, len(data))))
    return {part: offsets for part, offsets in out.items() if offsets}


# ---- a member to be harmed ----------------------------------------------------------------------

class Original:
    """A stopped member's directory, in memory, and what it served."""

    def __init__(self, last_signal):
        server = Server(flags=FLAGS).start()
        client = Client(server)
        for number in range(230):
            key = b"key/%03d" % (number * 7 % 90)
            value = b"value %d " % number + b"v" * (number * 31 % 400)
            requests = {11: ("DeleteRange", delete_request(key)),
                        5: ("Txn", txn_request(success=[op(put=put_request(key, value)),
                                                        op(put=put_request(b"other/" + key, value))]))}
            method, request = requests.get(number % 17, ("Put", put_request(key, value)))
            equal(client.kv(method, request)[0], "OK")
            if number == 120:
                equal(client.kv("Compact", message(f1=60))[0], "OK")
        time.sleep(0.3)  # the compaction and a snapshot end
        self.served = self.asked(client)
        client.close()
        server.stop(last_signal)
        self.files = {}
        for folder, _, names in os.walk(server.data_dir):
            for name in names:
                path = os.path.join(folder, name)
                with open(path, "rb") as file:
                    data = file.read()
                self.files[os.path.relpath(path, server.data_dir)] = (data.rstrip(b"\0"), len(data))
        self.server = server

    @staticmethod
    def asked(client):
        code, details, members = client.call("/etcdserverpb.Cluster/MemberList")
        if code != "OK":
            raise AssertionError(f"MemberList: {code} {details}")
        return {"rows": everything(client), "hash": hash_kv(client), "members": members.split(b"default")[1:]}

    def write(self, directory, harmed=None, offset=0, bit=0):
        shutil.rmtree(directory, ignore_errors=True)
        os.makedirs(os.path.join(directory, "member"), mode=0o700)
        os.chmod(directory, 0o700)
        for name, (data, size) in self.files.items():
            path = os.path.join(directory, name)
            os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
            with open(path, "wb") as file:
                file.write(data)
                file.truncate(size)
                if name == harmed:
                    file.seek(offset)
                    byte = data[offset] if offset < len(data) else 0
                    file.write(bytes([byte ^ 1 << bit]))

    def parts(self):
        """[(file, {part: offsets})]"""
        out = []
        for name, (data, size) in sorted(self.files.items()):
            if name.endswith(".wal"):
                out.append((name, wal_parts(data + b"\0" * min(size - len(data), 4096))))
            elif name.endswith(".snap"):
                out.append((name, snap_parts(data)))
            elif name.endswith("/db"):
                out.append((name, db_parts(data + b"\0" * (size - len(data)))))
        return out


def outcome(original, server, name):
    """What the server makes of its directory: refused, same, wrong; raises for what may never be."""
    if os.path.exists(server.log):
        os.unlink(server.log)
    server.start(wait=False)
    client = None
    end = time.monotonic() + END_SECONDS
    try:
        while server.process.poll() is None and client is None:
            if time.monotonic() > end:
                raise AssertionError(f"it hangs: {server.logged()[-500:]}")
            time.sleep(0.01)
            try:
                if '"true"' in server.get("/health")[2]:
                    client = Client(server)
            except OSError:
                pass
        if client is not None:
            try:
                got = original.asked(client)
                client.close()
                return "same" if got == original.served else "wrong data"
            except AssertionError as why:
                client.close()
                if server.process.poll() is None:
                    time.sleep(0.2)
                if server.process.poll() is None:
                    raise AssertionError(f"it neither serves nor stops: {why}") from why
        equal(server.process.returncode, 1, f"it ended so: {server.logged().splitlines()[-1:]}")
        file = os.path.join(server.data_dir, name)
        if file not in server.logged() and f"the log in {os.path.dirname(file)} " not in server.logged():
            raise AssertionError(f"the sentence does not name the file: {server.logged().splitlines()[-1]}")
        return "refused"
    finally:
        server.kill()


def rot(kind, last_signal, per_part):
    per_part *= 25 if LONG else 1  # the long form takes all of what is small
    original = Original(last_signal)
    draw = random.Random(SEED)
    server = Server(data_dir=os.path.join(scratch("bitrot"), "data"), flags=FLAGS)
    server.port, server.peer_port = original.server.port, original.server.peer_port
    server.url, server.peer_url = original.server.url, original.server.peer_url
    original.write(server.data_dir)
    equal(outcome(original, server, ""), "same", "the directory before any harm")
    counts = Counter()
    failures = []
    silent = Counter()
    by_part = Counter()
    for name, parts in original.parts():
        if kind not in list(parts)[0]:
            continue
        for part, offsets in parts.items():
            for offset in sorted(draw.sample(offsets, min(per_part, len(offsets)))):
                bit = draw.randrange(8)
                original.write(server.data_dir, name, offset, bit)
                try:
                    result = outcome(original, server, name)
                except AssertionError as why:
                    result = "failed"
                    failures.append(f"{part}: bit {bit} of byte {offset} of {name}: {why}")
                counts[result] += 1
                by_part[part, result] += 1
                if result == "wrong data":
                    silent[part] += 1
                    failures.append(f"{part}: bit {bit} of byte {offset} of {name}: other data is served")
    print(f"# {kind}: {sum(counts.values())} bits flipped: {dict(counts)}", flush=True)
    for part, count in sorted(silent.items()):
        print(f"# {part}: {count} changed data, found by HashKV or by reading it", flush=True)
    if os.environ.get("ETCDC_VERBOSE") == "1":
        for (part, result), count in sorted(by_part.items()):
            print(f"# {part}: {count} {result}", flush=True)
    if failures:
        raise AssertionError(f"{len(failures)} failures, seed {SEED}:\n" + "\n".join(failures[:40]))
    assert sum(counts.values()) > 10 and (counts["refused"] > 0 or kind == "snapshot"), counts


@test
def a_flipped_bit_in_the_log_of_a_killed_member():
    rot("log", 9, 4)


@test
def a_flipped_bit_in_the_log_of_a_stopped_member():
    rot("log", 15, 1)


@test
def a_flipped_bit_in_a_snapshot_file():
    rot("snapshot", 9, 3)


@test
def a_flipped_bit_in_the_database():
    rot("db", 15, 8)


if __name__ == "__main__":
    run()
