"""The commands and the code of docs/use/recipes.md."""

import re
from pathlib import Path

_DOCUMENT = Path(__file__).parents[2] / "docs" / "use" / "recipes.md"


def commands(heading: str, language: str = "sh") -> list[str]:
    """The shell commands below a heading, or the code in another language, each as it is shown."""
    (section,) = re.findall(
        rf"^## {re.escape(heading)}\n(.*?)(?=^## |\Z)",
        _DOCUMENT.read_text(),
        re.DOTALL | re.MULTILINE,
    )
    return re.findall(rf"```{language}\n(.*?)```", section, re.DOTALL)
