"""The Compose files and the image say what the documentation says of them; no engine is needed."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[3]
BASE = "docker-compose.yml"
ALONE = (BASE, "docker-compose.override.yml")
SCALED = (BASE, "docker-compose.scale.yml")


def services(*files: str) -> dict[str, dict[str, Any]]:
    """The services of some files, one laid over the other as Compose does it."""
    merged: dict[str, dict[str, Any]] = {}
    for file in files:
        for name, service in yaml.safe_load((ROOT / file).read_text())["services"].items():
            into = merged.setdefault(name, {})
            for key, value in service.items():
                into[key] = sorted({*into.get(key, ()), *value}) if key == "networks" else value
    return merged


@pytest.mark.parametrize("files", [ALONE, SCALED])
def test_nothing_runs_as_root_or_writes_to_its_root(files: tuple[str, ...]) -> None:
    for name, service in services(*files).items():
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert "privileged" not in service, name
        assert "cap_add" not in service, name
        assert service.get("user") != "root", name


@pytest.mark.parametrize("files", [ALONE, SCALED])
def test_everything_is_bounded_and_ended_in_good_time(files: tuple[str, ...]) -> None:
    for name, service in services(*files).items():
        assert re.fullmatch(r"\d+[mg]", service["mem_limit"]), name
        assert service["logging"]["options"].keys() == {"max-size", "max-file"}, name
        lasting = name not in {"publisher", "k6"}
        assert service["restart"] == ("unless-stopped" if lasting else "no"), name
        assert ("stop_grace_period" in service) is lasting, name


@pytest.mark.parametrize(("files", "open_to_the_host"), [(ALONE, "aggregator"), (SCALED, "proxy")])
def test_one_port_reaches_the_host_over_a_network_of_its_own(
    files: tuple[str, ...], open_to_the_host: str
) -> None:
    found = services(*files)
    assert {name for name, service in found.items() if "ports" in service} == {open_to_the_host}
    assert found[open_to_the_host]["ports"] == ["127.0.0.1:8080:8080"]
    for name, service in found.items():
        expected = {"appnet"} | ({"edge"} if name == open_to_the_host else set())
        assert set(service["networks"]) == expected, name
        assert "network_mode" not in service


def test_the_network_between_services_leads_nowhere_else() -> None:
    assert yaml.safe_load((ROOT / BASE).read_text())["networks"] == {"appnet": {"internal": True}}


def test_the_password_has_no_default() -> None:
    text = (ROOT / BASE).read_text()
    assert len(re.findall(r"\$\{POSTGRES_PASSWORD:\?", text)) == 2
    assert not re.search(r"\$\{POSTGRES_PASSWORD(?!:\?)", text)
    assert not re.search(r"://[^@\s]*:[^@\s]*@", text), "a password in a DSN"
    assert ".env" in (ROOT / ".gitignore").read_text().splitlines()


def test_each_waits_for_what_it_needs_to_be_healthy() -> None:
    found = services(*SCALED)
    needs = {
        name: {
            needed
            for needed, how in service.get("depends_on", {}).items()
            if how == {"condition": "service_healthy"}
        }
        for name, service in found.items()
    }
    assert needs == {
        "storage": set(),
        "aggregator": {"storage"},
        "publisher": {"aggregator"},
        "k6": {"aggregator"},
        "proxy": {"aggregator"},
    }
    assert "pg_isready" in found["storage"]["healthcheck"]["test"]
    assert "/ready" in str(found["aggregator"]["healthcheck"]["test"])


def test_the_data_is_in_a_named_volume_where_the_image_keeps_it() -> None:
    storage = services(BASE)["storage"]
    (version,) = re.fullmatch(r"postgres:(\d+)(?:\.\d+)?", storage["image"]).groups()  # type: ignore[union-attr]
    assert int(version) >= 18, "before 18 the image keeps its data in /var/lib/postgresql/data"
    assert storage["volumes"] == ["pg_data:/var/lib/postgresql"]
    assert "pg_data" in yaml.safe_load((ROOT / BASE).read_text())["volumes"]


def test_the_demonstration_repeats_at_least_three_tenths() -> None:
    command = services(BASE)["publisher"]["command"]
    assert float(command[command.index("--duplicates") + 1]) >= 0.3


def test_the_image_is_what_compose_runs() -> None:
    text = (ROOT / "Dockerfile").read_text()
    assert re.search(r"^USER \d+:\d+$", text, re.MULTILINE)
    assert re.findall(r"^ENTRYPOINT (.*)$", text, re.MULTILINE) == [
        '["python", "-m", "aggregator"]'
    ]
    aggregator = services(BASE)["aggregator"]
    assert "entrypoint" not in aggregator
    assert f"CMD {aggregator['healthcheck']['test'][1:]}".replace("'", '"') == re.search(
        r"CMD \[.*", text
    )[0].replace("'", '"')  # type: ignore[index]


@pytest.mark.usefixtures("processes")
@pytest.mark.parametrize("extra", ["", "tracing"])
def test_the_image_gets_the_dependencies_and_the_extras_that_are_named(extra: str) -> None:
    text = (ROOT / "Dockerfile").read_text()
    (command,) = re.findall(r"^RUN (python3 -c .*) > ", text, re.MULTILINE)
    listed = subprocess.check_output(
        ["sh", "-c", command.replace("python3", sys.executable)], cwd=ROOT, env={"EXTRAS": extra}
    )
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    more = project["optional-dependencies"][extra] if extra else []
    assert listed.decode().splitlines() == project["dependencies"] + more


def test_what_is_packaged_gets_into_the_image() -> None:
    text = (ROOT / "Dockerfile").read_text()
    kept = (ROOT / ".dockerignore").read_text().splitlines()
    for package in ("aggregator", "storage", "publisher", "subscriber"):
        assert f"COPY {package} {package}" in text
        assert f"!{package}" in kept
    for copied in re.findall(r"^COPY (?!--from)(.*)$", text, re.MULTILINE):
        for name in copied.split()[:-1]:
            assert f"!{name}" in kept, name
