"""Reading as NDJSON."""

import json
from typing import Any

from support.http import Client

ACCEPT_LINES = {"Accept": "application/x-ndjson"}


async def read_lines(client: Client, **parameters: object) -> list[dict[str, Any]]:
    """Every event of a read as NDJSON, one object a line."""
    response = await client.get(
        "/events", params={k: str(v) for k, v in parameters.items()}, headers=ACCEPT_LINES
    )
    text = await response.text()
    assert response.status == 200, text
    assert response.content_type == "application/x-ndjson"
    lines = text.split("\n")
    assert lines.pop() == ""
    return [json.loads(line) for line in lines]
