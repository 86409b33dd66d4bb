"""The report in a real browser: Debian's Chromium, driven by Playwright."""

import csv
import shutil
from pathlib import Path

import numpy as np
import pytest

from fer_bench import metrics
from fer_bench.analysis import load_leaderboard
from fer_bench.records import open_results
from fer_bench.report import html, write_html

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = shutil.which("chromium")
pytestmark = pytest.mark.skipif(not CHROMIUM, reason="not tried in a browser: no chromium on this machine")
ARGUMENTS = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
)  # fmt: skip
PUBLISHED = Path(__file__).parents[2] / "results" / "published" / "synthetic"
ROWS = ".ranking tbody tr"


@pytest.fixture(scope="module")
def browser():
    with sync_api.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=list(ARGUMENTS))
        yield started
        started.close()


@pytest.fixture
def board(judged_board):
    return judged_board


@pytest.fixture(scope="module")
def path(judged_board, tmp_path_factory):
    written = tmp_path_factory.mktemp("report") / "report.html"
    write_html(judged_board, written)
    return written


@pytest.fixture
def visit(browser):
    """Opens a report; at the end of the test nothing may have gone wrong, been asked of a host, or popped up."""
    contexts, troubles = [], []

    def opened(path, **settings):
        context = browser.new_context(**{"viewport": {"width": 1400, "height": 900}, **settings})
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(10_000)
        page.on("console", lambda message: troubles.append(message.text))
        page.on("pageerror", lambda error: troubles.append(str(error)))
        page.on("dialog", lambda popup: (troubles.append(popup.message), popup.dismiss()))
        page.on(
            "request",
            lambda request: request.url.startswith(("file:", "data:", "blob:")) or troubles.append(request.url),
        )
        page.goto(path.as_uri())
        if settings.get("java_script_enabled", True):
            page.wait_for_selector("html[data-ready]", state="attached")
        return page

    yield opened
    for context in contexts:
        context.close()
    assert not troubles


def column(page, name):
    place = page.eval_on_selector_all(".ranking thead th", "all => all.map(one => one.dataset.name)").index(name)
    return page.eval_on_selector_all(ROWS, f"lines => lines.map(line => line.children[{place}].firstChild.textContent)")


def shown_rows(board, page):
    return [
        board.rows.index[int(at)]
        for at in page.eval_on_selector_all(ROWS, "lines => lines.map(line => line.dataset.row)")
    ]


def numbers(texts):
    return [float(text.replace(",", "").replace("−", "-").replace("+", "")) for text in texts]


def test_content_is_painted_before_the_script_begins(path, visit):
    page = visit(path)
    times = "['first-contentful-paint', 'ready'].map(name => performance.getEntriesByName(name)[0].startTime)"
    painted, ready = page.evaluate(times)
    assert painted < ready


def test_every_column_sorts_both_ways(board, path, visit):
    page = visit(path)
    page.click(".ranking [data-column=accuracy]")
    assert page.get_attribute(".ranking th[data-name=accuracy]", "aria-sort") == "descending"
    assert shown_rows(board, page) == list(board.rows.sort_values("accuracy", ascending=False, kind="stable").index)
    page.keyboard.press("Enter")
    assert page.get_attribute(".ranking th[data-name=accuracy]", "aria-sort") == "ascending"
    found = numbers(column(page, "accuracy"))
    assert found == sorted(found)


def test_search_and_filters_keep_the_rows_they_name(board, path, visit):
    page = visit(path)
    page.fill("input[type=search]", "SVM weights")
    assert shown_rows(board, page) == ["hog-svm / class-weights"]
    page.fill("input[type=search]", "")
    page.click(".chip:has-text('deep')")
    assert set(shown_rows(board, page)) == set(board.rows.index[board.rows.family != "deep"])
    page.click(".chip:has-text('deep')")
    page.select_option("#ranking label:has-text('strategy') select", "over-sampling")
    assert set(shown_rows(board, page)) == set(board.rows.index[board.rows.strategy == "over-sampling"])
    page.select_option("#ranking label:has-text('strategy') select", "")
    page.check("text=only what may be best")
    assert set(shown_rows(board, page)) == set(board.rows.index[board.rows.in_best_set])


def test_test_clean_takes_the_place_of_test(board, path, visit):
    page = visit(path)
    page.click("#subset button:has-text('test-clean')")
    expected = board.rows.loc[shown_rows(board, page), "clean_macro_f1"]
    assert numbers(column(page, "macro_f1")) == pytest.approx(expected.tolist(), abs=6e-4)
    cards = {
        board.rows.at[pick.row, "clean_macro_f1"] for name, pick in board.picks.items() if name in html.document.CARDS
    }
    shown = page.locator(".card [data-figure=macro_f1]").all_inner_texts()
    assert sorted(numbers(shown)) == pytest.approx(sorted(cards), abs=6e-4)


def test_the_download_is_what_is_shown(board, path, visit):
    page = visit(path)
    page.click("text=Columns")
    page.check(".columns label:has-text('Brier score') input")
    page.uncheck(".columns label:text-is('parameters') input")
    page.keyboard.press("Escape")
    page.fill("input[type=search]", "cnn")
    with page.expect_download() as download:
        page.click("text=Download CSV")
    lines = list(csv.DictReader(Path(download.value.path()).read_text("utf-8-sig").splitlines()))
    assert "brier" in lines[0] and "macro_f1_low" in lines[0] and "n_parameters" not in lines[0]
    assert [f"{line['model']} / {line['strategy']}" for line in lines] == shown_rows(board, page)
    assert numbers(line["brier"] for line in lines) == pytest.approx(
        board.rows.loc[shown_rows(board, page), "brier"], rel=1e-4
    )


