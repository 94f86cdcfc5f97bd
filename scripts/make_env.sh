#!/bin/sh
# Makes .venv exactly as requirements.lock says, and installs this project into it. Called by the Makefile.
# Belongs here: finding an interpreter, filling the environment. Does not belong here: anything that a running platform needs.
set -eu

stamp=.venv/.stamp
log=.venv/install.log
fits='import sys; sys.exit(not ((3, 11) <= sys.version_info[:2] < (3, 14)))'

fail() {
    printf 'make: %s\n' "$1" >&2
    exit 1
}

# The first interpreter that starts (a version manager may offer names it cannot run), fits, and can make environments.
find_python() {
    seen=""
    for name in ${PYTHON:-python3.13 python3.12 python3.11 python3 python}; do
        "$name" -c "$fits" >/dev/null 2>&1 || continue
        seen=$name
        "$name" -c 'import ensurepip, venv' >/dev/null 2>&1 || continue
        printf '%s' "$name"
        return
    done
    if [ -n "$seen" ]; then
        fail "$seen has no venv module. Install it (Debian and Ubuntu: the package python3-venv), then run make again."
    fi
    fail "no Python from 3.11 to 3.13 found (tried: ${PYTHON:-python3.13 python3.12 python3.11 python3 python}). Install one, or name it: make demo PYTHON=/path/to/python3.12"
}

# Runs a step quietly; its whole output is in the log and on the terminal when it fails.
step() {
    "$@" >"$log" 2>&1 || {
        cat "$log" >&2
        fail "the environment could not be made: '$*' failed (see above). Nothing else is touched; run make again when it is repaired."
    }
}

if ! .venv/bin/python -c "$fits" >/dev/null 2>&1; then
    python=$(find_python)
    printf 'making .venv with %s\n' "$("$python" --version 2>&1)"
    "$python" -m venv --clear .venv || fail "$python -m venv .venv failed (see above)."
fi
rm -f "$stamp"

printf 'installing what requirements.lock names (the first time: one to three minutes)\n'
# uv comes from the lock too, with its hashes; pip is used for nothing else
sed -n '/^uv==/,/^    # via/p' requirements.lock >.venv/uv.lock
step .venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r .venv/uv.lock
step .venv/bin/uv pip sync --quiet --compile-bytecode --python .venv/bin/python --require-hashes requirements.lock
# no isolation: the build backend is in the lock, so that this step needs no network
step .venv/bin/uv pip install --quiet --python .venv/bin/python --no-deps --no-build-isolation -e .

rm -f .venv/uv.lock "$log"
touch "$stamp"
