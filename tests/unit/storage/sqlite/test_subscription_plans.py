"""How SQLite finds the rows that subscriptions need: by their keys, however large a log is."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest

from storage.migrations import migrations
from storage.sqlite import subscription_loading, subscription_views
from storage.sqlite import subscriptions as sqlite_subscriptions

_MODULES = subscription_loading, subscription_views, sqlite_subscriptions
ROW = f"({', '.join(['1'] * 12)})"
STATEMENTS = {
    name: text.format(which=">", behind=">", rows=ROW) if "{" in text else text
    for module in _MODULES
    for name, text in vars(module).items()
    if isinstance(text, str) and text.split(None, 1)[:1] in (["SELECT"], ["INSERT"], ["DELETE"])
}
LITTLE = {"FORGET_SETTLES"}
"""What reads a table as a whole, since that holds little."""


@pytest.fixture(scope="module")
def connection() -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(":memory:")) as connection:
        for step in migrations("sqlite"):
            connection.executescript(step.sql)
        yield connection


@pytest.mark.parametrize("name", sorted(STATEMENTS))
def test_a_table_is_searched_by_its_keys(connection: sqlite3.Connection, name: str) -> None:
    sql = STATEMENTS[name]
    named: Any = {str(number): "[]" for number in range(1, 6)}
    arguments = named if "?1" in sql or "$1" in sql else ["[]"] * sql.count("?")
    steps = [step for *_, step in connection.execute(f"EXPLAIN QUERY PLAN {sql}", arguments)]
    # Rows of a sub-select that was searched, and what was asked for as JSON.
    selected = [step.removeprefix("CO-ROUTINE ") for step in steps if "CO-ROUTINE" in step]
    harmless = {f"SCAN {each}" for each in selected} | {"SCAN CONSTANT ROW"}
    scans = {step for step in steps if step.startswith("SCAN") and "VIRTUAL TABLE" not in step}
    assert (scans - harmless != set()) == (name in LITTLE), steps
    searches = [step for step in steps if step.startswith("SEARCH") and "PRIMARY KEY" not in step]
    assert all("INDEX" in step for step in searches), steps
    assert not any("AUTOMATIC" in step for step in steps) or name in LITTLE, steps


def test_every_statement_is_looked_at() -> None:
    assert {"LOAD", "TOPICS", "READY", "WRITE_STATES", "FORGET_FAILURES"} <= set(STATEMENTS)
