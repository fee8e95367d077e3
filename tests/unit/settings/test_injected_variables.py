"""Environment variables that Kubernetes and Docker set for a service: none is taken for a setting.

A Service called `aggregator-log` gives every container AGGREGATOR_LOG_PORT=tcp://10.96.0.12:8080
and a dozen more, whose names begin like those of the settings.
"""

import os
import re
from collections.abc import Iterator
from typing import TypeVar

import pytest

from aggregator.settings.command_line import Parser, read_settings
from aggregator.settings.environment import injected_variables
from aggregator.settings.model import Settings
from aggregator.settings.storage import StorageSettings, VerifySettings

AnySettings = TypeVar("AnySettings", bound=StorageSettings)

ADDRESS = "10.96.0.12"
URL = f"tcp://{ADDRESS}:8080"
INJECTED = re.compile(
    r"[A-Z0-9_]+_(SERVICE_HOST|SERVICE_PORT(_[A-Z0-9_]+)?"
    r"|PORT(_[0-9]+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?"
    r"|NAME|ENV_[A-Za-z0-9_]+)"
)
READ_BESIDES = ("DATABASE_URL", "SSL_CERT_FILE", "XDG_STATE_HOME")
SETTINGS = [f"AGGREGATOR_{name.upper()}" for name in Settings.options()]


def read(kind: type[AnySettings]) -> AnySettings:
    """The settings of a command line without options."""
    return read_settings(kind, Parser("aggregator", usage="", description=""), [])


def variables_for(service: str) -> Iterator[tuple[str, str]]:
    """What a container sees of a service: by Kubernetes, and by a link of Docker."""
    yield f"{service}_SERVICE_HOST", ADDRESS
    yield f"{service}_SERVICE_PORT", "8080"
    yield f"{service}_SERVICE_PORT_HTTP", "8080"
    yield f"{service}_PORT", URL
    for protocol in ("TCP", "UDP", "SCTP"):
        prefix = f"{service}_PORT_8080_{protocol}"
        yield prefix, f"{protocol.lower()}://{ADDRESS}:8080"
        yield f"{prefix}_PROTO", protocol.lower()
        yield f"{prefix}_PORT", "8080"
        yield f"{prefix}_ADDR", ADDRESS
    yield f"{service}_NAME", "/web/aggregator"
    yield f"{service}_ENV_AGGREGATOR_HOST", "0.0.0.0"


def services() -> set[str]:
    """Every name of a service that a setting's variable begins with."""
    found = set()
    for variable in (*SETTINGS, *READ_BESIDES):
        words = variable.split("_")
        found |= {"_".join(words[:end]) for end in range(1, len(words) + 1)}
    return found


def test_these_are_the_names_that_are_injected() -> None:
    for service in services():
        assert all(INJECTED.fullmatch(name) for name, _ in variables_for(service))


def test_of_all_that_is_read_the_port_alone_has_a_name_that_is_injected() -> None:
    """Another one that has needs the same care: see `injected_variables`."""
    assert [name for name in (*SETTINGS, *READ_BESIDES) if INJECTED.fullmatch(name)] == [
        "AGGREGATOR_PORT"
    ]


@pytest.fixture
def _bare(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*SETTINGS, *READ_BESIDES):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.usefixtures("_bare")
def test_no_service_changes_a_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    plain, plain_verify = read(Settings), read(VerifySettings)
    for service in services():
        for name, value in variables_for(service):
            monkeypatch.setenv(name, value)
    assert read(Settings) == plain
    assert read(VerifySettings) == plain_verify
    assert injected_variables(os.environ) == {"AGGREGATOR_PORT": URL}


@pytest.mark.usefixtures("_bare")
@pytest.mark.parametrize("url", [URL, "udp://[fd00::1]:8080", "sctp://10.96.0.12:1"])
def test_the_address_of_a_service_is_no_port(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("aggregator_port", url)
    assert read(Settings).port == 8080
    assert injected_variables(os.environ) == {"aggregator_port": url}


@pytest.mark.usefixtures("_bare")
@pytest.mark.parametrize(
    ("name", "value"), [("PORT", "http://10.96.0.12:8080"), ("DSN", URL), ("QUEUE_MAX_BYTES", URL)]
)
def test_what_nobody_injects_is_refused_as_ever(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"AGGREGATOR_{name}", value)
    with pytest.raises(ValueError, match=name if name != "DSN" else "scheme 'tcp'"):
        read(Settings)
