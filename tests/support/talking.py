"""Talking to the application in the contract's words: publish, read all, expect a problem."""

import json
import re
from collections.abc import Mapping
from io import BytesIO
from typing import Any

from aiohttp import ClientResponse
from yarl import URL

from support.http import Client

JSON = {"Content-Type": "application/json"}
NDJSON = {"Content-Type": "application/x-ndjson"}

_LINK = re.compile(r'<([^>]*)>; rel="next"')


def text_of(**changes: str) -> bytes:
    """A valid event as JSON text; each change is the JSON text of a field, "" leaves it out."""
    fields = {
        "topic": '"orders"',
        "event_id": '"e-1"',
        "timestamp": '"2026-01-31T12:00:00Z"',
        "source": '"shop"',
        "payload": '{"total": 42}',
    } | changes
    members = (f'"{name}": {value}' for name, value in fields.items() if value)
    return ("{" + ", ".join(members) + "}").encode()


def nested(levels: int) -> str:
    """A payload of that many levels, objects and arrays in turn."""
    inner = levels - 1
    return '{"a":' + "[" * inner + "]" * inner + "}" if inner else "{}"


async def send(
    client: Client, body: bytes, headers: Mapping[str, str] | None = None
) -> ClientResponse:
    """POST a body as it is to /publish; it is JSON unless `headers` say otherwise."""
    return await client.post("/publish", data=BytesIO(body), headers={**JSON, **(headers or {})})


async def publish(
    client: Client, content: object, headers: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """Publish and give the answer back; bytes go as they are, anything else as JSON."""
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    response = await send(client, body, headers)
    assert response.status == 200, await response.text()
    assert response.content_type == "application/json"
    answer: dict[str, Any] = await response.json()
    return answer


def statuses(answer: Mapping[str, Any]) -> list[str]:
    """The verdicts of a publish, in the order sent."""
    return [result["status"] for result in answer["results"]]


async def get_json(client: Client, target: str, **parameters: object) -> Any:
    """GET a path that answers 200."""
    response = await client.get(target, params={k: str(v) for k, v in parameters.items()})
    assert response.status == 200, await response.text()
    assert response.content_type == "application/json"
    return await response.json()


def next_link(response: ClientResponse) -> URL | None:
    """Where the `Link` header leads from that answer, or None on the last page."""
    link = response.headers.get("Link")
    if link is None:
        return None
    found = _LINK.fullmatch(link)
    assert found is not None, link
    return response.url.join(URL(found[1], encoded=True)).relative()


async def read_pages(client: Client, **parameters: object) -> list[list[dict[str, Any]]]:
    """Every page of a read, following `Link` to its end."""
    pages: list[list[dict[str, Any]]] = []
    response = await client.get("/events", params={k: str(v) for k, v in parameters.items()})
    while True:
        assert response.status == 200, await response.text()
        pages.append(await response.json())
        target = next_link(response)
        if target is None:
            return pages
        assert len(pages) < 1000, "the pages do not end"
        response = await client.get(target)


async def read_all(client: Client, **parameters: object) -> list[dict[str, Any]]:
    """Every event of a read, following `Link` to its end."""
    return [event for page in await read_pages(client, **parameters) for event in page]


async def expect_problem(response: ClientResponse, status: int) -> dict[str, Any]:
    """Check an error's form and give its content back."""
    assert response.status == status, await response.text()
    assert response.content_type == "application/problem+json"
    content: dict[str, Any] = await response.json()
    assert set(content) - {"errors", "code"} == {"type", "title", "status", "detail"}
    assert content["status"] == status
    assert content["title"]
    assert content["detail"]
    if status == 503:
        assert int(response.headers["Retry-After"]) >= 1
    for error in content.get("errors", []):
        assert set(error) == {"index", "field", "message"}
    return content
