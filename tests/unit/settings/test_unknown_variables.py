"""Variables named like settings that are none: told with the nearest name, and never refused."""

import pytest
from unit.settings.test_injected_variables import URL, services, variables_for

from aggregator.settings.environment import unknown_variables
from aggregator.settings.model import Settings


def unknown(**environment: str) -> dict[str, str | None]:
    return unknown_variables(Settings.options().values(), environment)


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("AGGREGATOR_DATABSE", "AGGREGATOR_DATABASE"),
        ("AGGREGATOR_LOGLEVEL", "AGGREGATOR_LOG_LEVEL"),
        ("AGGREGATOR_QUEUE_MAX_EVENT", "AGGREGATOR_QUEUE_MAX_EVENTS"),
        ("AGGREGATOR_MAX_QUEUE_EVENTS", "AGGREGATOR_QUEUE_MAX_EVENTS"),
        ("aggregator_databse", "AGGREGATOR_DATABASE"),
        ("AGGREGATOR_HTTP_PORT", "AGGREGATOR_PORT"),
        ("AGGREGATOR_SCHEMA_NAME", "AGGREGATOR_SCHEMA"),
        ("AGGREGATOR_COFFEE", None),
        ("AGGREGATOR_", None),
    ],
)
def test_a_typing_error_is_told_with_the_nearest_name(name: str, meant: str | None) -> None:
    assert unknown(**{name: "x"}) == {name: meant}
    # Empty it is told as well: whoever set it meant something.
    assert unknown(**{name: ""}) == {name: meant}


def test_settings_and_variables_of_others_are_not_told() -> None:
    settings = {each.variable: "x" for each in Settings.options().values()}
    assert unknown(**settings) == {}
    assert unknown(**{name.lower(): "x" for name in settings}) == {}
    assert unknown(PATH="x", DATABASE_URL="x", MY_AGGREGATOR_PORTS="x", AGGREGATORS="x") == {}
    assert unknown(AGGREGATOR_TEST_DSN="postgresql://localhost/postgres") == {}
    assert unknown(AGGREGATOR_TOKEN="agg_0") == {}
    assert unknown(AGGREGATOR_URL="http://aggregator:8080", AGGREGATOR_SUBSCRIPTION="mails") == {}


def test_what_is_injected_for_a_service_is_not_told() -> None:
    injected = dict(variable for service in services() for variable in variables_for(service))
    assert unknown(**injected) == {}
    assert unknown(AGGREGATOR_WEB_PORT=URL) == {}
    assert unknown(AGGREGATOR_WEB_PORT="8080") == {"AGGREGATOR_WEB_PORT": "AGGREGATOR_PORT"}
