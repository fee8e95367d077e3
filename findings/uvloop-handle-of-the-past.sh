#!/usr/bin/env bash
# uvloop 0.23.0 gives no TimerHandle for a time that is past.
#
# `call_later` with a delay of zero or less, and `call_at` with a time that is over, return a plain
# Handle, which has no `when()`; asyncio's own loop returns a TimerHandle, as its documentation says.
# Who keeps the handle to compare its time with a later one meets an AttributeError, and only if the
# machine was busy for long enough.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet uvloop==0.23.0
"$folder/venv/bin/python" - >"$folder/seen" <<'PYTHON'
import asyncio

import uvloop


async def handles():
    loop = asyncio.get_running_loop()
    for delay in (60, 0, -1):
        handle = loop.call_later(delay, print)
        print(f"  call_later({delay}): when() is {'there' if hasattr(handle, 'when') else 'missing'}")
        handle.cancel()
    handle = loop.call_at(loop.time() - 1, print)
    print(f"  call_at(a second ago): when() is {'there' if hasattr(handle, 'when') else 'missing'}")
    handle.cancel()


print("asyncio")
asyncio.run(handles())
print("uvloop")
uvloop.run(handles())
PYTHON
diff --unified - "$folder/seen" <<'SEEN'
asyncio
  call_later(60): when() is there
  call_later(0): when() is there
  call_later(-1): when() is there
  call_at(a second ago): when() is there
uvloop
  call_later(60): when() is there
  call_later(0): when() is missing
  call_later(-1): when() is missing
  call_at(a second ago): when() is missing
SEEN
echo "as it was"
