#!/usr/bin/env bash
# Installs other process managers from PyPI into a folder of their own and times them beside procq. Nothing needs them.
#
#   benches/peers.sh [FOLDER]     (default: a folder in /tmp that is kept for the next time)
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
folder=${1:-/tmp/procq-peers-$(id -u)}

if [[ ! -x $folder/bin/supervisord ]]; then
    "$root/.venv/bin/python" -m venv "$folder"
    # supervisor 4 asks for pkg_resources, which setuptools 81 no longer has.
    "$folder/bin/pip" install --quiet --disable-pip-version-check supervisor circus honcho 'setuptools<81'
fi
PROCQ_PEERS=$folder exec "$root/.venv/bin/python" "$root/benches/run.py" peers
