#!/bin/sh
# Three tunnels in network namespaces, a steady stream of bytes through each, and faults of every kind. Fails if a tunnel is
# not back within two minutes, a byte changes, something leaks or autossh spins; prints how soon tunnels were back, and what
# each autossh holds and has used. Needs root.
#
#   sh tests/soak.sh MINUTES
#
# SOAK_SEED=N repeats the faults of an earlier run, which has printed it, also on another program (AUTOSSH_UNDER_TEST): what
# that one does not survive is said, and it is started anew.
set -eu
cd "$(dirname "$0")/.."
minutes=${1:?usage: sh tests/soak.sh MINUTES}
cargo build --quiet --examples
SOAK_MINUTES=$minutes exec cargo test --quiet --test suite -- --ignored --nocapture --exact soak::soak
