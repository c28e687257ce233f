#!/usr/bin/env python3
"""Runs the same session of commands with another etcdctl and with ours, each against a fresh server
on the same ports, and compares exit codes, standard output and errors byte by byte. Prints TAP.

    etcdctl_compare_test.py OUR_ETCDCTL [--theirs etcdctl] [--server etcd] [-k WORD]

Both clients get the same ids and revisions, because both servers start from nothing under the same
URLs. What is compared are the formats that 3.4 (Debian's) and 3.6 (ours) agree on. Taken out of
standard error: log lines, and the second printing of an error that 3.4 and 3.5 do.
"""
import argparse
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request

# (arguments, standard input or None); run in this order.
MAIN = [
    # put
    ("put foo bar", None),
    ("put foo bar2 -w json", None),
    ("-w fields put foo bar2", None),
    ("-w=protobuf put foo bar3", None),
    ("-w table put foo bar3", None),
    ("put --prev-kv foo bar4", None),
    ("--hex put --prev-kv foo bar5", None),
    ("put fromstdin", "stdin value\n"),
    ("put fromempty", ""),
    ("put foo --ignore-value", None),
    ("put foo --ignore-value --ignore-lease", None),
    ("put nokey --ignore-value", None),
    ("put foo x --ignore-value", None),
    ("put foo x --lease=abc", None),
    ("put foo x --lease=zz", None),
    ("put foo x --ignore-lease --lease=1", None),
    ("put onlykey", ""),
    ("put", ""),
    ("put a b c", None),
    ("put|", "", "v"),
    ("put -- -dash v", None),
    ("put|a b|quoted \"val\"", None),
    ("put --prev-kv=false foo3|line1\nline2", None),
    ("put foo2 v2", None),
    ("put|\x01\x02|\xe4\u2028<&>", None),
    # get
    ("get foo", None),
    ("get foo -w json", None),
    ("get foo -w fields", None),
    ("get foo -w protobuf", None),
    ("get foo -w table", None),
    ("get foo --hex", None),
    ("get foo --hex -w json", None),
    ("get foo --print-value-only", None),
    ("get foo --print-value-only -w json", None),
    ("get --prefix foo", None),
    ("get --prefix foo --print-value-only", None),
    ("get --prefix foo --keys-only", None),
    ("-w json get --prefix foo --keys-only", None),
    ("-w json get --prefix foo --limit=1", None),
    ("-w json get --prefix foo --limit 2", None),
    ("get foo foo3", None),
    ("get|foo|", None),
    ("get --from-key foo2", None),
    ("get|--from-key|", None),
    ("get|--prefix|", None),
    ("get missing", None),
    ("-w json get missing", None),
    ("-w fields get missing", None),
    ("get --prefix foo --sort-by=VALUE --order=DESCEND", None),
    ("get --prefix foo --sort-by=value --order=ascend", None),
    ("get --prefix foo --sort-by=CREATE", None),
    ("get --prefix foo --sort-by=MODIFY --order=DESCEND", None),
    ("get --prefix foo --sort-by=VERSION --order=ASCEND", None),
    ("get --prefix foo --sort-by=KEY --order=DESCEND", None),
    ("get foo --rev=3", None),
    ("get foo --rev=-3", None),
    ("get foo --rev=9999", None),
    ("get foo --consistency=s", None),
    ("get foo --consistency=x", None),
    ("get foo --sort-by=bad", None),
    ("get foo --order=bad", None),
    ("get", None),
    ("get a b c", None),
    ("get --prefix --from-key a", None),
    ("get --prefix a b", None),
    ("get -- -dash", None),
    ("get|\x01\x02", None),
    ("-w fields get|\x01\x02", None),
    ("-w json get|\x01\x02", None),
    ("--hex get|\x01\x02", None),
    ("-w bad get foo", None),
    ("get foo --write-out", None),
    ("get foo --nosuch", None),
    ("get foo --limit=x", None),
    ("get foo --limit=9223372036854775808", None),
    ("get foo --prefix=maybe", None),
    ("get foo --command-timeout=5", None),
    ("get foo -x", None),
    ("get foo ---x", None),
    # del
    ("del nokey", None),
    ("put d1 1", None),
    ("del --prev-kv d1", None),
    ("put d1 1", None),
    ("-w json del d1 --prev-kv", None),
    ("put d1 1", None),
    ("-w fields del d1 --prev-kv", None),
    ("put d1 1", None),
    ("put d2 1", None),
    ("-w protobuf del d1 --prev-kv", None),
    ("del --prefix d", None),
    ("del --prefix --from-key d", None),
    ("del --prefix d e", None),
    ("del", None),
    ("del a b c", None),
    ("put z1 1", None),
    ("del --from-key z", None),
    ("del -w table z", None),
    # txn
    ("txn", 'value("foo") = "bar5"\n\nput foo "new value"\nget foo\ndel foo2 --prev-kv\n\nget foo\n\n'),
    ("txn", 'value("foo") = "bar5"\n\nput foo "new value"\nget foo\ndel foo2 --prev-kv\n\nget foo\n\n'),
    ("txn -i", 'mod("foo") > "0"\n\nget foo\n\n\n'),
    ("txn --interactive=true", 'c("foo") > "0"\n\n\n\n'),
    ("-w json txn", 'version("foo") > "0"\n\nput k1 v1\nget k1\n\n\n'),
    ("-w fields txn", 'create("foo") != "0"\n\nput k1 v1\nget k1\n\n\n'),
    ("-w protobuf txn", 'ver("foo") != "0"\n\nget k1\n\n\n'),
    ("-w table txn", 'ver("foo") != "0"\n\nget k1\n\n\n'),
    ("--hex txn", 'ver("foo") < "1000"\n\nget foo\n\n\n'),
    ("txn", "\n\n\n"),
    ("txn", ""),
    ("txn", "\n\n"),
    ("txn", "\n\nget foo"),
    ("txn", "bogus\n\n\n\n"),
    ("txn", 'lease("nokey") = 0\n\nput k1 a\n\n\n'),
    ("txn", 'age("k") = "1"\n\n\n\n'),
    ("txn", 'ver("k") = "x"\n\n\n\n'),
    ("txn", 'ver("k" ) = "1"\n\n\n\n'),
    ("txn", 'ver("k")= "1"\n\n\n\n'),
    ("txn", 'val("foo") = "x"\nver("z") = "0"\n\nput k1 a\nput k1 b\n\n\n'),
    ("txn", 'val("foo") = "x"\n\nbad op\n\n\n'),
    ("txn", "\nput\n\n\n"),
    ("txn", '\nput k "\\q"\n\n\n'),
    ("txn", "\nget a --order=bad\n\n\n"),
    ("txn", '\n  put k1 "a b"  \nget k1 --print-value-only\nd nokey\n\n\n'),
    ("txn argument", ""),
    # compaction
    ("compaction 5", None),
    ("compaction 5", None),
    ("compaction 99999", None),
    ("compaction --physical 6", None),
    ("compaction", None),
    ("compaction x", None),
    ("compaction 1 2", None),
    ("get foo --rev=2", None),
    ("comp 7", None),
    # members, endpoints, alarms
    ("member list", None),
    ("member list -w json", None),
    ("member list -w protobuf", None),
    ("member list -w table", None),
    ("endpoint health", None),
    ("endpoint health -w json", None),
    ("endpoint health -w fields", None),
    ("endpoint health -w table", None),
    ("endpoint health -w protobuf", None),
    ("endpoint health --cluster", None),
    ("endpoint status -w protobuf", None),
    ("endpoint hashkv -w protobuf", None),
    ("endpoint status -w json", None),
    ("endpoint hashkv -w json", None),
    ("endpoint hashkv --rev=8 -w json", None),
    ("endpoint hashkv --rev=99999", None),
    ("endpoint hashkv --cluster -w json", None),
    ("alarm list", None),
    ("alarm list -w json", None),
    ("alarm list -w json --hex", None),
    ("alarm list -w table", None),
    ("alarm list x", None),
    ("alarm disarm", None),
    ("alarm disarm -w json", None),
    ("alarm disarm x", None),
    # no server there
    ("--endpoints=127.0.0.1:1 --command-timeout=300ms get foo", None),
    ("--endpoints=127.0.0.1:1 --command-timeout=300ms put a b", None),
    ("--endpoints=127.0.0.1:1 --command-timeout=300ms endpoint status", None),
    ("--endpoints=127.0.0.1:1 --command-timeout=300ms endpoint hashkv", None),
    ("--endpoints=127.0.0.1:1 --command-timeout=300ms endpoint health", None),
    ("--endpoints=127.0.0.1:1 --command-timeout=300ms endpoint health -w json", None),
    ("--endpoints=127.0.0.1:1,{endpoint} get foo", None),
    ("--endpoints={endpoint},127.0.0.1:1 --command-timeout=300ms endpoint health", None),
    ("--endpoints=http://{endpoint} get foo", None),
    ("--command-timeout=0s get foo", None),
    # a user where there is no authentication
    ("--user=nobody:pw get foo", None),
    ("--user=nobody --password=pw get foo", None),
    # commands
    ("nosuch", None),
    ("gett foo", None),
    ("memb list", None),
    ("l list", None),
    ("pu", None),
    ("alarm l", None),
    ("help nosuch", None),
]

