#!/bin/sh
# How soon a tunnel is back, autossh beside the reference, autossh 1.4g: seconds, less is better, and no pass or fail.
#
#   sh benches/network.sh            everything, in about ten minutes
#   sh benches/network.sh FILTER     the rows whose names have FILTER in them
#
# As root: a client and a server in network namespaces of their own, with a real ssh and sshd. Ours is what packaging/build.sh
# builds, or AUTOSSH_UNDER_TEST. The reference is AUTOSSH_REFERENCE, or what tests/run.sh has unpacked below target/reference.
set -eu
cd "$(dirname "$0")/.."

filter=${1:-}
# Whoever is not back by then is taken not to come back at all.
limit=${LIMIT:-60}
ours=${AUTOSSH_UNDER_TEST:-$(packaging/build.sh 2>/dev/null)}
reference=${AUTOSSH_REFERENCE:-$PWD/target/reference/usr/lib/autossh/autossh}
work=$(mktemp -d)
sshd=$(sh tests/find-sshd.sh "$PWD/target/tmp/sshd")
client=autossh-bench-$$-c
server=autossh-bench-$$-s

tidy() {
    set +e
    stop_tunnel
    [ ! -s "$work/sshd.pid" ] || end_all "$(cat "$work/sshd.pid")"
    ip netns del "$client" 2>/dev/null || true
    ip netns del "$server" 2>/dev/null || true
    rm -rf "$work"
}

children() { tr ' ' '\n' 2>/dev/null <"/proc/$1/task/$1/children" || true; }

# All below a process.
below() {
    children "$1" | while read -r child; do
        echo "$child"
        below "$child"
    done
}

end_all() {
    list=$(below "$1")
    # shellcheck disable=SC2086 # a list of pids
    kill -KILL "$1" $list 2>/dev/null || true
}

on_client() { ip netns exec "$client" "$@"; }
on_server() { ip netns exec "$server" "$@"; }

set_up() {
    ip netns add "$client"
    ip netns add "$server"
    ip -n "$client" link set lo up
    ip -n "$server" link set lo up
    ip -n "$client" link add wire type veth peer name wire netns "$server"
    ip -n "$client" link set wire addrgenmode none
    ip -n "$server" addr add 10.99.0.2/24 dev wire
    ip -n "$server" link set wire up
    for key in host-key key; do
        ssh-keygen -q -t ed25519 -N '' -f "$work/$key"
    done
    echo "* $(cat "$work/host-key.pub")" >"$work/known-hosts"
    printf '%s\n' "Port 2222" "ListenAddress 10.99.0.2" "HostKey $work/host-key" "AuthorizedKeysFile $work/key.pub" \
        "PidFile none" "StrictModes no" "UsePAM no" "PermitRootLogin yes" "UseDNS no" >"$work/sshd-config"
    # The server never looks whether a client is still there: the worst case.
    printf '%s\n' "Host *" "UserKnownHostsFile $work/known-hosts" "IdentityFile $work/key" "IdentitiesOnly yes" \
        "IdentityAgent none" "BatchMode yes" "Port 2222" "ConnectTimeout 15" >"$work/ssh-config"
    # What starts is noted, with its time.
    cat >"$work/ssh" <<-END
		#!/bin/sh
		date +%s.%N >>$work/starts
		exec /usr/bin/ssh -F $work/ssh-config "\$@"
	END
    chmod +x "$work/ssh"
    ip netns exec "$server" "$sshd" -D -e -f "$work/sshd-config" >/dev/null 2>&1 &
    echo $! >"$work/sshd.pid"
    wait_until 10 on_server_listens 2222 >/dev/null
}

# Waits until a command succeeds, and prints the seconds that it took, or that it was in vain.
wait_until() {
    most=$1
    shift
    begin=$(date +%s.%N)
    while ! "$@"; do
        if [ "$(elapsed "$begin" | cut -d. -f1)" -ge "$most" ]; then
            echo "> $most"
            return
        fi
        sleep 0.05
    done
    elapsed "$begin"
}

elapsed() { echo "$1 $(date +%s.%N)" | awk '{ printf "%.1f\n", $2 - $1 }'; }
on_server_listens() { [ -n "$(on_server ss -Hltn "sport = :$1")" ]; }
is_free() { ! on_server_listens "$1"; }
sessions() { below "$(cat "$work/sshd.pid")"; }
starts() { wc -l <"$work/starts"; }
started() { [ "$(starts)" -ge "$1" ]; }

