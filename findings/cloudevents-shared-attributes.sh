#!/usr/bin/env bash
# cloudevents 2.2.0 writes the id that it makes up into the caller's own dict.
#
# Attributes without an id get one, and a time, in the dict that was passed in. Events that are
# made from one dict of common attributes, as one writes it in a loop, all have the id of the first.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet cloudevents==2.2.0
"$folder/venv/bin/python" - >"$folder/seen" <<'PYTHON'
from cloudevents.core.v1.event import CloudEvent

common = {"type": "sold", "source": "shop"}
shared = [CloudEvent(attributes=common, data={"n": n}) for n in range(3)]
print(f"the caller's dict: {sorted(common)}")
print(f"three events of one dict: {len({event.get_id() for event in shared})} id")
apart = [CloudEvent(attributes={"type": "sold", "source": "shop"}) for _ in range(3)]
print(f"three events of three dicts: {len({event.get_id() for event in apart})} ids")
PYTHON
diff --unified - "$folder/seen" <<'SEEN'
the caller's dict: ['id', 'source', 'specversion', 'time', 'type']
three events of one dict: 1 id
three events of three dicts: 3 ids
SEEN
echo "as it was"