AUTH = [
    ("get foo", None),
    ("put foo bar", None),
    ("endpoint health", None),
    ("--user=root:pw put foo bar", None),
    ("--user=root --password=pw get foo", None),
    ("--user=root --password=bad get foo", None),
    ("--user=root:bad put foo bar", None),
    ("--user=nobody:pw get foo", None),
    ("--user=alice:pw get foo", None),
    ("--user=alice:pw get alices", None),
    ("--user=alice:pw put alices 1", None),
    ("--user=alice:pw endpoint health", None),
    ("--user=alice:pw txn", '\nput alices 2\nget alices\n\n\n'),
    ("--user=alice:pw txn", '\nput alices 2\nget foo\n\n\n'),
    ("--user=root:pw compaction 2", None),
    ("--user=root:pw endpoint health --cluster", None),
    ("--user=root:pw member list", None),
    ("--user=root:pw alarm list", None),
]
AUTH_SETUP = ["user add root:pw", "user grant-role root root", "user add alice:pw", "role add r",
              "role grant-permission r readwrite alices", "user grant-role alice r", "auth enable"]

# The size that a quota is compared with is that of what has been committed, every 100 ms: SETTLE
# makes both sessions see the same.
SETTLE = ("(settle)", None)
QUOTA = [
    ("put|big1|" + "x" * 60000, None), SETTLE,
    ("put|big2|" + "x" * 60000, None), SETTLE,
    ("put|big3|" + "x" * 60000, None), SETTLE,
    ("put|big4|" + "x" * 60000, None), SETTLE,
    ("put q 1", None),
    ("alarm list", None),
    ("alarm list -w json", None),
    # endpoint health looks at alarms from 3.5 on: not compared
    ("endpoint status -w json", None),
    ("get q", None),
    ("del --prefix big", None),
    ("alarm disarm", None),
    ("alarm list", None),
]

