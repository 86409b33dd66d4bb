"""The command line: lists, plans, and bad input in one message with exit code 2."""

import errno
import os
import re
from pathlib import Path

import numpy as np
import pytest

from fer_bench import cli
from fer_bench.records.folder import RECORDS_FILE


@pytest.fixture
def folder(tmp_path) -> Path:
    """The test's folder, with good and bad data in it."""
    folder = tmp_path
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (90, 12, 12), dtype=np.uint8)
    np.savez(folder / "good.npz", images=images, labels=np.arange(90) % 3)
    np.savez(folder / "small.npz", images=images, labels=np.array([0] * 88 + [1, 1]))
    (folder / "empty.csv").write_text("")
    (folder / "broken.py").write_text("import fer_bench\n\n1 / 0\n")
    (folder / "typo.py").write_text("def f(:\n")
    (folder / "twice.py").write_text(
        "from fer_bench import register_model\n"
        "register_model('cnn', features='pca', summary='again')(lambda task: None)\n"
    )
    for name, fields in {"family": "family='quantum'", "brief": "steps={'quick': 9}"}.items():
        (folder / f"{name}.py").write_text(
            "from fer_bench import register_model\n"
            f"register_model({name!r}, features='pca', summary='', {fields})(lambda task: None)\n"
        )
    (folder / "one" / "happy").mkdir(parents=True)
    (folder / "file").write_text("in the way")
    (folder / "results" / "none-yet" / "runs").mkdir(parents=True)
    (folder / "evidence" / "good").mkdir(parents=True)
    (folder / "evidence" / "good" / RECORDS_FILE).write_bytes(b"")
    return folder


def test_list_shows_every_card_with_its_place(command, folder):
    short, long = command("list"), command("list", "models", "-v")
    assert short.returncode == long.returncode == 0
    for name in ("hog-svm", "vgg16", "stratified-guess", "under-sampling", "classical"):
        assert name in short.stdout
    assert re.search(r"classical\.py:\d+", long.stdout) and "224x224x3" in long.stdout


def test_plan_says_what_is_due_and_what_does_not_apply(command, folder):
    done = command("plan", "--data", "good.npz", "--models", "hog-svm", "--seeds", "0,1")
    assert done.returncode == 0, done.stderr
    assert "n/a: hog-svm: cannot be trained with focal loss" in done.stdout
    assert "7 of 8 runs due" in done.stdout
    assert not (folder / "results" / "good").exists()


