"""How soon the program is there: help, lists, plans, the same command again, and a run that has nothing to learn.

Ratios are of CPU seconds to those of a bare `python -c pass`, or of the same libraries imported: other work on the
machine weighs little on them.
"""

import statistics

import pytest
from settings import QUICK

pytestmark = pytest.mark.timeout(1800)
COMMANDS = {
    "--help": ("--help",),
    "list": ("list",),
    "plan": ("plan",),
    "plan of 10,000 runs": ("plan", "--suite", "zoo", "--seeds", ",".join(map(str, range(48)))),
}
TARGETS = {"plan of 10,000 runs": 2.0}  # seconds
LIBRARIES = "import fer_bench.execution.worker, sklearn.metrics, sklearn.dummy"
MODEL, STRATEGY = "stratified-guess", "none"


def cheapest(start, rounds):
    """The least CPU seconds of several calls of `start`, which returns a `Took`."""
    return min(start().cpu for _ in range(rounds))


@pytest.mark.parametrize("name", COMMANDS)
def test_command(benchmark, tell, program, faces, name):
    command = (*COMMANDS[name], *(("--data", faces(300)) if name.startswith("plan") else ()))
    rounds, took = 1 if QUICK else 5, []
    program(*command)  # decodes, and compiles what was never imported
    benchmark.pedantic(lambda: took.append(program(*command)), rounds=rounds)
    bare = cheapest(lambda: program.python("-c", "pass"), rounds)
    target, median = TARGETS.get(name), benchmark.stats.stats.median
    tell(
        f"`{name}` over `python -c pass`", min(one.cpu for one in took) / bare,
        f"under {target:g} s" if target else "", median < target if target else None,
        cpu_seconds=min(one.cpu for one in took),
    )  # fmt: skip
    if name in TARGETS:
        n_runs = int(took[0].output.split(" runs due")[0].split(" of ")[-1])
        assert n_runs >= 10_000


def test_the_same_command_again(benchmark, tell, program, faces):
    command = ("--data", faces(300), "--models", "majority,pca-logistic", "--strategies", "none,class-weights")
    first = program("run", *command)
    rounds, took = 1 if QUICK else 5, []
    benchmark.pedantic(lambda: took.append(program("run", *command)), rounds=rounds)
    plan = cheapest(lambda: program("plan", *command), rounds)
    again = min(one.cpu for one in took)
    tell("the same `run` again over `plan`", again / plan, first_run_s=first.seconds, cpu_seconds=again)
    assert "Up to date" in took[0].output


def test_a_trivial_run(benchmark, tell, program, faces):
    """The first run pays for the start; each further one for a process, a record and its place in the leaderboard."""
    seeds, rounds = (2, 1) if QUICK else (11, 3)
    data = faces(300)

    def suite(n: int, name: str) -> float:
        command = ("--data", data, "--models", MODEL, "--strategies", STRATEGY, "--name", name)
        return program("run", *command, "--seeds", ",".join(map(str, range(n)))).seconds

    suite(1, "first")  # decodes and audits
    one = [benchmark.pedantic(suite, args=(1, "one"), rounds=1)]
    one += [suite(1, f"one-{turn}") for turn in range(1, rounds)]
    many = [suite(seeds, f"many-{turn}") for turn in range(rounds)]
    further = (statistics.median(many) - statistics.median(one)) / (seeds - 1)
    bare = statistics.median(program.python("-c", LIBRARIES).seconds for _ in range(rounds))
    tell(
        "a further trivial run in its own process over bare Python that imports the same libraries", further / bare,
        seconds_per_further_run=further, seconds_of_one_run_with_everything=statistics.median(one),
    )  # fmt: skip
    assert len(list((program.folder / "results").glob("many-0/runs/*/record.json"))) == seeds
