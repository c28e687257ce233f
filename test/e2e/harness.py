"""What every end-to-end test needs: a scratch directory, servers on free ports, TAP.

A test program imports this, writes functions that assert, registers them with @test, and ends in
run(). Servers bind to loopback, are waited for through /health, and are stopped by process id, also
when a test fails. Data lives under $TMPDIR or /var/tmp: on a disk, never on tmpfs by choice.
"""
import atexit
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import traceback
import urllib.error
import urllib.request
import weakref

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.environ.get("ETCDC_BUILD", os.path.join(ROOT, "build/release"))
ETCD = os.path.join(BUILD, "etcd")
ETCDCTL = os.path.join(BUILD, "etcdctl")
START_SECONDS = 30
STOP_SECONDS = 30

_scratch = tempfile.mkdtemp(prefix="etcdc-e2e-", dir=os.environ.get("TMPDIR", "/var/tmp"))
_servers = []
_tests = []


class Skip(Exception):
    """Raised by a test that cannot run here; its text is printed."""


def scratch(name):
    """A new directory of that name's own."""
    return tempfile.mkdtemp(prefix=name + "-", dir=_scratch)


PORTS = range(10000, 30000)  # below what the system gives to outgoing connections
_next_port = [os.getpid() * 37 % len(PORTS)]
_ports = {}


def free_port():
    """A port that nobody listens on and that no other test is given, until release_port() or the end
    of this process: a server that is down for a moment finds it free when it comes back.

    What reserves it is a socket in the abstract namespace, bound to the port's name. It goes with the
    process, however that ends, and is seen by exactly those who share our ports: a network namespace
    has both."""
    for _ in range(2000):
        _next_port[0] += 1
        port = PORTS[_next_port[0] % len(PORTS)]
        mark = socket.socket(socket.AF_UNIX)
        try:
            mark.bind(f"\0etcdc-test-port-{port}")
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", port))
        except OSError:
            mark.close()
            continue
        _ports[port] = mark
        return port
    raise RuntimeError("no free port")


def release_port(port):
    _ports.pop(port).close()


class Server:
    """One etcd, ours or another, with ports and a directory of its own."""

    def __init__(self, binary=None, data_dir=None, flags=(), env=None, name="default"):
        self.binary = binary or ETCD
        self.dir = scratch("server")
        self.data_dir = data_dir or os.path.join(self.dir, "data")
        self.port = free_port()
        self.peer_port = free_port()
        for port in (self.port, self.peer_port):
            weakref.finalize(self, release_port, port)
        self.url = f"http://127.0.0.1:{self.port}"
        self.peer_url = f"http://127.0.0.1:{self.peer_port}"
        self.name = name
        self.flags = list(flags)
        self.env = env
        self.log = os.path.join(self.dir, "log")
        self.process = None

    def command(self):
        return [self.binary, "--name", self.name, "--data-dir", self.data_dir,
                "--listen-client-urls", self.url, "--advertise-client-urls", self.url,
                "--listen-peer-urls", self.peer_url, "--initial-advertise-peer-urls", self.peer_url,
                "--initial-cluster", f"{self.name}={self.peer_url}"] + self.flags

    def start(self, wait=True):
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(self.command(), stdout=log, stderr=log, cwd=self.dir,
                                            env=dict(os.environ, **(self.env or {})))
        _servers.append(self)
        if wait:
            self.wait_healthy()
        return self

    def wait_healthy(self):
        end = time.monotonic() + START_SECONDS
        while time.monotonic() < end:
            if self.process.poll() is not None:
                raise AssertionError(f"server ended with {self.process.returncode}:\n{self.logged()[-4000:]}")
            try:
                if json.loads(self.get("/health")[2])["health"] == "true":
                    return
            except (OSError, ValueError):
                pass
            time.sleep(0.02)
        raise AssertionError(f"server is not healthy after {START_SECONDS} s:\n{self.logged()[-4000:]}")

    def get(self, path, method="GET", headers=None, data=None):
        """(status, headers, body as text); HTTP errors are answers, not exceptions."""
        request = urllib.request.Request(self.url + path, method=method, headers=headers or {}, data=data)
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return answer.status, answer.headers, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.headers, error.read().decode()

    def logged(self):
        with open(self.log, encoding="utf-8", errors="replace") as log:
            return log.read()

    def stop(self, signum=signal.SIGTERM):
        """Sends the signal and waits; returns the exit status as subprocess gives it."""
        if self.process is None:
            return None
        if self.process.poll() is None:
            self.process.send_signal(signum)
        try:
            status = self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError(f"server did not stop within {STOP_SECONDS} s of signal {signum}")
        finally:
            if self in _servers:
                _servers.remove(self)
        return status

    def kill(self):
        return self.stop(signal.SIGKILL)

    def restart(self, signum=signal.SIGTERM):
        self.stop(signum)
        return self.start()


def ctl(server, *args, binary=None, stdin=None, env=None, check=True):
    """Runs etcdctl on the server; returns (status, stdout, stderr)."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("ETCDCTL_")}
    environment.update({"ETCDCTL_API": "3"}, **(env or {}))
    done = subprocess.run([binary or ETCDCTL, "--endpoints", server.url.replace("http://", "")] + list(args),
                          input=stdin, capture_output=True, text=True, timeout=60, env=environment, check=False)
    if check and done.returncode != 0:
        raise AssertionError(f"etcdctl {' '.join(args)}: status {done.returncode}\n{done.stdout}{done.stderr}")
    return done.returncode, done.stdout, done.stderr


def which(name):
    path = shutil.which(name)
    if path is None:
        raise Skip(f"{name} is not installed")
    return path


def equal(got, want, what=""):
    if got != want:
        raise AssertionError(f"{what}\n  got:  {got!r}\n  want: {want!r}")


def contains(text, part, what=""):
    if part not in text:
        raise AssertionError(f"{what}\n  {part!r} is not in: {text[:2000]!r}")


def alarm_comes(server, text="alarm:NOSPACE", seconds=5):
    """`etcdctl alarm list` shows it, soon: an alarm is raised through the log."""
    end = time.monotonic() + seconds
    while text not in (listed := ctl(server, "alarm", "list")[1]):
        if time.monotonic() > end:
            raise AssertionError(f"{text!r} is not in: {listed!r}")
        time.sleep(0.05)


def test(function):
    _tests.append(function)
    return function


def _clean():
    for server in list(_servers):
        try:
            server.process.kill()
            server.process.wait(10)
        except (OSError, subprocess.TimeoutExpired):
            pass
    shutil.rmtree(_scratch, ignore_errors=True)


atexit.register(_clean)


def run():
    """Runs the tests in order of definition, prints TAP, and exits."""
    only = sys.argv[1] if len(sys.argv) > 1 else ""
    tests = [t for t in _tests if only in t.__name__]
    print(f"1..{len(tests)}", flush=True)
    failed = 0
    for number, function in enumerate(tests, 1):
        title = function.__name__.replace("_", " ")
        try:
            function()
            print(f"ok {number} - {title}", flush=True)
        except Skip as why:
            print(f"ok {number} - {title} # SKIP {why}", flush=True)
        except Exception:  # pylint: disable=broad-except
            failed += 1
            for line in traceback.format_exc().splitlines():
                print(f"# {line}")
            print(f"not ok {number} - {title}", flush=True)
    sys.exit(1 if failed else 0)
