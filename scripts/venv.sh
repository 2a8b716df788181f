#!/usr/bin/env bash
# Makes or refreshes one virtual environment: scripts/venv.sh FOLDER LOCK NEWEST
# FOLDER then holds exactly what requirements/build.txt and LOCK name, by hash, and slotcast itself
# (editable). NEWEST is the last Python 3 minor version for which LOCK has wheels.
# uv does the work: 2 s for the serving packages where pip needs 13 s (25 s with bytecode).
set -euo pipefail
folder=$1 lock=$2 newest=$3
python=${PYTHON:-python3}

here=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null) || {
    echo "$python does not run: install Python 3.11 to 3.$newest, or name one: make PYTHON=/path/to/python3" >&2
    exit 1
}
if [ "${here%%.*}" != 3 ] || [ "${here#*.}" -lt 11 ] || [ "${here#*.}" -gt "$newest" ]; then
    echo "$python is Python $here, $lock is for 3.11 to 3.$newest: name another with  make PYTHON=python3.11" >&2
    exit 1
fi

there=$("$folder/bin/python" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null || true)
if [ "$there" != "$here" ] || ! [ -x "$folder/bin/pip" ]; then
    echo "making $folder with Python $here"
    rm -rf "$folder"
    # Debian keeps venv in a package of its own, without a command by which to know it.
    "$python" -c 'import ensurepip, venv' 2>/dev/null ||
        "$(dirname "$0")/need.sh" "(venv)=python$here-venv"
    "$python" -m venv "$folder"
fi

# pip and uv name the same two settings differently: a private authority, a private index.
ca=${PIP_CERT:-${REQUESTS_CA_BUNDLE:-}}
[ -z "$ca" ] || export SSL_CERT_FILE=${SSL_CERT_FILE:-$ca}
[ -z "${PIP_INDEX_URL:-}" ] || export UV_DEFAULT_INDEX=${UV_DEFAULT_INDEX:-$PIP_INDEX_URL}

uv() { "$folder/bin/uv" "$@" --quiet --python "$folder/bin/python"; }
echo "installing $lock into $folder"
"$folder/bin/pip" install --quiet --disable-pip-version-check --require-hashes -r requirements/build.txt
# Bytecode now, and not at the first import: some people turn writing it later off.
uv pip sync --compile-bytecode --require-hashes requirements/build.txt "$lock"
uv pip install --no-deps --no-build-isolation --editable .
