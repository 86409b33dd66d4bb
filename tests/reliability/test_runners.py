"""Several runners on one results folder and one cache: every run is done once, what fails too, and all see the same."""

from collections import Counter

import pytest

RUNNERS = 4
ROUNDS = [
    pytest.param(1, 3, id="short"),
    pytest.param(3, 40, id="long", marks=[pytest.mark.long, pytest.mark.timeout(3600)]),
]


@pytest.mark.parametrize(("rounds", "seeds"), ROUNDS)
def test_four_runners_at_once_do_each_run_once(program, plugin, fresh, outcome, records, tmp_path, rounds, seeds):
    command = (
        "run", "--data", "tiny.npz", "--plugin", plugin, "--models", "counted,raises",
        "--strategies", "none,over-sampling,post-hoc-adjustment", "--seeds", ",".join(map(str, range(seeds))),
    )  # fmt: skip
    for number in range(rounds):
        fresh(f"round-{number}")
        processes = [program.start(*command, "--results", f"results-{number}") for _ in range(RUNNERS)]
        printed = [process.communicate(timeout=1200)[0] for process in processes]
        assert [process.returncode for process in processes] == [1] * RUNNERS, "\n".join(printed)
        fits = Counter((tmp_path / "fits.txt").read_text().split())
        assert fits == {str(seed): 4 for seed in range(seeds)}
        (tmp_path / "fits.txt").unlink()
        folder = tmp_path / f"results-{number}" / "tiny"
        statuses = Counter((model, record["status"]) for (model, *_), record in records(folder).items())
        assert statuses == {("counted", "success"): 3 * seeds, ("raises", "failed"): 3 * seeds}
        assert not list(folder.glob("runs/.*"))
    assert (
        len({str(outcome(tmp_path / f"results-{number}" / "tiny")["leaderboard.csv"]) for number in range(rounds)}) == 1
    )
