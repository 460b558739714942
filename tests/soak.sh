#!/bin/sh
# Two tunnels in network namespaces, a steady stream of bytes through both, and random faults. Fails if one does not
# recover within two minutes, a byte changes or something leaks; prints figures at the end. Needs root.
#
#   sh tests/soak.sh MINUTES
set -eu
cd "$(dirname "$0")/.."
minutes=${1:?usage: sh tests/soak.sh MINUTES}
cargo build --quiet --examples
SOAK_MINUTES=$minutes exec cargo test --quiet --test suite -- --ignored --nocapture --exact soak::soak
