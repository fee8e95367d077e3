"""What the database checks of a batch that was decided ahead, with one check taken away."""

from storage.migrations import migrations
from support.observer import Observer

_CHECK = """IF (found_names, found_appends, found_heads)
       IS DISTINCT FROM (names, known_appends, known_heads) THEN"""
_HEADS_ALONE = """IF (found_names, found_heads)
       IS DISTINCT FROM (names, known_heads) THEN"""
_SORTED = "ORDER BY topic FOR UPDATE"
_AS_NAMED = "ORDER BY array_position(names, topic) FOR UPDATE"
_ROWS = "IF stored <> cardinality(new_offsets) THEN"


async def check_nothing(observer: Observer) -> None:
    """What a batch was decided on counts, whatever has become of it."""
    await _replace(observer, _CHECK, "IF false THEN")


async def check_heads_alone(observer: Observer) -> None:
    """A topic that has the head that it was taken to have is as it was taken to be."""
    await _replace(observer, _CHECK, _HEADS_ALONE)


async def lock_as_named(observer: Observer) -> None:
    """Topics are locked in the order in which the batch names them."""
    await _replace(observer, _SORTED, _AS_NAMED)


async def count_no_rows(observer: Observer) -> None:
    """Nobody looks how many rows were inserted."""
    await _replace(observer, _ROWS, "IF false THEN")


async def _replace(observer: Observer, check: str, weaker: str) -> None:
    (sql,) = [step.sql for step in migrations("postgres") if "CREATE FUNCTION" in step.sql]
    function = sql[sql.index("CREATE FUNCTION") :]
    assert function.count(check) == 1
    await observer.connection.execute(
        function.replace("CREATE FUNCTION", "CREATE OR REPLACE FUNCTION").replace(check, weaker)
    )
