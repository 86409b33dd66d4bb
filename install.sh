#!/bin/sh
# Sets up .venv beside this file: everything in requirements.lock and fer_bench itself,
# or, with names of packages after it (sh install.sh tox), only those, at the lock's versions.
# Needs Python 3.11 to 3.13 as python3 and the network; can be repeated. Asks nothing, but sudo may ask for a password
# where python3-venv is missing.
set -eu
cd "$(dirname "$0")"

if [ "$(id -u)" -eq 0 ]; then as_root=; else as_root=sudo; fi
apt_install() {
    $as_root apt-get update && $as_root apt-get install -y --no-install-recommends "$@"
}

python3 -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' || {
    echo "fer_bench needs Python 3.11 to 3.13 as python3" >&2
    exit 1
}
if ! python3 -c 'import ensurepip' 2>/dev/null; then
    # Debian keeps what puts pip into a virtual environment in a package of its own.
    echo "python3-venv is missing: installing it with apt-get"
    apt_install python3-venv
fi
python3 -m venv .venv
pip() { .venv/bin/python -m pip --disable-pip-version-check --no-input "$@"; }
pip install --quiet pip==26.3 # older ones know no hashes of constraints

if [ $# -gt 0 ]; then
    pip install --constraint requirements.lock "$@"
    if ! command -v chromium >/dev/null; then
        echo "chromium, for the tests of the report, is missing: installing it with apt-get"
        as_root=${as_root:+sudo -n} # a password is not worth asking for
        apt_install chromium || echo "chromium could not be installed: the tests of the report in a browser are skipped" >&2
    fi
else
    pip install --require-hashes --requirement requirements.lock
    pip install --quiet --no-deps --no-build-isolation --editable .
fi
