#!/bin/sh
# Type-checks autossh for other systems and processors, with the oldest Rust that it promises. Nothing of it is run.
#
#   sh tests/targets.sh TRIPLE...    for each, as aarch64-apple-darwin
#   sh tests/targets.sh all          for all that README.md names
#   sh tests/targets.sh unit         the unit tests on this system, with that Rust
#
# A compiler has the standard library of few targets with it, so that it is checked here from its source: that takes a
# rust-src of the very same version and cargo's -Zbuild-std. Debian 13 has both for Rust 1.85; mmdebstrap, which is
# installed if it is missing, makes a Debian 13 of 2 GB in target/debian-13, once (AUTOSSH_DEBIAN_13: use this one).
# Needs root, for chroot(8), and the network. It is not part of tests/run.sh.
set -eu
cd "$(dirname "$0")/.."

all="i686-unknown-linux-gnu i686-unknown-linux-musl armv7-unknown-linux-gnueabihf armv7-unknown-linux-musleabihf
    aarch64-unknown-linux-gnu aarch64-unknown-linux-musl riscv64gc-unknown-linux-gnu riscv64gc-unknown-linux-musl
    aarch64-apple-darwin x86_64-apple-darwin x86_64-unknown-freebsd"

if [ $# -eq 0 ] || [ "$(id -u)" -ne 0 ]; then
    sed -n '2,/^set/s/^# \{0,1\}//p' "$0" | sed '$d' >&2
    exit 2
fi

root=${AUTOSSH_DEBIAN_13:-$PWD/target/debian-13}
if [ ! -x "$root/usr/bin/cargo" ]; then
    if ! command -v mmdebstrap >/dev/null; then
        echo "targets.sh: installing mmdebstrap" >&2
        apt-get update -qq
        DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends mmdebstrap >/dev/null
    fi
    echo "targets.sh: making a Debian 13 in $root" >&2
    mkdir -p "$(dirname "$root")"
    rm -rf "$root.new"
    mmdebstrap --quiet --variant=minbase --include=rustc,cargo,rust-src,gcc,libc6-dev,ca-certificates trixie "$root.new"
    mv "$root.new" "$root"
fi

# Runs cargo there, on this very directory, read-only; the mounts are seen by it alone and end with it.
# shellcheck disable=SC2016 # for the inner shell
there() {
    mkdir -p "$root/autossh" "$root/build"
    unshare --mount --propagation private sh -c '
        set -e
        root=$1
        shift
        mount --bind . "$root/autossh"
        mount -o remount,ro,bind "$root/autossh"
        mount -t proc proc "$root/proc"
        mount --rbind /dev "$root/dev"
        for file in /etc/resolv.conf /etc/hosts /etc/ssl/certs/ca-certificates.crt; do
            [ ! -f $file ] || cat $file >"$root$file"
        done
        exec chroot "$root" /usr/bin/env -i -C /autossh HOME=/root PATH=/usr/bin:/bin CARGO_HOME=/build/cargo \
            CARGO_TARGET_DIR=/build/target RUSTC_BOOTSTRAP=1 "$@"' sh "$root" "$@"
}

failed=
# shellcheck disable=SC2086 # a list of triples
[ "$*" != all ] || set -- $all
for target; do
    if [ "$target" = unit ]; then
        there cargo test --quiet --locked --lib --bins || failed="$failed $target"
    elif there cargo check --quiet --locked -Zbuild-std=std,panic_abort --target "$target" \
        --config 'build.rustflags=["-Dwarnings"]'; then
        echo "$target: clean"
    else
        failed="$failed $target"
    fi
done
[ -z "$failed" ] || { echo "not clean:$failed" >&2; exit 1; }
