"""The ceiling of HTTP: an aiohttp handler that parses the same JSON and answers.

python -m benchmarks.bare_handler    # prints its port
"""

import asyncio
import sys

import msgspec
import uvloop
from aiohttp import web

_MAX_BODY_BYTES = 64 * 2**20


class _Event(msgspec.Struct):
    topic: str
    event_id: str
    timestamp: str
    source: str
    payload: msgspec.Raw


_one = msgspec.json.Decoder(_Event)
_many = msgspec.json.Decoder(list[_Event])


async def _publish(request: web.Request) -> web.Response:
    body = await request.read()
    events = _many.decode(body) if body.startswith(b"[") else [_one.decode(body)]
    answer = msgspec.json.encode({"received": len(events)})
    return web.Response(body=answer, content_type="application/json")


async def _serve() -> None:
    app = web.Application(client_max_size=_MAX_BODY_BYTES)
    app.add_routes([web.post("/publish", _publish)])
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    sys.stdout.write(f"{runner.addresses[0][1]}\n")
    sys.stdout.flush()
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(_serve())
