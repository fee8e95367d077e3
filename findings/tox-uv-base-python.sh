#!/usr/bin/env bash
# tox-uv 1.37.1 looks for the first Python of `base_python` alone.
#
# tox takes the first of the list that it finds. With tox-uv as a plugin the same file fails where
# the first is missing, although the second is there.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet tox==4.67.15 tox-uv==1.37.1 uv==0.13.9
cat >"$folder/tox.ini" <<'INI'
[testenv:either]
skip_install = true
uv_python_preference = only-system
base_python = python3.99, python3
commands = python -c "print('ran')"
INI
for runner in virtualenv uv-venv-runner; do
    ended=0
    "$folder/venv/bin/tox" -q -c "$folder" -e either --runner "$runner" >"$folder/told" 2>&1 || ended=$?
    echo "$runner: status $ended, $(grep -c -x ran "$folder/told" || true) run" >>"$folder/seen"
done
diff --unified - "$folder/seen" <<'SEEN'
virtualenv: status 0, 1 run
uv-venv-runner: status 2, 0 run
SEEN
echo "as it was"
