"""Pages in browsers, and an aggregator that speaks TLS itself."""

from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from aiohttp import ClientSession
from support.events import published
from support.processes import Aggregator
from support.tls import Authority


@pytest.mark.parametrize("fast_path", ["auto", "off"])
async def test_with_tls_of_its_own_pages_without_and_foreign_hosts_are_refused(
    fast_path: str, run_aggregator: Callable[..., Aggregator], tmp_path: Path
) -> None:
    authority = Authority()
    pair = authority.pair(tmp_path, "127.0.0.1")
    url = run_aggregator(*pair.options(), "--fast-path", fast_path).url
    at = urlsplit(url).netloc
    async with ClientSession(url) as client:
        for headers, status in [
            ({"Origin": f"https://{at}"}, 200),
            ({"Origin": f"http://{at}"}, 403),
            ({"Origin": "https://127.0.0.1"}, 403),
            ({"Host": "evil.test", "Origin": "https://evil.test"}, 403),
            ({"Host": "evil.test", "Cookie": "a=b"}, 403),
        ]:
            sent = client.post(
                "/publish", json=published(), headers=headers, ssl=authority.client()
            )
            async with sent as answer:
                assert answer.status == status, (headers, await answer.text())
