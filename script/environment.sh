# shellcheck shell=sh
# Sourced by the scripts beside it, from the root of the checkout: where things are that this machine may lack.
# All of it stays in the checkout: .venv, .tools, .cache.
VENV=${VENV:-.venv}
PATH=$PATH:$PWD/.tools/uv/bin:$PWD/.tools/restic/usr/bin
export VENV PATH
if [ ! -w "${HOME:-/nonexistent}" ] || { [ -e "$HOME/.cache" ] && [ ! -w "$HOME/.cache" ]; }; then
    export UV_CACHE_DIR="${UV_CACHE_DIR:-$PWD/.cache/uv}" UV_TOOL_DIR="${UV_TOOL_DIR:-$PWD/.cache/uv-tools}"
    export PIP_CACHE_DIR="${PIP_CACHE_DIR:-$PWD/.cache/pip}"
fi
# Authorities that this machine trusts, a company's own among them: uv alone would know only the public ones.
if [ -s /etc/ssl/certs/ca-certificates.crt ]; then
    export UV_SYSTEM_CERTS="${UV_SYSTEM_CERTS:-1}" UV_NATIVE_TLS="${UV_NATIVE_TLS:-1}"  # the second for uv before SYSTEM_CERTS
fi

# uv, from PATH or fetched into the checkout with pip.
need_uv() {
    ! uv --version >/dev/null 2>&1 || return 0
    for name in python3 ${python:+"$python"}; do
        "$name" -m pip --version >/dev/null 2>&1 || continue
        PIP_USER=0 PIP_REQUIRE_VIRTUALENV=0 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore \
            "$name" -m pip install --quiet --only-binary :all: --upgrade --target .tools/uv uv >&2 || return 1
        echo 'setup: fetched uv into .tools/uv' >&2
        return
    done
    echo 'setup: needs uv, or pip to fetch it with (Debian: apt-get install python3-pip)' >&2
    return 1
}

# How many workers pytest gets: half as many again as there are cores, since most tests wait for servers and processes.
test_workers() {
    cores=$(getconf _NPROCESSORS_ONLN 2>/dev/null || echo 2)
    workers=$((cores + (cores + 1) / 2))
    echo $((workers < 8 ? workers : 8))
}