# "{lease}" is the lease that was granted last.
LEASE = [
    ("lease grant 600", None),
    ("put a 1 --lease={lease}", None),
    ("put b 1 --lease={lease}", None),
    ("del b", None),
    ("lease timetolive {lease}", None),
    ("lease timetolive --keys {lease}", None),
    ("lease timetolive --keys {lease} -w json", None),
    ("lease timetolive {lease} -w json", None),
    ("lease timetolive --keys {lease} -w fields", None),
    ("lease timetolive {lease} -w protobuf", None),
    ("lease timetolive {lease} -w table", None),
    ("get a -w json", None),
    ("get a -w fields", None),
    ("lease keep-alive --once {lease}", None),
    ("lease keep-alive --once {lease} -w json", None),
    ("lease keep-alive --once {lease} -w fields", None),
    ("lease keep-alive --once {lease} -w protobuf", None),
    ("lease keep-alive --once 4711", None),
    ("lease keep-alive 4711", None),
    ("lease keep-alive 4711 -w json", None),
    ("lease keep-alive zz", None),
    ("lease keep-alive", None),
    ("lease list", None),
    ("lease list -w json", None),
    ("lease list -w fields", None),
    ("lease list -w protobuf", None),
    ("lease list -w table", None),
    ("lease revoke {lease} -w fields", None),
    ("lease revoke {lease}", None),
    ("lease timetolive {lease} --keys", None),
    ("lease timetolive {lease} -w json", None),
    ("lease timetolive 1", None),
    ("lease timetolive -- -1", None),
    ("lease timetolive", None),
    ("lease timetolive a b", None),
    ("lease timetolive xyz", None),
    ("lease list -w json", None),
    ("lease list", None),
    ("get a", None),
    ("lease grant 60 -w json", None),
    ("lease grant 60 -w fields", None),
    ("lease grant 60 -w protobuf", None),
    ("lease grant 60 -w table", None),
    ("lease grant 60", None),
    ("lease revoke {lease}", None),
    ("lease grant 60", None),
    ("lease revoke {lease} -w json", None),
    ("lease grant 60", None),
    ("lease revoke {lease} -w protobuf", None),
    ("lease grant 0", None),
    ("lease grant abc", None),
    ("lease grant 99999999999999999999", None),
    ("lease grant 9000000001", None),
    ("lease grant", None),
    ("lease grant 1 2", None),
    ("lease revoke", None),
    ("lease revoke 1 2", None),
    ("lease revoke zz", None),
    ("lease revoke ffffffffffffffff", None),
    ("lease revoke 12", None),
    ("lease", None),
]

