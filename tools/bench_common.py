"""What tools/bench-compare and tools/bench-growth share: loads, and what they cost a server."""
import json
import os
import re
import shutil
import statistics
import struct
import subprocess
import sys
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, os.path.join(ROOT, "test/e2e"))
import harness  # noqa: E402  pylint: disable=wrong-import-position

OTHER = shutil.which(os.environ.get("OTHER", "etcd"), path="/usr/bin:" + os.environ.get("PATH", ""))
BENCHMARK = os.path.join(harness.BUILD, "benchmark")
SERVERS = {"etcd (Go)": OTHER, "etcd.c": harness.ETCD}
GO, OURS = SERVERS
TICKS = os.sysconf("SC_CLK_TCK")


def say(text):
    print(text, file=sys.stderr, flush=True)


# ---- gRPC frames for h2load --------------------------------------------------------------------

def field(number, data):
    """One length-delimited protobuf field."""
    size, head = len(data), bytes([number << 3 | 2])
    while size >= 0x80:
        head += bytes([size & 0x7f | 0x80])
        size >>= 7
    return head + bytes([size]) + data


# ---- measuring ---------------------------------------------------------------------------------

def cpu_seconds(pid):
    """Of all threads, in nanoseconds where the kernel counts them; ticks are too coarse for a short load."""
    total = 0
    try:
        for thread in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{thread}/schedstat", encoding="utf-8") as stat:
                total += int(stat.read().split()[0])
        return total / 1e9
    except FileNotFoundError:
        with open(f"/proc/{pid}/stat", encoding="utf-8") as stat:
            fields = stat.read().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS


def memory(pid):
    """Resident and anonymous resident bytes."""
    with open(f"/proc/{pid}/status", encoding="utf-8") as status:
        found = dict(re.findall(r"^(VmRSS|RssAnon):\s+(\d+) kB$", status.read(), re.M))
    return int(found["VmRSS"]) * 1024, int(found["RssAnon"]) * 1024


def revision(server):
    out = harness.ctl(server, "get", "nothing", "-w", "json")[1]
    return json.loads(out)["header"]["revision"]


def percentile(ordered, percent):
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]


def latencies(microseconds):
    ordered = sorted(microseconds)
    return {"mean_us": statistics.fmean(ordered), "p50_us": percentile(ordered, 50), "p99_us": percentile(ordered, 99),
            "p999_us": percentile(ordered, 99.9)}


def run_h2load(server, method, message, conns, streams, count, bytes_min=0, service="KV"):
    """Rate and latencies of `count` equal calls; each answer must have `bytes_min` bytes."""
    folder = harness.scratch("h2load")
    frame, log = os.path.join(folder, "frame"), os.path.join(folder, "log")
    with open(frame, "wb") as out:
        out.write(struct.pack(">BI", 0, len(message)) + message)
    done = subprocess.run(["h2load", "-n", str(count), "-c", str(conns), "-m", str(streams), "-t", "1", "-d", frame,
                           "--log-file", log, "-H", "content-type: application/grpc", "-H", "te: trailers",
                           f"{server.url}/etcdserverpb.{service}/{method}"], capture_output=True, text=True, check=True)
    rate = float(re.search(r"finished in [^,]+, ([\d.]+) req/s", done.stdout).group(1))
    good = int(re.search(r"(\d+) succeeded", done.stdout).group(1))
    data = int(re.search(r"\((\d+)\) data", done.stdout).group(1))
    if good != count or data < count * bytes_min:
        raise RuntimeError(f"not every request was answered:\n{done.stdout}")
    with open(log, encoding="utf-8") as lines:
        times = [int(line.split("\t")[2]) for line in lines]
    shutil.rmtree(folder)
    return dict(latencies(times), rate=rate)


def run_benchmark(server, arguments, count):
    done = subprocess.run([BENCHMARK, "--endpoints", server.url.replace("http://", ""), "--total", str(count)] + arguments,
                          capture_output=True, text=True, check=True)
    text = done.stdout
    if "Error distribution" in text:
        raise RuntimeError(f"requests failed:\n{text}")

    def number(pattern):
        found = re.search(pattern, text, re.M)
        return float(found.group(1)) if found else 0.0  # too few requests for that percentile
    return {"rate": number(r"Requests/sec:\t(\S+)$"), "mean_us": number(r"Average:\t(\S+) secs") * 1e6,
            "p50_us": number(r"^  50% in (\S+) secs") * 1e6, "p99_us": number(r"^  99% in (\S+) secs") * 1e6,
            "p999_us": number(r"^  99.9% in (\S+) secs") * 1e6}


def disk_sync_us():
    """The median of writing and syncing 512 bytes where the servers keep their data."""
    path = os.path.join(harness.scratch("disk"), "file")
    times = []
    fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    os.posix_fallocate(fd, 0, 1 << 20)
    os.fsync(fd)
    for i in range(500):
        begun = time.perf_counter()
        os.pwrite(fd, b"x" * 512, i * 512)
        os.fdatasync(fd)
        times.append((time.perf_counter() - begun) * 1e6)
    os.close(fd)
    return statistics.median(times)


# ---- the machine -------------------------------------------------------------------------------

def first_line(*command):
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip().split("\n")[0]


def machine():
    with open("/proc/cpuinfo", encoding="utf-8") as info:
        model = re.search(r"model name\s*: (.*)", info.read())
    with open("/proc/meminfo", encoding="utf-8") as info:
        total = int(re.search(r"MemTotal:\s+(\d+)", info.read()).group(1))
    file_system = subprocess.run(["df", "--output=fstype", harness.scratch("where")], capture_output=True, text=True,
                                 check=True).stdout.split()[-1]
    return {"model": model.group(1) if model else "?", "cpus": len(os.sched_getaffinity(0)), "memory_gb": total / 1e6,
            "kernel": os.uname().release, "disk": file_system}


def missing():
    """What cannot be done without, or None."""
    for what in (OTHER, shutil.which("h2load"), BENCHMARK if os.path.exists(BENCHMARK) else None):
        if not what:
            return "h2load (Debian: nghttp2-client), another etcd (etcd-server) and `make release` are needed"
    return None
