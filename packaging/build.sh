#!/bin/sh
# Builds the binary of a release: the best of what this machine can link, in this order.
#
#   1. static, with musl    runs on every Linux of its architecture, is the smallest and the first to start ssh
#   2. static, with glibc   runs there too
#   3. dynamic              what a plain `cargo build --release` gives
#
# Which one it is goes to stderr, with what would make a better one; the only line on stdout is the binary's path.
set -eu
cd "$(dirname "$0")/.."

say() { echo "build.sh: $*" >&2; }

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# links TRIPLE FLAG...: whether a program can be linked so. Nothing less shows that both Rust's part and C's are here.
links() {
    triple=$1
    shift
    echo 'fn main() {}' | "${RUSTC:-rustc}" --target "$triple" "$@" -o "$work/empty" - 2>"$work/errors"
}

host=$("${RUSTC:-rustc}" -vV | sed -n 's/^host: //p')
static="-C target-feature=+crt-static"
case $host in
*-linux-musl*) musl=$host ;;
*-linux-gnu*) musl=$(echo "$host" | sed 's/-linux-gnu/-linux-musl/') ;;
*) musl= ;;
esac

# shellcheck disable=SC2086 # two words
if [ -n "$musl" ] && links "$musl" $static; then
    target=$musl kind="static, with musl"
elif [ -n "$musl" ] && [ "$musl" != "$host" ] && links "$host" $static; then
    target=$host kind="static, with glibc"
else
    target=$host kind="dynamic" static=
fi
say "$kind ($target)"
if [ -n "$musl" ] && [ "$target" != "$musl" ]; then
    say "with musl it would be smaller and faster; where rustup is at hand: rustup target add $musl"
fi

# A target that is named keeps the flags from build scripts, which run here and may have to be dynamic.
if [ -n "$static" ]; then
    export RUSTFLAGS="${RUSTFLAGS:+$RUSTFLAGS }$static"
fi
cargo build --quiet --locked --release --bin autossh --target "$target" >&2
directory=$(cargo metadata --no-deps --format-version 1 | sed 's/.*"target_directory":"\([^"]*\)".*/\1/')
echo "$directory/$target/release/autossh"
