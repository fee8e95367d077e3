from support.events import published
from support.http import Client


async def test_publish_and_read_back(client: Client) -> None:
    event = published()
    answer = await client.post("/publish", json=event)
    assert answer.status == 200, await answer.text()
    again = await client.post("/publish", json=event)
    assert (await again.json())["duplicate_dropped"] == 1
    page = await client.get("/events", params={"topic": "orders", "after": 0})
    assert [e["event_id"] for e in await page.json()] == [event["event_id"]]