# (name, cases, commands of theirs that come before, flags of the server)
SESSIONS = [
    ("main", MAIN, [], []),
    ("auth", AUTH, AUTH_SETUP, []),
    ("lease", LEASE, [], []),
    ("quota", QUOTA, [], ["--quota-backend-bytes=120000"]),
]

# Lines that belong to the log, in the styles of both programs.
LOG_LINE = re.compile(r'^(\{"level":|\d{4}[-/]\d\d[-/]\d\d |(INFO|WARNING|ERROR): \d{4}/)')
DURATION = re.compile(r"\b\d+(\.\d+)?(ns|µs|ms|s)\b")


def op_name(match):
    return '"response_' + re.sub(r"(?<=.)([A-Z])", r"_\1", match.group(1)).lower() + '":'


def words(line):
    """Arguments: split at blanks up to the first '|', then at each '|'."""
    head, *rest = line.split("|")
    return head.split() + rest


def free_pair():
    """A port that nobody uses, and the next one too; below the range of outgoing connections, which
    would come back to it between two servers."""
    for port in range(10000 + os.getpid() * 37 % 20000, 32000, 2):
        try:
            for one in (port, port + 1):
                with socket.socket() as probe:
                    probe.bind(("127.0.0.1", one))
            return port
        except OSError:
            continue
    sys.exit("Bail out! no free ports")


def start(server, directory, port, flags):
    client, peer = f"http://127.0.0.1:{port}", f"http://127.0.0.1:{port + 1}"
    with open(os.path.join(directory, "log"), "wb") as log:
        process = subprocess.Popen(
            [server, "--data-dir", os.path.join(directory, "data"),
             "--listen-client-urls", client, "--advertise-client-urls", client,
             "--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer,
             "--initial-cluster", f"default={peer}"] + flags, stdout=log, stderr=log)
    for _ in range(200):
        try:
            with urllib.request.urlopen(client + "/health", timeout=1) as reply:
                if b'"true"' in reply.read():
                    return process
        except OSError:
            pass
        if process.poll() is not None:
            break
        time.sleep(0.05)
    sys.exit(f"Bail out! {server} does not become healthy, see {directory}/log")


def run(program, arguments, stdin, endpoint):
    if arguments == ["(settle)"]:
        time.sleep(0.4)
        return 0, b"", b""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("ETCDCTL_")}
    environment["ETCDCTL_ENDPOINTS"] = endpoint
    if "--endpoints" in " ".join(arguments):
        del environment["ETCDCTL_ENDPOINTS"]
    done = subprocess.run([program] + arguments, env=environment, capture_output=True, timeout=60,
                          input=(stdin or "").encode())
    return done.returncode, done.stdout, done.stderr


def session(program, options, port, cases, setup, flags):
    directory = tempfile.mkdtemp(prefix="etcdctl-compare-", dir=os.environ.get("TMPDIR", "/var/tmp"))
    process = start(options.server, directory, port, flags)
    endpoint = f"127.0.0.1:{port}"
    try:
        for line in setup:
            code, _, errors = run(options.theirs, words(line), None, endpoint)
            if code != 0:
                sys.exit(f"Bail out! {line}: {errors.decode()}")
        answers = []
        lease = ""
        for case in cases:
            arguments = [w.replace("{endpoint}", endpoint).replace("{lease}", lease) for w in words(case[0])]
            answers.append(run(program, arguments, case[1] if len(case) == 2 else case[2], endpoint))
            granted = re.match(rb"lease ([0-9a-f]{16}) granted with TTL\(\d+s\)\n", answers[-1][1])
            lease = granted.group(1).decode() if granted else lease
        return answers
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)
        shutil.rmtree(directory)


