"""Responses in JSON, and the header that leads to the next page."""

from collections.abc import Mapping

from aiohttp import web


def json_response(body: bytes, headers: Mapping[str, str] | None = None) -> web.Response:
    """Return a response with a JSON body."""
    return web.Response(body=body, headers=headers, content_type="application/json")


def link_header(target: str) -> dict[str, str]:
    """Return the header that links to the next page (RFC 8288).

    Args:
        target: the query string of that page, with its `?`.
    """
    return {"Link": f'<{target}>; rel="next"'}
