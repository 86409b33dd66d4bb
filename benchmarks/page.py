"""Writes the figures of benchmarks into README.md beside this file, between its two markers.

pytest benchmarks --benchmark-json bench.json && python benchmarks/page.py bench.json

Several files may be given, where some were run with other sizes: a later one replaces what an earlier one found.
"""

import json
import sys
from pathlib import Path
from typing import Any

from tabulate import tabulate

PAGE = Path(__file__).with_name("README.md")
BEGIN, END = "<!-- figures: written by page.py -->\n", "<!-- end of figures -->"
HEADERS = ("what", "ratio", "seconds timed", "target", "met", "more")


def figures(run: dict[str, Any]) -> str:
    """A table per benchmark file, and the machine, as Markdown; `run` is what pytest-benchmark writes as JSON."""
    machine, cpu = run["machine_info"], run["machine_info"]["cpu"]
    parts = [
        f"Made on {run['datetime'][:10]} on {cpu['brand_raw']}, {cpu['count']} cores, {machine['system']} "
        f"{machine['machine']}, Python {machine['python_version']}. Ratios are of this run; seconds are information."
    ]
    files = dict.fromkeys(file_of(benchmark) for benchmark in run["benchmarks"])
    for file in files:
        lines = [line(benchmark) for benchmark in run["benchmarks"] if file_of(benchmark) == file]
        align = ("left", "right", "right", "left", "left", "left")
        parts += [f"### `{file}`", tabulate(lines, HEADERS, "pipe", colalign=align, disable_numparse=True)]
    return "\n\n".join(parts) + "\n"


def file_of(benchmark: dict[str, Any]) -> str:
    return Path(benchmark["fullname"].partition("::")[0]).name


def line(benchmark: dict[str, Any]) -> list[str]:
    """One row; whatever a benchmark found beside what the `tell` fixture asks for is shown with its name."""
    info = dict(benchmark["extra_info"])
    told = {key: info.pop(key, None) for key in ("what", "ratio", "target", "met")}
    more = flat(info.pop("figures", {}) | info)
    return [
        told["what"] or benchmark["name"].removeprefix("test_").replace("_", " "),
        "" if told["ratio"] is None else number(told["ratio"]),
        number(benchmark["stats"]["median"]),
        told["target"] or "",
        {True: "met", False: "**missed**", None: ""}[told["met"]],
        "; ".join(f"{name.replace('_', ' ')} {number(value)}" for name, value in more.items()),
    ]


def flat(values: dict[str, Any], above: str = "") -> dict[str, Any]:
    """`values` without nesting, the names joined."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        found |= flat(value, f"{above}{name} ") if isinstance(value, dict) else {above + name: value}
    return found


def number(value: Any) -> str:
    """Three digits of a small number, none after the point of a large one."""
    if not isinstance(value, float):
        return str(value)
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def main(paths: list[Path]) -> None:
    runs = [json.loads(path.read_text()) for path in paths]
    found = {(one["fullname"], one["extra_info"].get("what")): one for run in runs for one in run["benchmarks"]}
    before, _, rest = PAGE.read_text().partition(BEGIN)
    after = rest.partition(END)[2]
    run = runs[-1] | {"benchmarks": [found[key] for key in sorted(found, key=lambda key: key[0].partition("::")[0])]}
    PAGE.write_text(f"{before}{BEGIN}\n{figures(run)}\n{END}{after}")


if __name__ == "__main__":
    main([Path(argument) for argument in sys.argv[1:]])
