#!/bin/sh
# Sets everything up and runs every test. Without root the cases that need it are skipped, and named at the end.
#
#   sh tests/run.sh            everything
#   sh tests/run.sh FILTER     the cases whose names have FILTER in them, on our program alone
set -eu
cd "$(dirname "$0")/.."

not_run=$(mktemp)
trap 'rm -f "$not_run"' EXIT
export AUTOSSH_TESTS_NOT_RUN="$not_run"

# Debian's tools that cases use, as command:package; none of them starts a service.
tools="ssh:openssh-client mandoc:mandoc shellcheck:shellcheck ip:iproute2 iptables:iptables strace:strace
    lintian:lintian systemd-analyze:systemd python3:python3 dh_bash-completion:bash-completion zsh:zsh fish:fish"
missing=
for tool in $tools; do
    command -v "${tool%%:*}" >/dev/null || missing="$missing ${tool#*:}"
done
if [ -n "$missing" ]; then
    if [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null; then
        apt-get update -qq
        # shellcheck disable=SC2086 # a list of packages
        DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends $missing >/dev/null
    else
        echo "missing:$missing" >&2
        echo "some cases need these packages; install them for a full run" >&2
    fi
fi

# The reference, autossh 1.4g, its package kept and unpacked beside our own build.
reference=target/reference/usr/lib/autossh/autossh
if [ ! -e target/reference/autossh.deb ] && command -v apt-get >/dev/null; then
    mkdir -p target/reference
    (cd target/reference && apt-get download -qq autossh && mv autossh_*.deb autossh.deb && dpkg-deb -x autossh.deb .) || true
fi

# This builds our package.
export PATH="$PWD/target/tools/bin:$PATH"
command -v cargo-deb >/dev/null || cargo install --quiet --locked --root target/tools cargo-deb || true

if [ $# -gt 0 ]; then
    cargo test --quiet -- --test-threads 8 "$@"
    exit
fi

cargo fmt --check
cargo clippy --quiet --all-targets -- -D warnings
shellcheck tests/*.sh benches/*.sh examples/*.sh examples/autossh.* examples/openwrt.init examples/rscreen packaging/*.sh packaging/autossh \
    packaging/autossh-argv0 packaging/rscreen packaging/unit-setup packaging/debian/* .ci/run
shellcheck --shell bash packaging/completions/autossh.bash

if [ -x "$reference" ]; then
    echo "== the same cases on the reference, which must differ where they say so, and nowhere else"
    cargo build --quiet --examples
    AUTOSSH_UNDER_TEST=$PWD/$reference cargo test --quiet --test suite -- --test-threads 8
else
    echo "the cases on the reference: they need Debian's package autossh" >>"$not_run"
fi

echo "== our own program"
cargo test -- --test-threads 8

echo "== our own program, with what it does on other systems"
RUSTFLAGS="--cfg portable -D warnings" cargo build --quiet --bin autossh --target-dir target/portable
AUTOSSH_BINARY=$PWD/target/portable/debug/autossh cargo test --quiet --test suite -- --test-threads 8

echo "== as many injected faults as fit into a minute"
sh tests/inject.sh 50

echo "== a minute of faults of every kind, three tunnels under way"
sh tests/soak.sh 1

if [ -s "$not_run" ]; then
    echo "not run:"
    sort -u "$not_run"
    # In CI every case must run.
    [ "${CI:-}" != true ] || exit 1
fi
