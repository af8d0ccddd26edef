#!/usr/bin/env bash
# Install what the tests need of Debian where it is missing: a browser and a PostgreSQL server. Without apt-get or the
# rights to use it, say so and go on.
set -uo pipefail

packages=()
browser() {
    if [ -n "${WATCHKEEPER_CHROMIUM:-}" ] && [ -x "$WATCHKEEPER_CHROMIUM" ]; then return 0; fi
    for name in chromium chromium-browser google-chrome; do
        if command -v "$name" >/dev/null; then return 0; fi
    done
    return 1
}
postgresql() {
    command -v initdb >/dev/null && return 0
    compgen -G "/usr/lib/postgresql/*/bin/initdb" >/dev/null
}
browser || packages+=(chromium fonts-dejavu-core)
postgresql || packages+=(postgresql)
[ ${#packages[@]} -gt 0 ] || exit 0

skip() {
    echo "Not installed (${packages[*]}): $1. The browser tests need chromium on the path or WATCHKEEPER_CHROMIUM naming"
    echo "one; the tests of shared ledgers need a PostgreSQL server (initdb and pg_ctl)."
    exit 0
}
command -v apt-get >/dev/null || skip "this machine has no apt-get"
as_root=()
if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null || skip "apt-get needs root, and there is no sudo"
    sudo -n true 2>/dev/null || [ -t 0 ] || skip "apt-get needs root, and sudo would ask for a password"
    as_root=(sudo)
fi

echo "Installing ${packages[*]} for the tests."
install=(env DEBIAN_FRONTEND=noninteractive apt-get install --yes --quiet --no-install-recommends "${packages[@]}")
log="$(mktemp)"
trap 'rm -f "$log"' EXIT
if ! "${as_root[@]}" "${install[@]}" >"$log" 2>&1 </dev/null; then
    # The package lists may be missing or old: fetch them once, then try again.
    "${as_root[@]}" apt-get update --quiet >"$log" 2>&1 </dev/null
    "${as_root[@]}" "${install[@]}" >>"$log" 2>&1 </dev/null || { tail -n 5 "$log"; skip "apt-get failed, see above"; }
fi