def test_keys_move_open_and_close(board, path, visit):
    page = visit(path)
    page.focus(f"{ROWS} >> nth=0")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    assert board.rows.index[1] in page.inner_text("#dialog-title")
    page.keyboard.press("Escape")
    assert page.locator("dialog[open]").count() == 0
    assert page.evaluate("document.activeElement.dataset.row") == "1"
    page.keyboard.press("Space")
    page.keyboard.press("End")
    page.keyboard.press("Space")
    assert page.is_enabled("#picked button:text-is('Compare')")


def test_a_run_shows_its_mistakes_curves_and_log(board, path, visit):
    page = visit(path)
    row = board.rows.index[(board.rows.model == "cnn")][0]
    page.click(f"{ROWS}[data-row='{board.rows.index.get_loc(row)}']")
    for order, run in enumerate(board.rows.at[row, "runs"]):
        page.click(f".segments button:has-text('seed {order}')")
        assert run in page.inner_text("dialog")
        page.click("dialog button:text-is('counts')")
        cells = page.locator(".confusion tbody td").all_inner_texts()
        counts = np.array(numbers(cells)).reshape(3, 4)[:, :3]
        assert (counts == metrics.confusion_matrix(board.labels, board.predicted[run], 3)).all()
    page.click("dialog button:text-is('test-clean')")
    assert numbers(page.locator(".confusion tbody td").all_inner_texts())[0] < counts[0, 0]
    assert page.locator("dialog svg.chart").count() == 3
    assert page.inner_text("dialog pre").strip() == "success: done"


def test_every_row_of_what_is_published_opens(visit, tmp_path):
    write_html(load_leaderboard(open_results(PUBLISHED)), tmp_path / "report.html")
    page = visit(tmp_path / "report.html")
    rows = page.locator(ROWS)
    for at in range(rows.count()):
        rows.nth(at).click()
        assert page.locator("dialog h3:text('How it was made')").count() == 1
        page.keyboard.press("Escape")


def test_two_rows_compared(board, path, visit):
    page = visit(path)
    for at in (0, 3):
        page.check(f"{ROWS} >> nth={at} >> input")
    page.click("#picked button:text-is('Compare')")
    first, second = (board.rows.index[at] for at in (0, 3))
    draws = board.draws["test"]
    one, other = (draws.values[1:, draws.rows.index(row), 1] for row in (first, second))
    value, half = board.rows.at[second, "macro_f1"] - board.rows.at[first, "macro_f1"], 1.96 * (other - one).std(ddof=1)
    cells = page.locator("dialog .differences tbody tr >> nth=0 >> td").all_inner_texts()
    assert numbers([cells[2], *cells[3].split(" to ")]) == pytest.approx(
        [value, value - half, value + half], abs=1.2e-3
    )
    right = [board.predicted[board.rows.at[row, "runs"][0]] == board.labels for row in (first, second)]
    expected = [
        (right[0] & right[1]).sum(),
        (right[0] & ~right[1]).sum(),
        (~right[0] & right[1]).sum(),
        (~right[0] & ~right[1]).sum(),
    ]
    assert numbers(cell.split(" ")[0] for cell in page.locator(".mcnemar tbody td").all_inner_texts()) == expected


def test_grid_and_effects_follow_what_is_chosen(board, path, visit):
    page = visit(path)
    page.select_option("#grid select", "accuracy")
    assert float(page.inner_text("#grid tbody tr:has-text('hog-svm') td >> nth=0")) == pytest.approx(
        100 * board.rows.at["hog-svm / none", "accuracy"], abs=0.06
    )
    page.select_option("#strategies select", "cnn")
    assert page.locator(".forest tbody tr").count() == 2
    page.locator("#time .mark").last.hover()
    assert page.is_visible(".tip")


def test_names_from_data_are_inert(hostile_board, tmp_path, visit):
    write_html(hostile_board, tmp_path / "report.html", images=np.zeros((120, 8, 8), dtype=np.uint8))
    page = visit(tmp_path / "report.html")
    page.click(f"{ROWS} >> nth=1")
    name = hostile_board.rows.index[1]
    assert name in page.inner_text("#dialog-title") and "onerror" in name
    assert all(text in page.inner_text("dialog") for text in hostile_board.data.class_names)
    page.select_option("dialog .tools select", "0")
    assert name in page.inner_text("dialog")
    assert page.locator("img").count() == 0 and page.locator("script").count() == 2


def test_tables_stand_without_javascript(board, path, visit):
    page = visit(path, java_script_enabled=False)
    assert page.locator("#ranking tbody tr").count() == len(board.rows)
    for place in ("grid", "strategies", "classes", "data"):
        assert page.locator(f"#{place} table").count() > 0
    assert page.locator("#grid td b").count() == board.rows.in_best_set.sum()
    assert page.locator("button, select, input").count() == 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_contrast_holds_and_nothing_sticks_out(path, visit, scheme):
    page = visit(path, color_scheme=scheme, viewport={"width": 390, "height": 844})
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    box, first = (page.locator(f"#classes {one}").first.bounding_box() for one in (".scroll", "tbody th"))
    assert first["width"] < box["width"] / 2
    page.click(f"{ROWS} >> nth=1")
    assert page.evaluate((Path(__file__).parent / "contrast.js").read_text()) == []
