"""Several runners on one results folder and one cache: every run is done once, and all see the same leaderboard."""

from collections import Counter

import pytest

RUNNERS = 4
ROUNDS = [
    pytest.param(1, 6, id="short"),
    pytest.param(3, 40, id="long", marks=[pytest.mark.long, pytest.mark.timeout(3600)]),
]


@pytest.mark.parametrize(("rounds", "seeds"), ROUNDS)
def test_four_runners_at_once_do_each_run_once(program, plugin, fresh, outcome, tmp_path, rounds, seeds):
    command = (
        "run", "--data", "tiny.npz", "--plugin", plugin, "--models", "counted",
        "--strategies", "none,over-sampling,post-hoc-adjustment", "--seeds", ",".join(map(str, range(seeds))),
    )  # fmt: skip
    for number in range(rounds):
        fresh(f"round-{number}")
        processes = [program.start(*command, "--results", f"results-{number}") for _ in range(RUNNERS)]
        printed = [process.communicate(timeout=1200)[0] for process in processes]
        assert [process.returncode for process in processes] == [0] * RUNNERS, "\n".join(printed)
        fits = Counter((tmp_path / "fits.txt").read_text().split())
        assert fits == {str(seed): 2 for seed in range(seeds)}
        (tmp_path / "fits.txt").unlink()
        folder = tmp_path / f"results-{number}" / "tiny"
        assert len(list(folder.glob("runs/*/record.json"))) == 3 * seeds
        assert not list(folder.glob("runs/.*"))
    assert (
        len({str(outcome(tmp_path / f"results-{number}" / "tiny")["leaderboard.csv"]) for number in range(rounds)}) == 1
    )
