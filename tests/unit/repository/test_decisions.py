"""The decision records have one form, name their successors, and are all in the index."""

import re
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[3] / "docs" / "understand" / "decisions"
RECORDS = sorted(FOLDER.glob("[0-9]*.md"))
SECTIONS = ["Context", "Decision", "Alternatives", "Consequences"]


def field(record: Path, name: str) -> str:
    found = re.search(rf"^- {name}: (.+)$", record.read_text(), re.MULTILINE)
    return found[1] if found else ""


def named(text: str) -> set[str]:
    """The records that a field links."""
    return set(re.findall(r"\]\((\d{4}-[\w-]+\.md)\)", text))


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: record.stem)
def test_record_has_number_status_and_date(record: Path) -> None:
    assert record.read_text().startswith(f"# {int(record.name[:4])}. ")
    status = field(record, "Status")
    if status != "accepted":
        assert re.match(r"(amended|superseded) by \[", status)
        assert named(status)
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", field(record, "Date"))


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: record.stem)
def test_record_has_the_sections_in_order(record: Path) -> None:
    headings = re.findall(r"^## (.+)$", record.read_text(), re.MULTILINE)
    assert headings[:2] == SECTIONS[:2]
    assert len(headings) > 2
    assert headings == [name for name in SECTIONS if name in headings]


def test_successors_and_the_records_they_amend_name_each_other() -> None:
    forward = {
        (record.name, other) for record in RECORDS for other in named(field(record, "Status"))
    }
    backward = {
        (other, record.name)
        for record in RECORDS
        for other in named(field(record, "Amends") + field(record, "Supersedes"))
    }
    assert forward == backward
    assert all(earlier < later for earlier, later in forward)


def test_index_lists_every_record_with_its_title_status_and_date() -> None:
    rows = re.findall(
        r"^\| \[(\d{4})\]\((\S+)\) \| (.+?) \| (.+?) \| (.+?) \|$",
        (FOLDER / "README.md").read_text(),
        re.MULTILINE,
    )
    listed = [
        (name, title, status.split()[0], named(status), date)
        for _, name, title, status, date in rows
    ]
    expected = [
        (
            record.name,
            record.read_text().splitlines()[0].partition(". ")[2],
            field(record, "Status").split()[0],
            named(field(record, "Status")),
            field(record, "Date"),
        )
        for record in RECORDS
    ]
    assert listed == expected
