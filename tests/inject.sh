#!/bin/sh
# Makes system calls of autossh fail, one by one: a start, tests, -f, waits, systemd, syslog, a deaf ssh. Fails if autossh hangs,
# spins, leaves a process behind or ends without a reason.
#
#   sh tests/inject.sh             every fault, which takes some minutes
#   sh tests/inject.sh SECONDS     as many as fit into this time, one of each kind first
#
# INJECT_ONLY="background: process 1, openat" chooses faults by their names.
set -eu
cd "$(dirname "$0")/.."
[ $# -eq 0 ] || export INJECT_SECONDS="$1"
cargo build --quiet --examples
exec cargo test --quiet --test suite -- --ignored --nocapture --exact inject::every_fault
