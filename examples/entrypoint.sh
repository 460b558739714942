#!/bin/sh
# The entrypoint of a container: autossh as PID 1, logging to stdout, for as long as the container lives.
#
#   docker run -e DESTINATION=user@host -v ~/.ssh:/home/autossh/.ssh:ro autossh -R 2200:localhost:22
#
# The key must need no passphrase and be readable for the user of the container; known_hosts should hold the host's key.
# examples/Containerfile makes the image.
set -eu
: "${DESTINATION:?set DESTINATION to [user@]host}"

# -N is added, the log goes to stdout, and ssh is started again whatever its status.
export AUTOSSH_NTSERVICE=yes AUTOSSH_GATETIME="${AUTOSSH_GATETIME:-0}"
exec autossh -o BatchMode=yes "$@" "$DESTINATION"
