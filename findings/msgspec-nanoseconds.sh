#!/usr/bin/env bash
# msgspec, 0.22.0 and 0.23.0, rounds times to the microsecond, up into the next year if need be.
#
# The standard library, and most readers of RFC 3339, cut what they can't keep. Two readers of one
# text then do not agree on the second, the day or the year.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
for version in 0.22.0 0.23.0; do
    "$folder/venv/bin/pip" install --quiet "msgspec==$version"
    "$folder/venv/bin/python" - >>"$folder/seen" <<'PYTHON'
from datetime import datetime

import msgspec

text = "2026-12-31T23:59:59.9999996Z"
print(f"msgspec {msgspec.__version__}: {msgspec.convert(text, datetime)}")
print(f"datetime: {datetime.fromisoformat(text)}")
PYTHON
done
diff --unified - "$folder/seen" <<'SEEN'
msgspec 0.22.0: 2027-01-01 00:00:00+00:00
datetime: 2026-12-31 23:59:59.999999+00:00
msgspec 0.23.0: 2027-01-01 00:00:00+00:00
datetime: 2026-12-31 23:59:59.999999+00:00
SEEN
echo "as it was"
