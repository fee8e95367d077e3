"""What is acknowledged on Postgres, and what is made at the start, survives its crash."""

from collections.abc import Callable

from service.conftest import OwnDatabase
from support.careless import careless_role, check_survives_crashes
from support.processes import Aggregator


async def test_a_role_that_does_not_wait_for_the_disk_loses_nothing(
    run_aggregator: Callable[..., Aggregator], own_database: OwnDatabase
) -> None:
    server = own_database.server
    name = own_database.dsn.partition("?")[0].rpartition("/")[2]
    with careless_role(server, name) as role:
        dsn = server.dsn_for(role, database=name)
        await check_survives_crashes(run_aggregator, server, dsn, own_database.dsn)


def test_a_server_that_does_not_flush_is_told_of_in_the_log(
    run_aggregator: Callable[..., Aggregator], own_database: OwnDatabase
) -> None:
    aggregator = run_aggregator(*own_database.arguments())
    (line,) = aggregator.log_lines("storage_warning")
    assert line["reason"].startswith("Postgres has fsync = off: what was acknowledged may be lost")
