"""Appends to Postgres as the version before makes them, which knows no table of appends."""

from collections.abc import Mapping, Sequence

import pytest

from storage.deduplication import Decision
from storage.postgres import locked_append, optimistic_append
from storage.postgres.array_arguments import join_texts
from storage.postgres.optimistic_append import ExpectedTopic

_OPTIMISTIC = (
    ("$15 THEN", "$16 THEN"),
    ("append_if_unchanged_v5", "append_if_unchanged_v4"),
    (
        "$9::text::integer[], $10::text::bigint[], $11, $12, $13, $14)",
        "$9, $10::text::integer[], $11::text::bigint[], $12, $13, $14, $15)",
    ),
)
_RETURNING = locked_append.COUNT[locked_append.COUNT.index("\nRETURNING") :]
_LOCKED = (
    (",\n    recorded_head = t.unique_processed + d.unique_processed", ""),
    (_RETURNING, ""),
    (f", recorded AS ({locked_append.RECORD})", ""),
)

_arguments = optimistic_append._arguments


def append_as_before(patch: pytest.MonkeyPatch) -> None:
    """Give all stores of this process the statements of the version before."""
    patch.setattr(
        optimistic_append,
        "STORE_IF_UNCHANGED",
        _replaced(optimistic_append.STORE_IF_UNCHANGED, _OPTIMISTIC),
    )
    patch.setattr(optimistic_append, "_arguments", _former_arguments)
    patch.setattr(locked_append, "STORE", _replaced(locked_append.STORE, _LOCKED))


def _former_arguments(
    decision: Decision, expected: Mapping[str, ExpectedTopic], append_id: str
) -> Sequence[object]:
    arguments = _arguments(decision, expected, append_id)
    topics = sorted(row.topic for row in decision.rows)
    return (*arguments[:8], join_texts(topics), *arguments[8:])


def _replaced(sql: str, replacements: Sequence[tuple[str, str]]) -> str:
    for new, old in replacements:
        assert sql.count(new) == 1, new
        sql = sql.replace(new, old)
    return sql
