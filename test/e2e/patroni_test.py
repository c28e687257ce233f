"""Patroni (etcd3 section) keeps two PostgreSQL members on one of our servers: the first is elected,
a killed leader is replaced by the other, the old one comes back as a replica, and a server that is
killed and started again disturbs nobody. In `make test-long` only: it takes minutes.
"""
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.request

from harness import Server, free_port, run, scratch, test

BIN = "/usr/lib/postgresql/15/bin"


def reason_to_skip():
    if os.environ.get("ETCDC_LONG", "0") in ("", "0"):
        return "takes minutes: make test-long runs it"
    if os.geteuid() != 0 or not shutil.which("runuser"):
        return "PostgreSQL must not run as root, and only root can become another user"
    if not shutil.which("patroni") or not os.path.isdir(BIN):
        return "Patroni or PostgreSQL 15 is not installed"
    check = "import etcd, psycopg2, patroni.dcs.etcd3"
    if subprocess.run(["/usr/bin/python3", "-c", check], capture_output=True, check=False).returncode != 0:
        return "python3-etcd or python3-psycopg2 is not installed"
    return None


CONFIG = """
scope: e2e
name: {name}
restapi: {{listen: '127.0.0.1:{rest}', connect_address: '127.0.0.1:{rest}'}}
etcd3: {{host: '127.0.0.1:{etcd}'}}
bootstrap:
  dcs: {{ttl: 20, loop_wait: 2, retry_timeout: 5, maximum_lag_on_failover: 10485760}}
  initdb: [{{encoding: UTF8}}, {{locale: C}}]
postgresql:
  listen: 127.0.0.1:{pg}
  connect_address: 127.0.0.1:{pg}
  data_dir: {folder}/data
  bin_dir: {bin}
  pgpass: {folder}/pgpass
  pg_hba: ['host all all 127.0.0.1/32 md5', 'host replication all 127.0.0.1/32 md5']
  authentication:
    superuser: {{username: postgres, password: secret}}
    replication: {{username: replicator, password: secret}}
  parameters: {{unix_socket_directories: '{folder}', shared_buffers: 16MB, fsync: 'off'}}
"""


class Member:
    """One Patroni with its PostgreSQL, as user postgres."""

    def __init__(self, name, etcd):
        self.name, self.rest, self.pg = name, free_port(), free_port()
        self.folder = scratch(name)
        self.config = os.path.join(self.folder, "patroni.yml")
        with open(self.config, "w", encoding="utf-8") as file:
            file.write(CONFIG.format(name=name, rest=self.rest, pg=self.pg, etcd=etcd.port, folder=self.folder, bin=BIN))
        os.chmod(os.path.dirname(self.folder), 0o755)
        subprocess.run(["chown", "-R", "postgres", self.folder], check=True)
        self.process = None

    def start(self):
        log = open(os.path.join(self.folder, "log"), "ab")
        self.process = subprocess.Popen(["runuser", "-u", "postgres", "--", "patroni", self.config],
                                        stdout=log, stderr=log, cwd=self.folder, start_new_session=True)

    def kill(self):
        """Patroni and PostgreSQL, all at once."""
        pids = [self.process.pid]
        pidfile = os.path.join(self.folder, "data/postmaster.pid")
        if os.path.exists(pidfile):
            pids.append(int(open(pidfile, encoding="utf-8").readline()))
        os.killpg(self.process.pid, signal.SIGKILL)
        for pid in pids[1:]:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        self.process.wait(30)

    def state(self):
        """What its REST interface says of it: role and state."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.rest}/patroni", timeout=5) as reply:
                return json.load(reply)
        except OSError:
            return {}
        except ValueError:
            return {}

    def is_running_as(self, roles):
        state = self.state()
        return state.get("state") == "running" and state.get("role") in roles

    def sql(self, text):
        env = dict(os.environ, PGPASSWORD="secret")
        done = subprocess.run([f"{BIN}/psql", "-h", "127.0.0.1", "-p", str(self.pg), "-U", "postgres", "-Atc", text],
                              env=env, capture_output=True, text=True, check=True, timeout=60)
        return done.stdout.strip()

    def log(self):
        return open(os.path.join(self.folder, "log"), encoding="utf-8", errors="replace").read()[-3000:]


LEADER, REPLICA = ("master", "primary"), ("replica",)


def wait(condition, seconds, what, *members):
    limit = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > limit:
            raise AssertionError(what + "".join(f"\n{m.name}:\n{m.log()}" for m in members))
        time.sleep(0.5)


@test
def patroni_elects_fails_over_and_outlives_a_restart_of_the_server():
    etcd = Server().start()
    one, two = Member("one", etcd), Member("two", etcd)
    try:
        one.start()
        wait(lambda: one.is_running_as(LEADER), 120, "nobody was elected", one)
        two.start()
        wait(lambda: two.is_running_as(REPLICA), 120, "no replica", one, two)
        one.sql("create table t (n int); insert into t values (1)")
        wait(lambda: two.sql("select count(*) from pg_tables where tablename = 't'") == "1", 60, "no replication", two)

        etcd.kill()
        etcd.start()
        time.sleep(5)
        assert one.is_running_as(LEADER), one.log()

        one.kill()
        wait(lambda: two.is_running_as(LEADER), 120, "nobody took over", two)
        assert two.sql("select n from t") == "1"
        two.sql("insert into t values (2)")

        one.start()
        wait(lambda: one.is_running_as(REPLICA), 120, "the old leader did not come back", one, two)
        wait(lambda: one.sql("select sum(n) from t") == "3", 60, "it did not catch up", one, two)
    finally:
        for member in (one, two):
            if member.process is not None and member.process.poll() is None:
                member.kill()
        etcd.stop()


if __name__ == "__main__":
    why_not = reason_to_skip()
    if why_not:
        print(f"1..0 # SKIP {why_not}")
        sys.exit(0)
    run()
