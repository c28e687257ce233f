"""What the tests of the client share: both servers in turn, and an etcdctl that goes on while the test
does something else."""
import os
import signal
import subprocess
import time

from harness import ETCDCTL, Server, scratch, which
from harness import ctl as harness_ctl

WAIT_SECONDS = 20


def ctl(*args, **more):
    """As the harness has it, without log lines."""
    status, out, err = harness_ctl(*args, **more)
    return status, out, without_log(err)


def without_log(text):
    return "".join(line for line in text.splitlines(True) if not line.startswith('{"level"'))


def servers(flags=()):
    """Go's etcd, and ours."""
    for binary in (which("etcd"), None):
        server = Server(binary=binary, flags=flags).start()
        yield server


class Running:
    """An etcdctl that goes on until it is stopped; its outputs gather in files."""

    def __init__(self, server, *args, binary=None, env=None, pipe=False):
        self.dir = scratch("running")
        environment = {k: v for k, v in os.environ.items() if not k.startswith("ETCDCTL_")}
        environment.update({"ETCDCTL_API": "3"}, **(env or {}))
        with open(os.path.join(self.dir, "out"), "wb") as out, open(os.path.join(self.dir, "err"), "wb") as err:
            self.process = subprocess.Popen(
                [binary or ETCDCTL, "--endpoints", server.url.replace("http://", "")] + list(args),
                stdout=out, stderr=err, stdin=subprocess.PIPE if pipe else subprocess.DEVNULL, env=environment)

    def read(self, name="out"):
        with open(os.path.join(self.dir, name), "rb") as file:
            return file.read().decode(errors="replace")

    def errors(self):
        return without_log(self.read("err"))

    def type(self, text):
        self.process.stdin.write(text.encode())
        self.process.stdin.flush()

    def until(self, text, name="out"):
        end = time.monotonic() + WAIT_SECONDS
        while text not in self.read(name):
            if time.monotonic() > end:
                raise AssertionError(f"{text!r} does not come; {name}: {self.read(name)!r} err: {self.read('err')!r}")
            time.sleep(0.01)
        return self

    def wait(self):
        return self.process.wait(WAIT_SECONDS)

    def stop(self, signum=signal.SIGTERM):
        if self.process.poll() is None:
            self.process.send_signal(signum)
        return self.process.wait(WAIT_SECONDS)


def both(server, *args, **more):
    return [Running(server, *args, binary=binary, **more) for binary in (ETCDCTL, which("etcdctl"))]
