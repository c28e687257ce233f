"""The wire of the real server: stock etcdctl by URL, and gRPC over HTTP/2 row by row."""
import json

from harness import ETCDCTL, Server, contains, ctl, equal, run, test, which

server = Server().start()


def every_member(binary):
    """etcdctl 3.4 sends the advertised URL as :authority, in hashkv even when told host:port."""
    out = json.loads(ctl(server, "endpoint", "hashkv", "--cluster", "-w=json", binary=binary)[1])
    equal([row["Endpoint"] for row in out], [server.url])
    equal(out[0]["HashKV"]["hash"] != 0, True)
    out = json.loads(ctl(server, "endpoint", "status", "--cluster", "-w=json", binary=binary)[1])
    equal([row["Endpoint"] for row in out], [server.url])
    equal(out[0]["Status"]["leader"], out[0]["Status"]["header"]["member_id"])
    _, out, err = ctl(server, "endpoint", "health", "--cluster", binary=binary)
    contains(out + err, f"{server.url} is healthy: successfully committed proposal")


@test
def the_stock_etcdctl_asks_every_member_by_its_url():
    every_member(which("etcdctl"))


@test
def our_etcdctl_asks_every_member_by_its_url():
    every_member(ETCDCTL)


run()
