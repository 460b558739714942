#!/bin/sh
# Makes the Debian package with the binary of build.sh; what is given here goes to `cargo deb`: --install, --output FILE.
set -eu
cd "$(dirname "$0")/.."
binary=$(packaging/build.sh)
# DIRECTORY/TARGET/release/autossh
target=$(basename "${binary%/release/autossh}")
exec cargo deb --quiet --no-build --target "$target" "$@"
