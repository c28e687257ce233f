"""The table of bug classes names tests; each of them is there, so that none is lost by a renaming."""
import glob
import os
import re

from harness import ROOT, run, test


def table():
    with open(os.path.join(ROOT, "docs/notes/bug-classes.md"), encoding="utf-8") as page:
        return page.read()


def read(path):
    with open(path, encoding="utf-8") as file:
        return file.read()


@test
def every_unit_test_that_the_bug_classes_name_is_there():
    found = set()
    for path in glob.glob(os.path.join(ROOT, "src/*/*_test.c")):
        found |= set(re.findall(r"^TEST\((\w+),\s*(\w+)\)", read(path), re.M))
    named = re.findall(r"`(\w+): (\w{8,})`", table())
    missing = [f"{module}: {name}" for module, name in named if (module, name) not in found]
    if missing or len(named) < 60:
        raise AssertionError(f"{len(named)} named, not there: {missing}")


@test
def every_program_and_part_of_it_that_the_bug_classes_name_is_there():
    named = re.findall(r"`(\w+_test\.py)(?: (\w+))?`", table())
    for program, part in named:
        path = os.path.join(ROOT, "test/e2e", program)
        if not os.path.exists(path):
            raise AssertionError(f"{program} is not there")
        # Tests of failpoints are made from the list of points.
        text = read(path) + read(os.path.join(ROOT, "test/e2e/failpoints.py"))
        if part and part not in text:
            raise AssertionError(f"{program} has no test of {part}")
    for transcript in re.findall(r"`(\w+\.txt)`", table()):
        if not os.path.exists(os.path.join(ROOT, "test/raft", transcript)):
            raise AssertionError(f"{transcript} is not there")


if __name__ == "__main__":
    run()
