"""The SQL function of the optimistic append, with one of its checks taken away."""

from storage.migrations import migrations
from support.observer import Observer

FUNCTION = "append_if_unchanged_v5"

_CHECK = """IF (found_names, found_appends, found_heads)
       IS DISTINCT FROM (names, expected_appends, expected_heads) THEN"""
_HEADS_ALONE = """IF (found_names, found_heads)
       IS DISTINCT FROM (names, expected_heads) THEN"""
_SORTED = "ORDER BY topic FOR UPDATE"
_AS_NAMED = "ORDER BY array_position(names, topic) FOR UPDATE"
_ROWS = "IF stored <> cardinality(new_offsets) THEN"


async def check_nothing(observer: Observer) -> None:
    """A batch is stored as it was decided, whatever has become of its topics."""
    await _replace(observer, _CHECK, "IF false THEN")


async def check_heads_alone(observer: Observer) -> None:
    """A topic that has the expected head counts as unchanged."""
    await _replace(observer, _CHECK, _HEADS_ALONE)


async def lock_as_named(observer: Observer) -> None:
    """Topics are locked in the order in which the batch names them."""
    await _replace(observer, _SORTED, _AS_NAMED)


async def count_no_rows(observer: Observer) -> None:
    """Nobody looks how many rows were inserted."""
    await _replace(observer, _ROWS, "IF false THEN")


async def _replace(observer: Observer, check: str, weaker: str) -> None:
    create = f"CREATE FUNCTION {FUNCTION}"
    (sql,) = [step.sql for step in migrations("postgres") if create in step.sql]
    function = sql[sql.index(create) :]
    assert function.count(check) == 1
    await observer.connection.execute(
        function.replace("CREATE FUNCTION", "CREATE OR REPLACE FUNCTION").replace(check, weaker)
    )
