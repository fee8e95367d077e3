"""The results of a run, as text and as files."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.rounds import Part
from benchmarks.tables import table
from benchmarks.targets import reach, targets_table


class Report:
    """The results of one run.

    Args:
        command: that made it.
        machine: what it was measured on, by what the thing is called.
    """

    def __init__(self, command: str, machine: Mapping[str, str]) -> None:
        self.parts: dict[str, Part] = {}
        """The parts that were measured so far."""
        self._command = command
        self._machine = machine
        self._date = datetime.now(UTC).isoformat(timespec="seconds")

    def heading(self) -> str:
        """Return the heading: the time and the machine of the run."""
        machine = "; ".join(f"{name}: {value}" for name, value in self._machine.items())
        return f"`{self._command}`, {self._date}\n\n{machine}"

    def text(self, name: str) -> str:
        """Return the tables of one part in Markdown."""
        return table(self.parts[name])

    def targets(self) -> str:
        """Return the table of the targets in Markdown."""
        return targets_table(reach(self.parts))

    def write(self, directory: Path) -> None:
        """Write figures.json and figures.md.

        Raises:
            OSError: a file can't be written.
        """
        parts = {
            name: {
                "measurements": {
                    each: [measured._asdict() for measured in many]
                    for each, many in part.measurements.items()
                },
                "not_measured": part.missing,
            }
            for name, part in self.parts.items()
        }
        targets = [
            each.target._asdict()
            | {"ratios": each.ratios, "why_not": each.why_not, "holds": each.holds}
            for each in reach(self.parts)
        ]
        told = {
            "command": self._command,
            "date": self._date,
            "machine": self._machine,
            "parts": parts,
            "targets": targets,
        }
        (directory / "figures.json").write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
        sections = [f"## {name}\n\n{self.text(name)}" for name in self.parts]
        text = "\n\n".join(
            ["# Figures", self.heading(), *sections, f"## Targets\n\n{self.targets()}"]
        )
        (directory / "figures.md").write_text(f"{text}\n", encoding="utf-8")