# A fresh tunnel on a fresh wire: the program, and its arguments before the forward and the host.
start_tunnel() {
    program=$1
    shift
    ip -n "$client" addr flush dev wire
    ip -n "$client" addr add 10.99.0.1/24 dev wire
    ip -n "$client" link set wire up
    : >"$work/starts"
    AUTOSSH_GATETIME=0 AUTOSSH_PATH=$work/ssh AUTOSSH_PIDFILE=$work/pid AUTOSSH_LOGFILE=$work/log \
        ip netns exec "$client" "$program" "$@" -N -R 2200:127.0.0.1:2222 10.99.0.2 >/dev/null 2>&1 &
    wait_until 10 test -s "$work/pid" >/dev/null
}

stop_tunnel() {
    if [ -s "$work/pid" ]; then
        end_all "$(cat "$work/pid")"
    fi
    rm -f "$work/pid"
    # shellcheck disable=SC2046 # a list of pids
    kill -KILL $(sessions) 2>/dev/null || true
    wait_until 10 is_free 2200 >/dev/null
}

# The sessions of sshd freeze, and ssh ends: the server holds the port for 20 s.
held() {
    start_tunnel "$@"
    wait_until 10 on_server_listens 2200 >/dev/null
    sleep 1
    frozen=$(sessions)
    # shellcheck disable=SC2086 # a list of pids
    kill -STOP $frozen
    kill -KILL "$(children "$(cat "$work/pid")")"
    sleep 20
    # shellcheck disable=SC2086 # a list of pids
    kill -KILL $frozen
    wait_until 5 is_free 2200 >/dev/null
    wait_until "$limit" on_server_listens 2200
    stop_tunnel
}

moved() {
    start_tunnel "$@"
    wait_until 10 on_server_listens 2200 >/dev/null
    sleep 3
    before=$(starts)
    ip -n "$client" addr flush dev wire
    ip -n "$client" addr add 10.99.0.7/24 dev wire
    wait_until "$limit" started $((before + 1))
    stop_tunnel
}

# Nobody answers for six seconds, and an address is added meanwhile: how often ssh is started again.
login() {
    kill -STOP "$(cat "$work/sshd.pid")"
    start_tunnel "$@"
    sleep 3
    ip -n "$client" addr add 10.98.0.1/24 dev wire
    sleep 3
    kill -CONT "$(cat "$work/sshd.pid")"
    wait_until 30 on_server_listens 2200 >/dev/null
    sleep 2
    echo $(($(starts) - 1))
    stop_tunnel
}

# The link is down for 45 s, and ssh ends: the next try after the link is back.
linked() {
    start_tunnel "$@"
    wait_until 10 on_server_listens 2200 >/dev/null
    ip -n "$client" link set wire down
    kill -KILL "$(children "$(cat "$work/pid")")"
    sleep 45
    before=$(starts)
    ip -n "$client" link set wire up
    wait_until "$limit" started $((before + 1))
    stop_tunnel
}

# row NAME MEASURE "ARGUMENTS OF OURS" "ARGUMENTS OF THE REFERENCE"
row() {
    case $1 in
    *"$filter"*)
        # shellcheck disable=SC2086 # lists of arguments
        printf '%-55s %8s %10s\n' "$1" "$($2 "$ours" $3)" "$($2 "$reference" $4)"
        ;;
    esac
}

trap tidy EXIT
trap 'exit 1' INT TERM
set_up
printf 'ours:      %s\nreference: %s\n\n%-55s %8s %10s\n' "$ours" "$reference" "" ours reference
row "forward held by the dead session, -M 0 (s)" held "-M 0" "-M 0"
row "forward held by the dead session, monitored (s)" held "" "-M 20000"
row "forward held by the dead session, -f -M 0 (s)" held "-f -M 0" "-f -M 0"
row "forward held by the dead session, -f, monitored (s)" held "-f" "-f -M 20000"
row "client's address replaced, -M 0 (s)" moved "-M 0" "-M 0"
row "client's address replaced, monitored (s)" moved "" "-M 20000"
row "login of 6 s, an address added: restarts" login "" "-M 20000"
row "link back after 45 s (s)" linked "-M 0" "-M 0"
