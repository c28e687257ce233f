"""libetcdclient against Go's etcd and ours: test/etcdclient_check.c has the promises; here it gets
its servers. It is built with the sanitizers."""
import os
import subprocess

from client_common import servers
from harness import BUILD, ROOT, Server, Skip, equal, run, scratch, test, which

NAMES = ["requests", "transactions", "async", "threads", "closing", "watches", "watch_calls_back",
         "watch_held_back", "leases", "locks", "lock_refusals", "session_is_lost", "elections",
         "stm_money_is_kept", "stm_isolation_levels", "stm_reads_one_revision"]


def checker():
    path = os.path.join(ROOT, "build/asan/test/etcdclient_check")
    if not os.access(path, os.X_OK):
        raise Skip("build/asan is not built: make asan")
    return path


def check(name):
    for server in servers():
        done = subprocess.run([checker(), server.url, name], capture_output=True, text=True, timeout=120, check=False)
        if done.returncode != 0 or f"ok - {name}\n" not in done.stdout:
            raise AssertionError(f"{server.binary}: status {done.returncode}\n{done.stdout}{done.stderr}")


def add(name):
    def one():
        check(name)

    one.__name__ = "library_" + name
    test(one)


for each in NAMES:
    add(each)

# Its own functions have names that the library uses inside.
PROGRAM = r"""
#include <etcdclient.h>
#include <stdio.h>

int arena_init(void);
int buf_append(void);
int arena_init(void) { return 1; }
int buf_append(void) { return 2; }

int main(int argc, char **argv)
{
    const char *endpoints[] = {argv[argc - 1]};
    struct etcd_options options = {.endpoints = endpoints, .endpoint_count = 1, .timeout_ms = 5000};
    struct etcd_client *client = NULL;
    struct etcd_error error;
    if (etcd_open(&options, &client, &error) != 0 || etcd_put(client, "outside", "1", &error) != 0) {
        printf("%s\n", error.text);
        return 1;
    }
    etcd_close(&client);
    return arena_init() + buf_append() == 3 ? 0 : 1;
}
"""


@test
def an_installed_library_serves_a_program_outside_of_the_tree_shared_and_static():
    for tool in ("meson", "pkg-config", "cc", "nm"):
        which(tool)
    where = scratch("installed")
    subprocess.run(["meson", "install", "-C", BUILD, "--no-rebuild", "--quiet", "--destdir", where], check=True,
                   capture_output=True)
    programs = [os.path.join(folder, name) for folder, _, names in os.walk(where) for name in names
                if os.path.basename(folder) == "bin"]
    equal(sorted(map(os.path.basename, programs)), ["etcd", "etcdctl", "etcdutl"])
    for program in programs:
        subprocess.run([program, "version" if program[-1] == "l" else "--version"], check=True, capture_output=True)
    (config,) = [folder for folder, _, names in os.walk(where) if "etcdclient.pc" in names]
    env = dict(os.environ, PKG_CONFIG_PATH=config, PKG_CONFIG_SYSROOT_DIR=where)
    lib = os.path.dirname(config)

    def flags(*args):
        words = subprocess.run(["pkg-config", *args, "etcdclient"], env=env, check=True, capture_output=True, text=True)
        return words.stdout.split()

    source = os.path.join(where, "outside.c")
    with open(source, "w", encoding="ascii") as out:
        out.write(PROGRAM)
    static = [word if word != "-letcdclient" else "-l:libetcdclient.a" for word in flags("--libs", "--static")]
    server = Server().start()
    for name, libs in (("shared", flags("--libs")), ("static", static)):
        program = os.path.join(where, name)
        subprocess.run(["cc", "-Wall", "-Werror", source, *flags("--cflags"), *libs, "-o", program], check=True)
        subprocess.run([program, f"127.0.0.1:{server.port}"], env=dict(env, LD_LIBRARY_PATH=lib), check=True)
    needed = subprocess.run(["readelf", "-d", os.path.join(where, "static")], check=True, capture_output=True, text=True)
    assert "libetcdclient" not in needed.stdout, "the static program asks for the shared library"
    for args in (["-g", os.path.join(lib, "libetcdclient.a")], ["-D", os.path.join(lib, "libetcdclient.so")]):
        out = subprocess.run(["nm", "--defined-only", *args], check=True, capture_output=True, text=True).stdout
        names = [line.split()[2] for line in out.splitlines() if len(line.split()) == 3]
        names = [name for name in names if name != "ETCDCLIENT_0"]  # the version
        assert "etcd_open" in [name.split("@")[0] for name in names], names
        strange = [name for name in names if not name.startswith("etcd_") or name.startswith("etcd__")]
        assert not strange, f"{args[1]} shows {strange[:10]}"
    server.stop()

if __name__ == "__main__":
    run()
