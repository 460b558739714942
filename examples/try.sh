#!/bin/sh
# Shows the main job: a tunnel is opened, cut in three ways, and recovers.
#
#   sh examples/try.sh
#
# Builds autossh, runs an sshd of its own on the loopback interface with keys in a temporary directory, opens a tunnel
# through it, and prints after each cut how long it took until traffic flowed again. Leaves nothing behind, installs
# nothing and needs no root. AUTOSSH=/path/to/autossh tries that one instead of building.
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
directory=$(mktemp -d "${TMPDIR:-/tmp}/autossh-try.XXXXXX")
sshd=
sessions=
autossh=

leave() {
    # shellcheck disable=SC2046,SC2086 # lists of pids
    kill -9 $autossh $(all_sessions) $sessions $sshd 2>/dev/null || true
    rm -rf "$directory"
}
trap leave EXIT
trap 'exit 1' INT TERM HUP

# The processes of the server's sessions.
all_sessions() {
    [ -n "$sshd" ] && below "$sshd"
}

below() {
    read -r children <"/proc/$1/task/$1/children" || true
    for child in $children; do
        echo "$child"
        below "$child"
    done 2>/dev/null
}

# Hundredths of a second since boot.
now() {
    read -r uptime _ </proc/uptime
    echo "${uptime%.*}${uptime#*.}"
}

# Waits until a line arrives through a port: the greeting of our sshd.
fetch() {
    tries=0
    until line=$(ssh-keyscan -T 1 -t ed25519 -p "$1" 127.0.0.1 2>&1 | grep '^# .* SSH-2.0-'); do
        tries=$((tries + 1))
        if [ $tries -gt 300 ]; then
            echo "nothing comes from port $1; what sshd and autossh have to say:"
            cat "$directory/sshd-log" "$directory/ssh-log" "$directory/log" 2>/dev/null
            exit 1
        fi
        sleep 0.1
    done
}

# Prints the time since $cut.
healed() {
    fetch "$tunnel"
    took=$(($(now) - cut))
    printf '  %s: traffic flows again after %d.%02d s\n' "$1" $((took / 100)) $((took % 100))
}

start_sshd() {
    "$run_sshd" -D -e -f "$directory/sshd-config" 2>>"$directory/sshd-log" &
    sshd=$!
}

command -v ssh-keyscan >/dev/null || { echo "try.sh: install the OpenSSH client first" >&2; exit 1; }
if [ -z "${AUTOSSH:-}" ]; then
    echo "building autossh"
    AUTOSSH=$("$root/packaging/build.sh")
fi
run_sshd=$(sh "$root/tests/find-sshd.sh" "$directory/sshd")

port=$((20000 + $$ % 5000))
tunnel=$((port + 5000))
for key in host-key key; do
    ssh-keygen -q -t ed25519 -N '' -f "$directory/$key"
done
cat >"$directory/sshd-config" <<END
ListenAddress 127.0.0.1
Port $port
HostKey $directory/host-key
AuthorizedKeysFile $directory/key.pub
PasswordAuthentication no
StrictModes no
PidFile none
END
cat >"$directory/ssh-config" <<END
Host tunnel
    HostName 127.0.0.1
    Port $port
    IdentityFile $directory/key
    IdentitiesOnly yes
    IdentityAgent none
    BatchMode yes
    UserKnownHostsFile $directory/known-hosts
    StrictHostKeyChecking accept-new
END

start_sshd
fetch $port
cut=$(now)
echo "autossh -N -L $tunnel:127.0.0.1:$port tunnel, with a connection test every 2 s"
AUTOSSH_POLL=2 AUTOSSH_GATETIME=0 AUTOSSH_LOGFILE=$directory/log \
    "$AUTOSSH" -F "$directory/ssh-config" -N -L "$tunnel:127.0.0.1:$port" tunnel 2>"$directory/ssh-log" &
autossh=$!
healed "opened"
echo "  a line through the tunnel: SSH-${line#*SSH-}"

cut=$(now)
# shellcheck disable=SC2046 # a list of pids
kill -9 $(all_sessions) 2>/dev/null || true
healed "the session was killed"

# Before a test has passed, a frozen session could be one that does not forward.
until grep -q 'last test passed' "$directory/log"; do
    sleep 0.2
    kill -USR2 $autossh
done
cut=$(now)
sessions=$(all_sessions)
# shellcheck disable=SC2086 # a list of pids
kill -STOP $sessions 2>/dev/null || true
healed "the session was frozen"

cut=$(now)
# shellcheck disable=SC2046 # lists of pids
kill -9 $(all_sessions) $sshd 2>/dev/null || true
wait $sshd 2>/dev/null || true
sleep 2
start_sshd
healed "sshd was stopped, and started again after 2 s"
echo "done; what autossh logged meanwhile:"
grep -v ' up since ' "$directory/log" | sed 's/^/  /'
