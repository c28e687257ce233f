"""The harness itself: what two programs of tests that run side by side must not do to each other."""
import gc
import subprocess
import sys

import harness
from harness import PORTS, Server, equal, free_port, release_port, run, test

HERE = harness.__file__.rsplit("/", 1)[0]


def ports_of_another_program(start, count):
    """What a second program is given, if it begins to look for ports at the same one."""
    program = f"import harness; harness._next_port[0] = {start}; print(*(harness.free_port() for _ in range({count})))"
    done = subprocess.run([sys.executable, "-c", program], cwd=HERE, capture_output=True, text=True, check=True)
    return [int(port) for port in done.stdout.split()]


@test
def two_programs_are_never_given_the_same_port():
    start = harness._next_port[0]
    ours = [free_port() for _ in range(20)]
    theirs = ports_of_another_program(start, 20)
    equal(set(ours) & set(theirs), set())
    assert set(ours) | set(theirs) <= set(PORTS), (ours, theirs)
    for port in ours:
        release_port(port)
    again = ports_of_another_program(start, 20)
    assert set(ours) & set(again), "ports that were given back are given to others"


@test
def a_server_that_is_down_finds_its_ports_when_it_comes_back():
    start = harness._next_port[0]
    server = Server().start()
    server.stop()
    mine = {server.port, server.peer_port}
    equal(mine & set(ports_of_another_program(start, 10)), set())
    server.start()
    server.kill()
    equal(mine & set(ports_of_another_program(start, 10)), set())
    del server
    gc.collect()
    assert not mine & set(harness._ports), "they are kept as long as the server object, and no longer"


if __name__ == "__main__":
    run()
