"""The examples say what they promise, on Go's etcd and on ours."""
import os
import subprocess

from client_common import servers
from harness import BUILD, ROOT, Skip, ctl, equal, run, scratch, test


def output(server, name):
    """What the script prints; it has nothing to complain of, and leaves no key behind."""
    env = {k: v for k, v in os.environ.items() if not k.startswith("ETCDCTL_")}
    env.update(PATH=os.path.abspath(BUILD) + ":" + env["PATH"], ETCDCTL_ENDPOINTS=server.url[7:], TMPDIR=scratch("example"))
    done = subprocess.run([os.path.join(ROOT, "examples", name)], env=env, capture_output=True, text=True,
                          timeout=90, check=False)
    if done.returncode != 0:
        raise AssertionError(f"{name}: status {done.returncode}\n{done.stdout}{done.stderr}")
    equal(done.stderr, "", name)
    equal(ctl(server, "get", "--prefix", "", "--keys-only")[1], "", name)
    return done.stdout


@test
def services_register_are_discovered_and_vanish():
    for server in servers():
        lines = output(server, "register.sh").split("\n")
        equal(lines[:5], ["Instances of /services/web:", "/services/web/one", "10.0.0.1:80",
                          "/services/web/two", "10.0.0.2:80"])
        equal(lines[6:8], ["/services/web/two", "10.0.0.2:80"])
        equal(sorted(lines[9:11]), ['discovered: "PUT" "/services/web/one" "10.0.0.1:80"',
                                    'discovered: "PUT" "/services/web/two" "10.0.0.2:80"'])
        equal(lines[11], 'discovered: "DELETE" "/services/web/one" ""')


@test
def configuration_is_pushed():
    for server in servers():
        lines = output(server, "config.sh").split("\n")
        equal(lines[0], "Loaded at revision 3:")
        equal(lines[5:8], ['reload: "/config/app/workers" is now "8"', 'reload: "/config/app/workers" is now "16"',
                           'reload: "/config/app/level" is now "debug"'])


@test
def a_lock_keeps_a_counter_right():
    for server in servers():
        equal(output(server, "lock.sh"), "The counter is 10 after 10 increments.\n")


@test
def an_ordered_lock_keeps_the_order():
    for server in servers():
        equal(output(server, "ordered_lock.sh").split("\n")[-4:], ["ann", "bob", "carl", ""])


@test
def a_queue_gives_each_job_once():
    for server in servers():
        equal(output(server, "queue.sh"),
              "Queued: 6 jobs.\nTaken, each once:\n" + "".join(f"job-{n}\n" for n in range(1, 7)))


@test
def another_leads_when_the_leader_goes():
    for server in servers():
        equal(output(server, "leader.sh"), "Leads: 10.0.0.1\nIt resigns.\nLeads: 10.0.0.2\n")


@test
def tasks_report_and_the_dead_are_missed():
    for server in servers():
        equal(output(server, "report.sh"),
              "Reported:\n/jobs/build/compile\n/jobs/build/link\nThe linker dies.\nLeft:\n/jobs/build/compile\ndone\n")


@test
def money_moves_with_the_library():
    program = os.path.join(BUILD, "examples/transfer")
    if not os.access(program, os.X_OK):
        raise Skip(f"{program} is not built")
    for server in servers():
        done = subprocess.run([program, server.url[7:]], capture_output=True, text=True, timeout=30, check=True)
        equal(done.stdout, "30: moved\n50: moved\n90: the transaction was given up by its body\n"
                           "/accounts/ann has 20\n/accounts/bob has 80\n")


if __name__ == "__main__":
    run()