def test_run_dry_run_is_the_plan(command, folder):
    arguments = ("--data", "good.npz", "--models", "pca-*")
    plan, dry = command("plan", *arguments), command("run", "--dry-run", *arguments)
    assert plan.stdout == dry.stdout and "due" in plan.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("run", "--data", "nowhere.csv"), ["nowhere.csv"]),
        (("run", "--data", "empty.csv"), ["empty.csv", "empty"]),
        (("run", "--data", "one"), ["one", "class"]),
        (("run", "--data", "small.npz"), ["1: 2 images", "at least 3"]),
        (("run", "--suite", "al"), ["no suite 'al'", "all, classical, deep, zoo, smoke"]),
        (("run", "--data", "good.npz", "--models", "hog-swm"), ["no model 'hog-swm'", "did you mean 'hog-svm'"]),
        (("run", "--data", "good.npz", "--strategies", "class-weight"), ["did you mean 'class-weights'"]),
        (("run", "--data", "good.npz", "--seeds", "0,x"), ["--seeds 0,x", "0,1,2"]),
        (("run", "--data", "good.npz", "--seeds", "-1"), ["not negative"]),
        (("run", "--data", "good.npz", "--seeds", "4294967296"), ["--seeds", "at most"]),
        (("tune", "hog-svm", "--seed", "4294967295"), ["--seed"]),
        (("data", "make", "new", "--seed", "-1"), ["--seed"]),
        (("report", "--name", "none-yet"), ["no records in"]),
        (("report", "--name", "none-yet", "--slices", "age"), ["--slices", "--images"]),
        (("run", "--budget", "huge"), ["--budget", "quick"]),
        (("run", "--data", "good.npz", "--folds", "1"), ["--folds 1", "2 to 999"]),
        (("run", "--data", "good.npz", "--folds", "1000"), ["2 to 999"]),
        (("run", "--data", "good.npz", "--folds", "40"), ["at least 40 distinct images"]),
        (("run", "--augment", "mirror,spin"), ["spin", "erasing"]),
        (("run", "--precision", "float8"), ["--precision", "bfloat16"]),
        (("run", "--data", "good.npz", "--tuned"), ["nothing was tuned"]),
        (("tune", "hog-swm"), ["no model 'hog-swm'", "did you mean 'hog-svm'"]),
        (("tune", "majority"), ["majority has nothing to tune"]),
        (("run", "--plugin", "broken.py"), ["broken.py", "ZeroDivisionError", ":3"]),
        (("run", "--plugin", "typo.py"), ["typo.py", "line 1"]),
        (("run", "--plugin", "twice.py"), ["twice.py:2", "'cnn' is already registered", "scratch.py"]),
        (("plan", "--plugin", "family.py"), ["family.py:2", "'quantum'", "baseline or classical or deep"]),
        (
            ("plan", "--data", "good.npz", "--plugin", "brief.py", "--models", "brief", "--budget", "full"),
            ["no gradient", "brief"],
        ),
        (("run", "--plugin", "missing.py"), ["missing.py", "no such file"]),
        (("run", "--weights", "nowhere.h5"), ["nowhere.h5"]),
        (("run", "--data", "good.npz", "--results", "file", "--models", "majority"), ["file", "cannot be written"]),
        (("audit", "--data", "good.npz", "--results", "evidence"), ["good is published evidence"]),
        (("run", "--data", "good.npz", "--name", "../up"), ["../up"]),
        (("report", "--name", "nothing"), ["no results in", "nothing"]),
        (("report", "--name", "../up"), ["../up"]),
        (("list", "modles"), ["modles"]),
        (("data", "make", "file"), ["file"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_bad_input_is_one_message_and_exit_code_2(command, folder, arguments, words):
    done = command(*arguments)
    assert done.returncode == 2, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    said = " ".join(done.stderr.split())
    for word in words:
        assert word in said, said


@pytest.mark.parametrize("given", [("plan",), ("run",), ("run", "--dry-run")], ids=" ".join)
def test_networks_without_a_backend_are_refused_before_anything_is_done(command, folder, monkeypatch, given):
    monkeypatch.setenv("KERAS_BACKEND", "foo")
    done = command(*given, "--data", "nowhere.csv", "--models", "cnn")
    assert done.returncode == 2 and not done.stdout and not (folder / "results" / "good").exists()
    assert "KERAS_BACKEND is 'foo'" in done.stderr and done.stderr.count("\n") == 1
    assert "nowhere.csv" in command(*given, "--data", "nowhere.csv", "--models", "hog-*").stderr


def test_damaged_record_is_named(command, folder):
    run = folder / "results" / "broken" / "runs" / "majority.none.s0-0123456789"
    run.mkdir(parents=True)
    (run / "record.json").write_text("{}")
    done = command("report", "--name", "broken")
    assert done.returncode == 2 and "majority.none.s0-0123456789" in done.stderr


def test_data_make_writes_faces_that_are_read_back(command, folder):
    assert command("data", "make", "faces", "--n-images", "120").returncode == 0
    done = command("data", "describe", "--data", "faces")
    assert done.returncode == 0 and "120" in done.stdout and "disgust" in done.stdout


def test_a_leaderboard_is_judged_again_only_when_something_could_have_changed(command, folder):
    given = ("run", "--data", "good.npz", "--models", "majority", "--name", "again")
    first, second = command(*given), command(*given)
    assert first.returncode == second.returncode == 0, first.stderr + second.stderr
    assert "results/again/leaderboard.md\n" in first.stdout and "Up to date" not in first.stdout
    assert "Up to date: results/again/leaderboard.md" in second.stdout
    page = folder / "results" / "again" / "leaderboard.md"
    content = page.read_bytes()
    page.write_text("edited")
    third = command(*given)
    assert "Up to date" not in third.stdout and page.read_bytes() == content


@pytest.mark.parametrize(
    ("given", "advice"),
    [
        (("run",), "to go on"),
        (("plan",), "to go on"),
        (("tune", "pca-svm"), "to go on"),
        (("run", "--rerun", "all"), "all over again"),
    ],
)
def test_a_stop_before_anything_is_trained_says_how_to_go_on(command, folder, monkeypatch, given, advice):
    def stopped(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("fer_bench.execution.prepare", stopped)
    done = command(*given, "--data", "good.npz")
    assert done.returncode == 130
    told, again = done.stdout.split(":\n", 1)
    assert "Stopped." in told and advice in told and " ".join(given) in again


def test_a_full_disk_is_said_with_where_and_what_is_kept_only_where_it_is(command, folder, monkeypatch):
    def full(_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    given = ("run", "--data", "good.npz", "--models", "majority", "--name", "full")
    assert command(*given).returncode == 0
    monkeypatch.setattr("fer_bench.cache.sync", full)
    again, report = command(*given, "--rerun", "all"), command("report", "--name", "full")
    assert again.returncode == report.returncode == 2
    assert "results/full/data_card.md: No space left" in report.stderr and "kept" not in report.stderr
    assert "what is finished is kept" in again.stderr


def test_want_of_memory_is_one_message(monkeypatch, capsys):
    def greedy() -> None:
        raise MemoryError("Unable to allocate 80 GiB")

    monkeypatch.setattr(cli, "app", greedy)
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 2
    assert "not enough memory (Unable to allocate 80 GiB)" in capsys.readouterr().err
