import re
from pathlib import Path

import pytest
from markdown_it import MarkdownIt

from fer_bench.analysis import findings, leaderboard
from fer_bench.analysis.evidence import leakage
from fer_bench.analysis.findings import Finding
from fer_bench.report.text import counted, environment, escape, listed, one_line, sentence, signed, table

HOSTILE = [
    "a) [c](javascript:alert(2)) <img src=x onerror=alert(3)> (x",
    "![x](http://evil.example/x.png)",
    "<https://evil.example>",
    "http://evil.example www.evil.example a@evil.example",
    "**bold** _it_ `code` ~~gone~~ # head | cell $x$ \\",
    "line\n\n# heading\n- item\r\u202egnp.exe\x1b[31m",
    "&lt;script&gt;",
]


def shown(markdown):
    """The text that a reader sees, and the kinds of tokens that are not text."""
    tokens = MarkdownIt("commonmark", {"linkify": False}).enable("table").parse(markdown)
    inline = [child for token in tokens for child in token.children or ()]
    return "".join(child.content for child in inline), {token.type for token in (*tokens, *inline)}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_name_is_shown_as_it_is_and_does_nothing(name):
    content, kinds = shown(f"see {escape(name)} there")
    assert content == f"see {one_line(name)} there"
    assert kinds == {"paragraph_open", "inline", "paragraph_close", "text"} | (kinds & {"text_special"})


@pytest.mark.parametrize("name", ["http://evil.example", "HTTPS://evil.example", "WWW.evil.example", "a@evil.example"])
def test_no_address_is_left_that_a_page_would_turn_into_a_link(name):
    assert not re.search(r"://|www\.|@", escape(name), re.IGNORECASE)


@pytest.mark.parametrize("name", ["怒り", "ناراحت\u200cکننده", "क्षमा", "злость", "déçu"])
def test_names_in_any_script_are_left_as_they_are(name):
    assert escape(name) == name


def test_cells_of_a_table_are_escaped_once_and_have_no_padding():
    assert table(["a|b", "n"], [["x|y", 1], [escape("*z*"), 2]]) == "|a\\|b|n|\n|:--|--:|\n|x\\|y|1|\n|\\*z\\*|2|"


def test_templates_escape_whatever_they_show():
    template = environment(is_markdown=True).from_string("{{ name }} {{ names|listed }} {{ [name]|join(', ') }}")
    content, kinds = shown(template.render(name=HOSTILE[0], names=[HOSTILE[0]]))
    assert content == " ".join([one_line(HOSTILE[0])] * 3)
    assert not kinds & {"link_open", "html_inline", "image"}


def test_a_finding_is_plain_in_a_terminal_and_escaped_on_a_page():
    finding = Finding("SUSPECT_ROWS", {"rows": [HOSTILE[0]]})
    assert HOSTILE[0] in sentence(finding)
    content, kinds = shown(environment(is_markdown=True).filters["sentence"](finding))
    assert content == sentence(finding) and not kinds & {"link_open", "html_inline"}


def test_every_code_has_a_sentence():
    sources = "".join(Path(module.__file__).read_text() for module in (findings, leaderboard, leakage))
    codes = set(re.findall(r'Finding\("([A-Z_]+)"', sources))
    template = environment(is_markdown=False).get_template("sentences.j2").module
    assert len(codes) > 20 and [code for code in codes if not hasattr(template, code)] == []


def test_numbers_and_lists_in_words():
    assert [counted(1, "row"), counted(1200, "row")] == ["1 row", "1,200 rows"]
    assert listed(list("abcdefg"), 3) == "a, b, c and 4 more"
    assert [signed(0.0123), signed(-0.00001), signed(-0.5, 100, 1), signed(float("nan"))] == [
        "+0.012", "+0.000", "-50.0", "–"
    ]  # fmt: skip
