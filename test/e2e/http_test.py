"""HTTP endpoints with a stock client, and the metrics page under promtool."""
import gzip
import http.client
import json
import subprocess
import urllib.request

from harness import Server, contains, ctl, equal, run, test, which

server = Server().start()


@test
def health_says_true_and_who_may_ask():
    for path in ("/health", "/health?serializable=true", "/health?exclude=NOSPACE"):
        status, headers, body = server.get(path)
        equal((status, body), (200, '{"health":"true","reason":""}'), path)
        equal(headers["Content-Type"], "text/plain; charset=utf-8")
        equal(headers["Access-Control-Allow-Origin"], "*")
        equal(headers["Access-Control-Allow-Methods"], "POST, GET, OPTIONS, PUT, DELETE")
        equal(headers["Access-Control-Allow-Headers"], "accept, content-type, authorization")
    status, headers, body = server.get("/health", method="POST")
    equal((status, body, headers["Allow"]), (405, "Method Not Allowed\n", "GET"))
    equal(server.get("/anything", method="OPTIONS")[::2], (200, ""))


@test
def paths_that_are_written_otherwise_lead_to_the_usual_one_as_in_etcd():
    stock = Server(binary=which("etcd")).start()
    paths = ["//version", "/version//", "/./version", "/a/../version", "/..", "/.", "/", "//", "/a//b/", "/v3", "/v3?x=1",
             "/v3//kv/range", "/v3beta//kv/range", "/v3beta", "/%2e%2e/version", "/a%2f%2Fb", "//a%20b\"<>'%c3%a9!()*;=@",
             "//version?a=b%20c&d=<'\">", "/%76ersion", "/version%2f", "/v3/kv/%72ange"]
    for path in paths:
        for method in ("GET", "HEAD", "POST"):
            answers = []
            for at in (stock, server):
                conn = http.client.HTTPConnection("127.0.0.1", at.port, timeout=10)
                conn.putrequest(method, path, skip_host=True)
                conn.putheader("Host", "localhost")
                conn.endheaders()
                answer = conn.getresponse()
                answers.append((answer.status, answer.headers["Location"], answer.headers["Content-Type"],
                                answer.headers["Access-Control-Allow-Origin"], answer.read()))
                conn.close()
            if answers[0][0] == 301:
                equal(answers[1], answers[0], f"{method} {path}")
            else:  # our versions and our gateway's errors are those of 3.6
                equal(answers[1][0] == 301, False, f"{method} {path}")
                equal(answers[1][0] == 404, answers[0][0] == 404, f"{method} {path}")
    stock.stop()
    equal(server.get("/%zz//version")[0], 404)
    off = Server(flags=["--enable-grpc-gateway=false"]).start()
    equal(off.get("/v3")[0], 404)
    off.stop()


@test
def livez_and_readyz_list_their_checks():
    equal(server.get("/livez")[::2], (200, "ok\n"))
    equal(server.get("/livez?verbose")[::2], (200, "[+]serializable_read ok\nok\n"))
    equal(server.get("/livez/serializable_read")[::2], (200, "ok\n"))
    equal(server.get("/readyz")[::2], (200, "ok\n"))
    lines = server.get("/readyz?verbose")[2].splitlines()
    equal(sorted(lines), sorted(["[+]data_corruption ok", "[+]serializable_read ok",
                                 "[+]linearizable_read ok", "[+]non_learner ok", "ok"]))
    lines = server.get("/readyz?verbose&exclude=non_learner&exclude=nosuch")[2].splitlines()
    equal(len(lines), 4)
    equal(server.get("/readyz/data_corruption")[::2], (200, "ok\n"))
    equal(server.get("/readyz/nosuch")[0], 404)
    equal(server.get("/readyz", method="POST")[0], 405)


@test
def alarms_show_in_health_and_readyz():
    stock = which("etcdctl")
    member = json.loads(ctl(server, "endpoint", "status", "-w=json", binary=stock)[1])[0]["Status"]["header"]["member_id"]
    from pbtiny import Client, message
    client = Client(server)

    def alarm(action, kind):
        equal(client.maintenance("Alarm", message(f1=action, f2=member, f3=kind))[0], "OK")

    alarm(1, 1)  # NOSPACE
    status, _, body = server.get("/health")
    equal((status, body), (503, '{"health":"false","reason":"ALARM NOSPACE"}\n'))
    equal(server.get("/health?exclude=NOSPACE")[0], 200)
    equal(server.get("/readyz")[0], 200)
    alarm(1, 2)  # CORRUPT
    equal(server.get("/health?exclude=NOSPACE")[::2], (503, '{"health":"false","reason":"ALARM CORRUPT"}\n'))
    status, _, body = server.get("/readyz")
    equal(status, 503)
    contains(body, "[-]data_corruption failed: alarm activated: CORRUPT")
    alarm(2, 2)
    alarm(2, 1)
    equal(server.get("/health")[0], 200)


