#!/bin/sh
# The entrypoint of a container: autossh as PID 1, logging to stdout, for as long as the container lives.
#
#   docker run -e DESTINATION=user@host -v ~/.ssh:/root/.ssh:ro IMAGE -R 2200:localhost:22
#
# The key must need no passphrase; the host's key should be in known_hosts.
set -eu
: "${DESTINATION:?set DESTINATION to [user@]host}"

# -N is added, the log goes to stdout, and ssh is started again whatever its status.
export AUTOSSH_NTSERVICE=yes AUTOSSH_GATETIME="${AUTOSSH_GATETIME:-0}"
exec autossh -o BatchMode=yes "$@" "$DESTINATION"
