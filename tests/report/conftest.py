"""Small leaderboards as a suite leaves them, judged once a session."""

import numpy as np
import pytest
from stored import StoredRuns

from fer_bench.analysis import Leaderboard, load_leaderboard

FAMILIES = {"cnn": "deep", "hog-svm": "classical", "pca-forest": "classical", "majority": "baseline"}
SKILLS = {"cnn": 2.5, "hog-svm": 1.5, "pca-forest": 0.9, "majority": 0.0}
HISTORY = "step,epoch,loss,val_loss,val_macro_f1\n10,1.0,2.0,2.2,0.2\n20,2.0,1.0,1.4,0.5\n30,3.0,0.7,1.3,0.6\n"
HOSTILE = "a) [c](javascript:alert(2)) <img src=x onerror=alert(3)> (x"
HOSTILE_CLASSES = ("</script><script>alert(1)</script>", "嫌悪 اشمئزاز", '"><svg onload=alert(4)>')


def judged(path, class_names: tuple[str, ...], mark: str = "") -> Leaderboard:
    """Four models, three of them under three strategies, the network twice, on 120 test images, 90 without copies.

    mark: stands in every name and note.
    """
    runs = type("Runs", (StoredRuns,), {"CLASS_NAMES": class_names})(path, 120)
    for model, skill in SKILLS.items():
        for strategy in ("none", "class-weights", "over-sampling")[: 1 if model == "majority" else 3]:
            for seed in range(2 if model == "cnn" else 1):
                number = len(runs.folder.records())
                record = runs.add(
                    model + mark, runs.predictions(skill, number), strategy, seed=seed, family=FAMILIES[model],
                    notes=[f"a note {mark}"], n_parameters=1000 + number, ms_per_image=1.0,
                    seconds={"load": 0.0, "features": 2.0, "fit": 60.0 * number + 1, "predict": 0.1, "score": 0.1},
                )  # fmt: skip
                place = runs.folder.record_path(record.run_id).parent
                (place / "log.txt").write_text(f"success: done {mark}\n")
                if model == "cnn":
                    (place / "history.csv").write_text(HISTORY)
    runs.mark_copies(np.arange(120) % 4 == 0)
    runs.write_audit(near_in_train=30)
    return load_leaderboard(runs.folder)


@pytest.fixture(scope="session")
def judged_board(tmp_path_factory) -> Leaderboard:
    return judged(tmp_path_factory.mktemp("judged") / "faces", ("angry", "disgust", "happy"))


@pytest.fixture(scope="session")
def hostile_board(tmp_path_factory) -> Leaderboard:
    return judged(tmp_path_factory.mktemp("hostile") / f"faces {HOSTILE}", HOSTILE_CLASSES, HOSTILE)
