#!/usr/bin/env bash
# Python 3.11.0 to 3.11.4: after a possessive group that failed half way, `re` goes on from there.
#
# A round of the group that has matched a repeat, and then fails, is not undone: what follows the
# group is looked for behind the repeat. 3.11.2 is Debian 12's own Python. From 3.11.5 on, and in
# 3.12 and later, it is right (python/cpython#106052).
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
old=
for python in python3.11 /usr/bin/python3.11; do
    if "$python" -c 'import sys; sys.exit(sys.version_info[:3] > (3, 11, 4))' 2>/dev/null; then
        old=$python
    fi
done
if [ -z "$old" ]; then
    echo "needs a Python from 3.11.0 to 3.11.4, such as python3.11 of Debian 12" >&2
    exit 2
fi
"$old" - >"$folder/seen" <<'PYTHON'
import re

for pattern in (r"(?:ab*c)*+a", r"(?:ab*c)*a"):
    found = re.match(pattern, "abb")
    print(pattern, "in abb:", found and found[0])
PYTHON
diff --unified - "$folder/seen" <<'SEEN'
(?:ab*c)*+a in abb: None
(?:ab*c)*a in abb: a
SEEN
echo "as it was"