def plain_output(text):
    text = text.decode("utf-8", "surrogateescape")
    # 3.4 shows the oneof of a transaction's answers under Go's names; raft's counters and the sizes
    # of the file depend on when one looks.
    text = re.sub(r'"Response(Put|Range|DeleteRange)":', op_name, text)
    text = re.sub(r'"(raftIndex|raftAppliedIndex|dbSize|dbSizeInUse)":\d+', r'"\1":0', text)
    # Ids of leases differ, and what is left of them.
    text = re.sub(r"\blease [0-9a-f]{16}\b|^[0-9a-f]{16}$", "<lease>", text, flags=re.M)
    text = re.sub(r'("ID"|"id"|"Lease"|"lease")( ?: ?)\d{15,}', r"\1\2<lease>", text)
    text = re.sub(r'("ttl"|"TTL")( ?: ?)5\d\d\b', r"\1\2<left>", text)
    # Help differs in its words; that there is help is what counts.
    if text.startswith("NAME:"):
        return "(help)"
    return DURATION.sub("<took>", text)


def plain_table(text):
    """Tables of durations are as wide as these."""
    return "\n".join(re.sub(r"[ -]+", " ", line) for line in text.split("\n")) if "+-" in text else text


def plain_errors(text):
    lines = [DURATION.sub("<took>", line) for line in text.decode("utf-8", "surrogateescape").split("\n")
             if line and not LOG_LINE.match(line)]
    # The error again, suggestions and all.
    for size in range(1, len(lines) // 2 + 1):
        if lines[-size:] == lines[:size] and lines[0].startswith("Error:"):
            return lines[:-size]
    return lines


HEALTHY = re.compile(rb"^.* is healthy: .*\n", re.M)


def differences(theirs, ours):
    if theirs[0] != ours[0]:
        yield f"exit code {theirs[0]}, ours {ours[0]}"
    if HEALTHY.search(theirs[2]):  # 3.4 reports good health on standard error
        good = b"".join(HEALTHY.findall(theirs[2]))
        theirs = (theirs[0], theirs[1] + good, HEALTHY.sub(b"", theirs[2]))
    a, b = plain_table(plain_output(theirs[1])), plain_table(plain_output(ours[1]))
    if a != b:
        yield f"output {a!r}"
        yield f"  ours {b!r}"
    a, b = plain_errors(theirs[2]), plain_errors(ours[2])
    if a != b:
        yield f"errors {a!r}"
        yield f"  ours {b!r}"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("ours")
    parser.add_argument("--theirs", default="/usr/bin/etcdctl")
    parser.add_argument("--server", default="etcd")
    parser.add_argument("--port", type=int, default=0, help="0: one that is free")
    parser.add_argument("--session", action="append", help="only this one: main, auth, lease, quota")
    parser.add_argument("-k", default="", help="print only cases with this word")
    options = parser.parse_args()
    for program in (options.theirs, options.server):
        if shutil.which(program) is None:
            print(f"1..0 # SKIP {program} is not installed")
            return 0
    port = options.port
    if port == 0:
        port = free_pair()
    number = failed = 0
    for name, cases, setup, flags in SESSIONS:
        if options.session and name not in options.session:
            continue
        theirs = session(options.theirs, options, port, cases, setup, flags)
        ours = session(options.ours, options, port, cases, setup, flags)
        for case, a, b in zip(cases, theirs, ours):
            if case is SETTLE:
                continue
            number += 1
            found = list(differences(a, b))
            failed += bool(found)
            if options.k in case[0]:
                title = repr(case[0][:60]).replace("#", "\\#")
                print(f"{'not ok' if found else 'ok'} {number} - {name}: {title}")
                for line in found:
                    print(f"#   {line}")
    print(f"1..{number}")
    return 1 if failed else 0


sys.exit(main())
