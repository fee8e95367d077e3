"""The environment: variables that are settings, and those that only look like one."""

import re
from collections.abc import Iterable, Mapping

from aggregator.settings.option import PREFIX, Option

_SERVICE_ADDRESS = re.compile("(?:tcp|udp|sctp)://")
_INJECTED = re.compile(
    r"\w+_(?:SERVICE_HOST|SERVICE_PORT(?:_\w+)?|PORT_[0-9]+_(?:TCP|UDP|SCTP)(?:_(?:PROTO|PORT|ADDR))?"
    r"|ENV_\w+)",
    re.ASCII,
)
"""What Kubernetes, or a link of Docker, calls variables about a service, but for NAME and PORT."""

_OF_OTHERS = frozenset(
    {"AGGREGATOR_SUBSCRIPTION", "AGGREGATOR_TEST_DSN", "AGGREGATOR_TOKEN", "AGGREGATOR_URL"}
)
"""No settings, and no mistakes: `subscriber run` tells its commands the first and the last, clients
take the last two, and the other one is for the tests of this project."""


def given_variables(options: Iterable[Option], environment: Mapping[str, str]) -> dict[str, str]:
    """Return the values that variables give to settings, by the name of the setting.

    Capitals and small letters are the same. An empty variable counts as none, and so does one of
    `injected_variables`.

    Args:
        options: the settings.
        environment: variables and their values.
    """
    injected = injected_variables(environment)
    # Of two that differ in capitals alone the last one counts.
    given = {
        name.upper(): value
        for name, value in environment.items()
        if value and name not in injected and name.upper().startswith(PREFIX)
    }
    return {each.name: given[each.variable] for each in options if each.variable in given}


def injected_variables(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the variables named like a setting that hold the address of a service.

    Kubernetes puts AGGREGATOR_PORT=tcp://10.96.0.12:8080 into every container when there is a
    Service called aggregator, and so does a link of Docker. Of all the names that they make,
    AGGREGATOR_PORT alone is that of a setting.
    """
    return {
        name: value
        for name, value in environment.items()
        if name.upper() == f"{PREFIX}PORT" and _SERVICE_ADDRESS.match(value)
    }


def unknown_variables(
    options: Iterable[Option], environment: Mapping[str, str]
) -> dict[str, str | None]:
    """Return the variables named like settings that are none, each with the nearest name of one.

    Left out are those that something else sets: Kubernetes and Docker for a service whose name
    begins with "aggregator", and those of the project's tests.
    """
    known = [each.name.upper() for each in options]
    unknown: dict[str, str | None] = {}
    for name, value in environment.items():
        upper = name.upper()
        if not upper.startswith(PREFIX) or upper in _OF_OTHERS or _is_injected(upper, value):
            continue
        setting = upper.removeprefix(PREFIX)
        if setting not in known:
            near = nearest(setting, known)
            unknown[name] = None if near is None else PREFIX + near
    return unknown


def nearest(name: str, known: Iterable[str]) -> str | None:
    """Return the known name that a misspelled one is most like; None if there is none like it."""
    # Only a mistake needs it, not every start.
    import difflib  # noqa: PLC0415

    found = difflib.get_close_matches(name, list(known), n=1)
    return found[0] if found else None


def _is_injected(upper: str, value: str) -> bool:
    if _INJECTED.fullmatch(upper):
        return True
    # Many a typing error ends like these, so what they hold has the last word.
    if upper.endswith("_PORT"):
        return _SERVICE_ADDRESS.match(value) is not None
    return upper.endswith("_NAME") and re.fullmatch("/[^/]+/[^/]+", value) is not None
