#!/usr/bin/env bash
# systemd-journal-remote 252 keeps a value of a repeated field once, however often an entry has it.
#
# Who counts on the values of a field, or makes a digest of them, gets another result from a journal that was received
# than from the entry that was sent. Values that differ are all there.
set -eu
remote=/usr/lib/systemd/systemd-journal-remote
[ -x $remote ] || remote=/lib/systemd/systemd-journal-remote
if [ ! -x $remote ]; then
    echo "needs systemd-journal-remote: apt-get install systemd-journal-remote" >&2
    exit 2
fi
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
boot=$(printf '%032d' 0 | tr 0 a)
printf '__REALTIME_TIMESTAMP=1700000001000000\n__MONOTONIC_TIMESTAMP=1000000\n_BOOT_ID=%s\nTAG=b\nTAG=a\nTAG=b\n\n' "$boot" |
    $remote --output="$folder/remote-a.journal" - 2>/dev/null
journalctl --directory="$folder" --output=export --quiet | grep --text '^TAG=' | sort >"$folder/seen"
diff --unified - "$folder/seen" <<'SEEN'
TAG=a
TAG=b
SEEN
echo "as it was"
