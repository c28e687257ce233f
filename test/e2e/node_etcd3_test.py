"""npm etcd3, the stock JavaScript client. Installs it into build/node once."""
import os
import shutil
import subprocess
import sys

from harness import ROOT, Server, Skip, which

FOLDER = os.path.join(ROOT, "build/node")


def installed():
    """The folder with the client in it; Skip when npm, or the package, is not to be had."""
    which("node")
    npm = which("npm")
    os.makedirs(FOLDER, exist_ok=True)
    for name in ("package.json", "etcd3.js"):
        shutil.copy(os.path.join(ROOT, "test/node", name), FOLDER)
    if not os.path.isdir(os.path.join(FOLDER, "node_modules/etcd3")):
        done = subprocess.run([npm, "install", "--no-audit", "--no-fund", "--loglevel=error"], cwd=FOLDER,
                              capture_output=True, text=True, timeout=300, check=False)
        if done.returncode != 0:
            raise Skip("npm cannot install etcd3: " + " ".join(done.stderr.split())[:200])


try:
    installed()
except Skip as why:
    print(f"1..0 # SKIP {why}")
    sys.exit(0)
server = Server().start()
status = subprocess.run(["node", "etcd3.js", server.url], cwd=FOLDER, timeout=120, check=False).returncode
server.stop()
sys.exit(status)