@test
def version_is_that_of_etcd_3_6():
    status, headers, body = server.get("/version")
    equal((status, headers["Content-Type"]), (200, "application/json"))
    equal(json.loads(body), {"etcdserver": "3.6.0", "etcdcluster": "3.6.0", "storage": "3.6.0"})
    equal(server.get("/version", method="PUT")[0], 405)


@test
def unknown_paths_are_404_as_in_go():
    for path in ("/nosuch", "/", "/members", "/config/local/log", "/v2/keys/"):
        equal(server.get(path)[::2], (404, "404 page not found\n"), path)


@test
def debug_vars_is_json():
    body = json.loads(server.get("/debug/vars")[2])
    equal(sorted(body), ["cmdline", "file_descriptor_limit", "memstats", "raft.status"])
    equal(body["raft.status"]["raftState"], "StateLeader")


@test
def metrics_are_what_promtool_accepts():
    status, headers, body = server.get("/metrics")
    equal(status, 200)
    contains(headers["Content-Type"], "text/plain; version=0.0.4; charset=utf-8")
    for name in ("etcd_server_has_leader 1", "etcd_server_is_leader 1", "etcd_disk_wal_fsync_duration_seconds_bucket",
                 "etcd_disk_backend_commit_duration_seconds_count", "etcd_mvcc_db_total_size_in_bytes",
                 'etcd_server_version{server_version="3.6.0"} 1', "process_resident_memory_bytes",
                 'grpc_server_handled_total{grpc_code="OK",grpc_method="Range",grpc_service="etcdserverpb.KV",grpc_type="unary"}',
                 "etcdc_loop_stall_seconds_bucket"):
        contains(body, name)
    judge = subprocess.run([which("promtool"), "check", "metrics"], input=body, capture_output=True, text=True, check=False)
    # The linter's advice is about names that etcd chose and dashboards use; it says the same of a
    # real etcd. Anything else it says is our mistake.
    etcds_own = {"etcd_debugging_lease_ttl_total", "etcd_debugging_mvcc_keys_total",
                 "etcd_debugging_mvcc_pending_events_total", "etcd_debugging_mvcc_slow_watcher_total",
                 "etcd_debugging_mvcc_watch_stream_total", "etcd_debugging_mvcc_watcher_total",
                 "etcd_disk_wal_write_bytes_total", "etcd_server_health_failures", "etcd_server_health_success",
                 "etcd_server_proposals_applied_total", "etcd_server_proposals_committed_total"}
    others = [line for line in (judge.stdout + judge.stderr).splitlines() if line.split(" ")[0] not in etcds_own]
    equal(others, [])


@test
def extensive_metrics_have_handling_times():
    equal("grpc_server_handling_seconds" in server.get("/metrics")[2], False)
    other = Server(flags=["--metrics", "extensive"]).start()
    ctl(other, "put", "k", "v")
    text = other.get("/metrics")[2]
    contains(text, 'grpc_server_handling_seconds_count{grpc_method="Put",grpc_service="etcdserverpb.KV",grpc_type="unary"} 1')
    other.stop()


@test
def metrics_come_compressed_when_asked_for():
    request = urllib.request.Request(server.url + "/metrics", headers={"Accept-Encoding": "gzip"})
    with urllib.request.urlopen(request, timeout=10) as answer:
        equal(answer.headers["Content-Encoding"], "gzip")
        contains(gzip.decompress(answer.read()).decode(), "etcd_server_has_leader 1")


@test
def curl_reads_all_of_them():
    curl = which("curl")
    for path in ("/health", "/version", "/metrics"):
        done = subprocess.run([curl, "-sSf", server.url + path], capture_output=True, text=True, check=False)
        equal(done.returncode, 0, done.stderr)


@test
def metrics_urls_serve_health_and_metrics_only():
    from harness import free_port
    port = free_port()
    other = Server(flags=["--listen-metrics-urls", f"http://127.0.0.1:{port}"]).start()
    other.url, client = f"http://127.0.0.1:{port}", other.url
    for path, want in (("/health", 200), ("/metrics", 200), ("/livez", 200), ("/readyz", 200), ("/version", 404)):
        equal(other.get(path)[0], want, path)
    other.url = client
    other.stop()


@test
def a_foreign_host_is_refused_when_names_are_listed():
    other = Server(flags=["--host-whitelist", "127.0.0.1,localhost", "--cors", "http://good.example:80"]).start()
    equal(other.get("/health")[0], 200)
    equal(other.get("/health", headers={"Host": "evil.example"})[0], 421)
    status, headers, _ = other.get("/health", headers={"Origin": "http://good.example:80"})
    equal((status, headers["Access-Control-Allow-Origin"]), (200, "http://good.example:80"))
    equal(other.get("/health", headers={"Origin": "http://bad.example"})[1]["Access-Control-Allow-Origin"], None)
    other.stop()


run()
