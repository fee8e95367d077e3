"""What docs/use/credentials.md shows runs, and its options are those of the commands."""

import argparse
import re
from pathlib import Path
from typing import Any

from support.guarded import guarding
from support.tls import Authority

from publisher import Credentials, connection_options

PAGE = (Path(__file__).parents[3] / "docs" / "use" / "credentials.md").read_text(encoding="utf-8")
TOKEN = "agg_0123456789"


async def test_the_program_shows_its_token_to_who_is_trusted(tmp_path: Path) -> None:
    (block,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    names: dict[str, Any] = {}
    exec(compile(block, "credentials.md", "exec"), names)
    authority = Authority()
    ca_file = authority.write(tmp_path / "ca.pem")
    token_file = tmp_path / "token"
    token_file.write_text(f"{TOKEN}\n")
    async with guarding(TOKEN, context=authority.serving("127.0.0.1")) as server:
        await names["main"](server.url, str(token_file), str(ca_file))
    assert server.tokens == [f"Bearer {TOKEN}"]


def test_the_table_has_every_option_and_argument() -> None:
    parser = argparse.ArgumentParser(add_help=False)
    connection_options.add_to(parser)
    rows = "\n".join(line for line in PAGE.splitlines() if line.startswith("| `--"))
    options = {option for action in parser._actions for option in action.option_strings}
    assert set(re.findall(r"`(--[a-z-]+)[ `]", rows)) == options
    arguments = set(re.findall(r"`([a-z_]+)=`", rows))
    assert arguments == set(Credentials.__init__.__annotations__) - {"return"}
