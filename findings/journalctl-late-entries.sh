#!/usr/bin/env bash
# journalctl 252, following several journals, never shows an entry with an earlier time than it has shown from another.
#
# So it is for the journals that systemd-journal-remote keeps of several machines: what one sends a moment later than
# another is left out, in silence. A cursor does not help, as it has that time too; who reads from the start sees all.
set -eu
remote=/usr/lib/systemd/systemd-journal-remote
[ -x $remote ] || remote=/lib/systemd/systemd-journal-remote
if [ ! -x $remote ]; then
    echo "needs systemd-journal-remote: apt-get install systemd-journal-remote" >&2
    exit 2
fi
folder=$(mktemp -d)
follower=
trap '[ -z "$follower" ] || kill "$follower"; wait; rm -rf "$folder"' EXIT
mkdir "$folder/journals"

# An entry of a machine, so many seconds after the first.
entry() {
    local boot=$(printf '%032d' 0 | tr 0 "$1")
    printf '__REALTIME_TIMESTAMP=17000000%02d000000\n__MONOTONIC_TIMESTAMP=%d000000\n_BOOT_ID=%s\nMESSAGE=%s at %s\n\n' \
        "$2" "$2" "$boot" "$1" "$2" | $remote --output="$folder/journals/remote-$1.journal" - 2>/dev/null
}

# Wait until the follower has shown a message.
shown() {
    for _ in $(seq 100); do
        grep --quiet --line-regexp "$1" "$folder/followed" && return
        sleep 0.1
    done
    echo "never shown: $1"
    return 1
}

entry a 10
journalctl --directory="$folder/journals" --merge --follow --no-tail --output=cat --quiet >"$folder/followed" &
follower=$!
shown 'a at 10'
entry b 5
entry b 11
shown 'b at 11'
entry a 12
shown 'a at 12'
cursor=$(journalctl --directory="$folder/journals" --output=json --quiet 'MESSAGE=a at 10' |
    sed -n 's/.*"__CURSOR" *: *"\([^"]*\)".*/\1/p')
{
    echo "followed:"
    cat "$folder/followed"
    echo "read behind the cursor of a at 10:"
    journalctl --directory="$folder/journals" --after-cursor="$cursor" --output=cat --quiet
    echo "read from the start:"
    journalctl --directory="$folder/journals" --output=cat --quiet
} >"$folder/seen"
diff --unified - "$folder/seen" <<'SEEN'
followed:
a at 10
b at 11
a at 12
read behind the cursor of a at 10:
b at 11
a at 12
read from the start:
b at 5
a at 10
b at 11
a at 12
SEEN
echo "as it was"
