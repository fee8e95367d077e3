"""The closing table, the JSON and the chart say what was measured and found."""

import json
import re
import struct
import sys
import zlib
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

# Its search for fonts starts a process, once on a machine: before a test is held to start none.
import matplotlib.font_manager  # noqa: F401
import pytest
from unit.publisher.load.model import MakeScene, Scene

from publisher.load import chart
from publisher.load.findings import CHECKS, VERDICTS
from publisher.load.measurements import Measurements
from publisher.load.report import Report, Settings, as_json, as_text
from publisher.load.stats_check import CountIncrease

SETTINGS = Settings(
    url="http://127.0.0.1:8080",
    run="<run>",
    events=400,
    duplicates=0.3,
    conflicts=0.1,
    batch=20,
    concurrency=2,
    topics=("auth", "orders", "payment"),
    seed=1,
    rate=None,
    payload_bytes=150,
    ids="uuid7",
    deadline=300.0,
)
OPEN_LOOP = replace(SETTINGS, rate=100.0)


def report_of(scene: Scene, measured: Measurements) -> Report:
    return Report(
        SETTINGS,
        scene.plan.shape,
        "sqlite",
        scene.verdicts,
        measured,
        scene.findings,
        scene.stats_check,
    )


@pytest.fixture
def report(make_scene: MakeScene) -> Report:
    """A run of twenty requests in four seconds, with some retries, that agrees."""
    scene: Scene = make_scene()
    scene.publish_all()
    assert scene.check() == []
    measured = Measurements()
    for request in range(20):
        latency_s = (request + 1) / 100
        measured.record_response(request / 5, 20, latency_s, latency_s / 2)
    measured.record_retry(1.5, "503 the queue is full")
    for _ in range(2):
        measured.record_retry(2.5, "cannot connect to 127.0.0.1:8080: Connection refused")
    report = report_of(scene, measured)
    report.increase = CountIncrease(420, 240, 43, 20, 3)
    report.read_back = 240
    return report


def test_the_table_of_a_run_that_agrees(report: Report) -> None:
    report.stats_check.missed = 3
    assert (
        as_text(report)
        == """\
run          <run>, seed 1, ids uuid7
aggregator   http://127.0.0.1:8080 on sqlite
plan         400 events: 240 new, 120 duplicates, 40 conflicts
             20 requests of 20, 2 connections, closed loop

throughput   105 events/s (400 events in 3.8 s)
latency      p50 100.0 ms   p90 180.0 ms   p99 200.0 ms   p99.9 200.0 ms   max 200.0 ms
verdicts     stored 240   duplicate 120   conflict 40   rejected 0
retries      3
             2 cannot connect to 127.0.0.1:8080: Connection refused
             1 503 the queue is full
received     420 = 400 sent + 20 of tries whose answer was lost
conflicts    43 = 40 sent + 3 of tries whose answer was lost
/stats       checked 2 times, 3 times without an answer
log          240 events read back

✓ every verdict is the one planned, each key stored once
✓ all verdicts of a key have one offset, new events of a request ascend
✓ the offsets of the verdicts are dense, from the head offset before the run on
✓ each /stats is conserved, no count falls, none lacks an acknowledged event
✓ the counts rose by what was sent, per topic and in all
✓ the log read back holds each planned event once, at its offset, byte for byte"""
    )


def test_the_table_of_an_open_loop_tells_both_latencies(report: Report) -> None:
    report.settings = OPEN_LOOP
    text = as_text(report)
    assert "2 connections, open loop, 100 events/s" in text
    assert "latency      p50 100.0 ms   p90 180.0 ms" in text
    assert "service time p50 50.0 ms   p90 90.0 ms" in text


def test_the_table_lists_differences_and_crosses_the_check_that_found_them(report: Report) -> None:
    for number in range(25):
        report.findings.add(VERDICTS, f"difference number {number}")
    text = as_text(report)
    assert not report.agrees
    assert "\n✗ every verdict is the one planned, each key stored once: 25 differences\n" in text
    assert "\n\n25 differences:\n- difference number 0\n" in text
    assert text.endswith("- difference number 19\n- and 5 more")


def test_single_difference_is_in_the_singular(report: Report) -> None:
    report.findings.add(VERDICTS, "a difference")
    assert "each key stored once: 1 difference\n" in as_text(report)
    assert as_text(report).endswith("\n\n1 difference:\n- a difference")


def test_the_table_of_a_run_that_ended_early_says_so(report: Report) -> None:
    report.increase = None
    report.ended = "request 3 of 20: the answer is 403: not today"
    text = as_text(report)
    assert not report.agrees
    assert text.endswith(
        "\n\nThe run ended early, so this is not all: request 3 of 20: the answer is 403: not today"
    )
    assert "\nreceived" not in text


def test_report_without_a_response_says_so(make_scene: MakeScene) -> None:
    scene = make_scene()
    report = report_of(scene, Measurements())
    report.ended = "request 1 of 20: gave up"
    assert "latency      no request was answered" in as_text(report)
    assert as_json(report)["latency_ms"] == {}


def test_marks_can_be_plain_letters(report: Report) -> None:
    as_text(report, "ok", "WRONG").encode("ascii")


