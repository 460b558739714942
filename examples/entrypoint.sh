#!/bin/sh
# The entrypoint of a container: autossh as PID 1, logging to stdout.
#
#   docker run -e DESTINATION=user@host -v ~/.ssh:/home/autossh/.ssh:ro autossh -R 2200:localhost:22
#
# The key must need no passphrase and be readable for the user of the container; known_hosts should hold the host's key.
# examples/Containerfile makes the image.
set -eu
: "${DESTINATION:?set DESTINATION to [user@]host}"

# Adds -N, logs to stdout, and restarts ssh after status 0 too.
export AUTOSSH_NTSERVICE=yes AUTOSSH_GATETIME="${AUTOSSH_GATETIME:-0}"
exec autossh -o BatchMode=yes -o ConnectTimeout=30 "$@" "$DESTINATION"
