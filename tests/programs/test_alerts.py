"""The alert rules of docs/operations, asked of Prometheus' own promtool."""

import re
import subprocess
from pathlib import Path
from typing import Any

import yaml
from support.programs import program

OPERATIONS = Path(__file__).parents[2] / "docs" / "operate"
RULES = OPERATIONS / "alerts.yml"
TESTS = Path(__file__).with_name("alerts_test.yml")


def promtool(*arguments: str | Path) -> str:
    """Run promtool; gives what it says, and fails the test when it finds fault."""
    done = subprocess.run(
        [program("promtool"), *arguments],
        check=False,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def alerts(content: Any) -> set[str]:
    return {rule["alert"] for group in content["groups"] for rule in group["rules"]}


def test_the_rules_are_sound() -> None:
    assert f"{len(alerts(yaml.safe_load(RULES.read_text())))} rules found" in promtool(
        "check", "rules", RULES
    )


def test_each_alert_fires_when_it_should_and_no_sooner() -> None:
    assert "SUCCESS" in promtool("test", "rules", TESTS)


def test_each_alert_is_tested_both_ways_and_has_its_remedy() -> None:
    every = alerts(yaml.safe_load(RULES.read_text()))
    cases = [case for each in yaml.safe_load(TESTS.read_text())["tests"]
             for case in each["alert_rule_test"]]  # fmt: skip
    for fires in (True, False):
        assert {case["alertname"] for case in cases if ("exp_alerts" in case) is fires} == every
    page = (OPERATIONS / "metrics.md").read_text()
    assert set(re.findall(r"^\| `(Aggregator\w+)` \|", page, re.MULTILINE)) == every
