from pathlib import Path

from fer_bench.models.plugins import load_plugins


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