def test_the_json_has_the_same_figures(report: Report) -> None:
    written = json.loads(json.dumps(as_json(report)))
    assert written["agrees"] is True
    assert written["ended_early"] is None
    assert written["backend"] == "sqlite"
    assert written["settings"]["topics"] == ["auth", "orders", "payment"]
    assert written["settings"]["rate"] is None
    assert written["planned"] == {
        "events": 400,
        "requests": 20,
        "unique": 240,
        "duplicates": 120,
        "conflicts": 40,
    }
    assert written["answered"] == {"events": 400, "requests": 20}
    assert written["verdicts"] == {"stored": 240, "duplicate": 120, "conflict": 40, "rejected": 0}
    assert written["counts"] == {
        "received": 420,
        "unique": 240,
        "conflicts": 43,
        "lost_received": 20,
        "lost_conflicts": 3,
    }
    assert written["latency_ms"]["p50"] == pytest.approx(100.0)
    assert written["service_ms"]["max"] == pytest.approx(100.0)
    assert written["events_per_s"] == pytest.approx(400 / 3.8)
    assert written["retries"]["total"] == 3
    assert written["retries"]["reasons"]["503 the queue is full"] == 1
    assert (written["stats_seen"], written["stats_missed"], written["read_back"]) == (2, 0, 240)
    assert set(written["checks"].values()) == {0}
    assert written["differences"] == []
    assert [second["events"] for second in written["series"]] == [100] * 4
    assert [second["retries"] for second in written["series"]] == [0, 1, 2, 0]
    assert written["series"][0]["p50_ms"] == pytest.approx(30.0)


def test_the_json_has_the_fields_of_the_documentation(report: Report) -> None:
    page = (Path(__file__).parents[4] / "docs" / "develop" / "load.md").read_text()
    documented = json.loads(page.partition("```json\n")[2].partition("```")[0])
    written = json.loads(json.dumps(as_json(report)))
    assert list(written) == list(documented)
    for name in ("settings", "planned", "answered", "verdicts", "counts", "latency_ms", "checks"):
        assert list(written[name]) == list(documented[name])
    assert set(written["retries"]) == set(documented["retries"])
    assert list(written["series"][0]) == list(documented["series"][0])


def test_the_checks_are_those_of_the_documentation() -> None:
    page = (Path(__file__).parents[4] / "docs" / "develop" / "load.md").read_text()
    section = page.partition("## What is checked")[2].partition("###")[0]
    assert re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE) == list(CHECKS)


def test_the_json_has_the_differences(report: Report) -> None:
    report.findings.add(VERDICTS, "a difference")
    written = as_json(report)
    assert written["agrees"] is False
    assert written["differences"] == [{"check": "verdicts", "sentence": "a difference"}]
    assert written["differences_total"] == 1


def test_a_picture_is_a_png_with_something_on_it(report: Report, tmp_path: Path) -> None:
    path = tmp_path / "chart.png"
    chart.write(report, path)
    content = path.read_bytes()
    assert content.startswith(b"\x89PNG\r\n\x1a\n")
    width, height = struct.unpack(">II", content[16:24])
    assert (width, height) == (1200, 720)
    rest, pixels = content[8:], b""
    while rest:
        (length,) = struct.unpack(">I", rest[:4])
        pixels += rest[8 : 8 + length] if rest[4:8] == b"IDAT" else b""
        rest = rest[12 + length :]
    assert len(set(zlib.decompress(pixels))) > 50


class Page(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[str] = []
        self.references: list[str] = []
        self.text = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append(tag)
        if tag not in {"meta", "link"}:
            self.open.append(tag)
        for name, value in attrs:
            if name in {"src", "href", "xlink:href"} or "url(" in (value or ""):
                self.references.append(value or "")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def test_a_page_is_whole_in_itself(report: Report, tmp_path: Path) -> None:
    path = tmp_path / "chart.html"
    report.settings = OPEN_LOOP
    chart.write(report, path)
    text = path.read_text(encoding="utf-8")
    page = Page(text)
    assert page.open == []
    assert text.startswith("<!DOCTYPE html>\n")
    assert page.seen.count("svg") == 1
    assert "script" not in page.seen
    assert "link" not in page.seen
    # Only to parts of itself.
    assert page.references
    assert all(
        reference.startswith("#") or re.findall(r"url\((.)", reference) == ["#"]
        for reference in page.references
    )
    assert "@import" not in text
    svg = text[text.index("<svg") : text.index("</svg>")]
    assert set(re.findall(r"//([^/]*)/", svg)) == {"www.w3.org"}  # the names of SVG itself
    assert as_text(report) in page.text
    assert "<run>" not in text


@pytest.mark.parametrize("ending", chart.ENDINGS)
def test_a_run_without_an_answer_has_a_chart_too(
    make_scene: MakeScene, tmp_path: Path, ending: str
) -> None:
    scene = make_scene()
    measured = Measurements()
    measured.record_retry(0.1, "503 the queue is full")
    for each in (Measurements(), measured):
        report = report_of(scene, each)
        path = tmp_path / f"chart{ending}"
        chart.write(report, path)
        assert path.stat().st_size > 1000


def test_without_matplotlib_one_sentence_says_what_to_install(
    report: Report, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "matplotlib"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(chart.NoMatplotlib) as missing:
        chart.check_possible()
    assert str(missing.value) == ("--chart needs matplotlib: pip install matplotlib")
