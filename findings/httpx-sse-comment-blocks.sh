#!/usr/bin/env bash
# httpx-sse 0.4.3 makes events of blocks that have no data.
#
# The HTML standard says of server-sent events that a block whose data is empty is no event. Once
# an event has had an id, each block of comments alone comes out as an empty event with that id
# again; so does a block of an id alone, and one of `retry:` alone even before any id.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet httpx==0.28.1 httpx-sse==0.4.3
"$folder/venv/bin/python" - >"$folder/seen" <<'PYTHON'
import httpx
from httpx_sse import EventSource


def show(what: str, stream: bytes) -> None:
    response = httpx.Response(
        200, headers={"content-type": "text/event-stream"}, content=stream
    )
    events = [(event.id, event.data) for event in EventSource(response).iter_sse()]
    print(f"{what}: {events}")


show("a comment ahead of any id", b": ping\n\n")
show("a comment behind an id", b"id: 7\ndata: x\n\n: ping\n\n")
show("a comment without a blank line", b"id: 7\ndata: x\n\n:\ndata: y\n\n")
show("an id alone", b"id: 8\n\n")
show("retry alone", b"retry: 1000\n\n")
PYTHON
diff --unified - "$folder/seen" <<'SEEN'
a comment ahead of any id: []
a comment behind an id: [('7', 'x'), ('7', '')]
a comment without a blank line: [('7', 'x'), ('7', 'y')]
an id alone: [('8', '')]
retry alone: [('', '')]
SEEN
echo "as it was"
