"""report.html: one file with all that a leaderboard knows, to look at in a browser, without a network."""

from fer_bench.report.html.document import page, write_html

__all__ = ["page", "write_html"]
