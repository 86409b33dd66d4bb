import sys
from pathlib import Path

import pytest

from fer_bench.models.plugins import load_plugins, source_digest


def test_files_of_one_name_in_several_folders_are_loaded_once_each(tmp_path, monkeypatch):
    told: list[str] = []
    monkeypatch.setattr("builtins.told_by_plugins", told, raising=False)
    files = tuple(tmp_path / folder / "mine.py" for folder in ("one", "two"))
    for file in files:
        file.parent.mkdir()
        file.write_text(f"told_by_plugins.append({file.parent.name!r})\n")
    load_plugins(files)
    load_plugins((Path(files[0]), files[1]))
    assert told == ["one", "two"]


PLUGIN = """
import collections
import functools

K = 15
SIDES = (8, K)
LAYERS = [64, (32, None)]
OPTIONS = {"C": 1.0, "sides": [8, 9]}
COUNTS = collections.defaultdict(lambda: 0)

class Helper:
    k = K, SIDES

ONE = Helper()
MIXED = (ONE, print)

@functools.cache
def cached():
    return ONE, MIXED

class Other:
    pass

def mine(task):
    return Helper(), ONE, MIXED, COUNTS, cached(), LAYERS, OPTIONS

def yours(task):
    return Other()
"""


def digests(folder: Path, text: str) -> list[str]:
    folder.mkdir()
    (folder / "plugin.py").write_text(text)
    before = set(sys.modules)
    load_plugins((folder / "plugin.py",))
    (module,) = (sys.modules[name] for name in set(sys.modules) - before if name.startswith("fer_bench_plugin_plugin"))
    return [source_digest(getattr(module, name)) for name in ("mine", "yours")]


@pytest.mark.parametrize(
    "change",
    [
        ("K = 15", "K = 3"),
        ("k = K", "k = K + 1"),
        ("(8, K)", "(9, K)"),
        ("return Helper()", "return 1"),
        ("(32, None)", "(32, 1)"),
        ('"C": 1.0', '"C": 2.0'),
        ("[8, 9]", "[8]"),
    ],
)
def test_a_model_s_source_is_what_it_uses_of_its_file_and_no_more(tmp_path, change):
    before, after = digests(tmp_path / "before", PLUGIN), digests(tmp_path / "after", PLUGIN.replace(*change))
    assert "" not in before and before[0] != after[0] and before[1] == after[1]
    assert digests(tmp_path / "again", PLUGIN) == before


def test_what_has_no_source_has_no_digest():
    module: dict = {"__name__": "nowhere"}
    exec("def mine(task): return 1", module)
    assert source_digest(module["mine"]) == ""
