"""The html needs no other file, and shows what logs hold without running it."""

import re
import sys
from pathlib import Path

# Its search for fonts starts a process, once on a machine: before a test is held to start none.
import matplotlib.font_manager  # noqa: F401
import pytest
from support.log_lines import flush, request, warning

from aggregator.commands.log_report import html
from aggregator.commands.log_report.duckdb_lines import CannotReport, loaded
from aggregator.commands.log_report.queries import sections, summary

HOSTILE = "/<script>alert(1)</script>&$x$\u202e"


@pytest.fixture
def written(tmp_path: Path) -> str:
    log = tmp_path / "aggregator.log"
    lines = [
        flush(0, orders={"stored": 2, "duplicate": 1}),
        request(0, 3.0),
        request(1, 9.0, path=HOSTILE, request_id="<b>"),
        warning(2, "conflict", topic="</td>"),
    ]
    log.write_text("\n".join(lines))
    with loaded([log]) as read:
        return html.page(summary(read), list(sections(read)))


def test_it_names_no_other_file(written: str) -> None:
    # Namespaces are names, which nobody fetches; so are references within a picture.
    for target in re.findall(r"""(?:src|href)=["']([^"']*)""", written):
        assert target.startswith("#")
    assert not re.findall(r"url\((?!#)|@import|<script|<link", written)


def test_it_has_a_chart_of_each_kind_and_every_table(written: str) -> None:
    assert written.count("<svg") == 3
    for title in ("Throughput, by second", "Latency, by path", "Events, by topic", "Flushes"):
        assert f"<h2>{title}</h2>" in written
    assert "<td>orders</td><td class=number>3</td><td class=number>2</td>" in written


def test_what_a_client_sent_is_shown_as_text(written: str) -> None:
    assert "&lt;script&gt;alert(1)&lt;/script&gt;&amp;$x$\\u202e" in written
    assert "&lt;b&gt;" in written
    assert "&lt;/td&gt;" in written


def test_lines_that_hold_no_numbers_do_no_harm(tmp_path: Path) -> None:
    log = tmp_path / "aggregator.log"
    odd = ['{"event": "request", "path": "/a"}', '{"event": "flush"}']
    odd += [f'{{"event": "request", "path": "/b", "duration_ms": "{x}"}}' for x in ("nan", "inf")]
    days = [flush(at_s, a={"stored": 1}) for at_s in (0, 86_400 * 2)]
    log.write_text("\n".join([*odd, *days, request(1, 3.0)]))
    with loaded([log]) as read:
        text = html.page(summary(read), list(sections(read)))
    assert "<!-- 01-31 12:00 -->" in text, "days are told apart"
    assert "<td>/publish</td><td class=number>1</td>" in text
    assert "<td>/a</td>" not in text


def test_without_matplotlib_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(CannotReport, match="pip install matplotlib"):
        html.check_possible()
