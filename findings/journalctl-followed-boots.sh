#!/usr/bin/env bash
# journalctl 252 with --follow shows one boot only, whatever --no-tail, --boot=all and a cursor say.
#
# Since systemd 250 --follow implies --boot, and in 252 --boot=all does not undo it. So a shipper that goes on behind
# its cursor with --follow after the machine was started anew leaves out what the boot before wrote at its end, and in a
# directory of other machines' journals, all boots but that of the last entry. With --merge every boot is shown.
set -eu
remote=/usr/lib/systemd/systemd-journal-remote
[ -x $remote ] || remote=/lib/systemd/systemd-journal-remote
if [ ! -x $remote ]; then
    echo "needs systemd-journal-remote: apt-get install systemd-journal-remote" >&2
    exit 2
fi
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

# Two entries of one boot, and two of the next.
for number in 1 2 3 4; do
    boot=$(((number + 1) / 2))
    printf '__REALTIME_TIMESTAMP=170000000%d000000\n__MONOTONIC_TIMESTAMP=%d000000\n' $number $number
    printf '_BOOT_ID=%s\nMESSAGE=entry %d of boot %d\n\n' "$(printf '%032d' 0 | tr 0 $boot)" $number $boot
done | $remote --output="$folder/a.journal" - 2>/dev/null

# It runs until the last entry is shown.
show() {
    echo "$*:" | sed 's/--cursor=[^ :]*/--cursor=(that of entry 2)/'
    timeout 60 journalctl --directory="$folder" --output=cat --quiet --no-pager "$@" | sed '/entry 4/q' || true
}

cursor=$(journalctl --directory="$folder" --output=json --quiet | sed -n '2s/.*"__CURSOR" *: *"\([^"]*\)".*/\1/p')
{
    show --no-tail
    show --follow --no-tail
    show --follow --no-tail --boot=all
    show --follow --no-tail --cursor="$cursor"
    show --follow --no-tail --merge
} >"$folder/seen"
diff --unified - "$folder/seen" <<'SEEN'
--no-tail:
entry 1 of boot 1
entry 2 of boot 1
entry 3 of boot 2
entry 4 of boot 2
--follow --no-tail:
entry 3 of boot 2
entry 4 of boot 2
--follow --no-tail --boot=all:
entry 3 of boot 2
entry 4 of boot 2
--follow --no-tail --cursor=(that of entry 2):
entry 3 of boot 2
entry 4 of boot 2
--follow --no-tail --merge:
entry 1 of boot 1
entry 2 of boot 1
entry 3 of boot 2
entry 4 of boot 2
SEEN
echo "as it was"
