# The cases of tests/systemd.sh, read by a shell inside the machine that it boots. Arguments: the cases to run, or none.
# shellcheck shell=sh
set -eu

fail() {
    echo "FAILED: $*" >&2
    systemctl status --no-pager -l 'autossh@*' >&2 || true
    journalctl -q --no-pager -n 40 >&2
    exit 1
}

# Waits until a command succeeds.
wait_for() {
    tries=0
    until "$@" >/dev/null 2>&1; do
        tries=$((tries + 1))
        [ $tries -lt 450 ] || fail "waited for: $*"
        sleep 0.1
    done
}

property() {
    systemctl show --value --property "$2" "autossh@$1"
}

has() {
    property "$1" "$2" | grep -q -E -e "$3"
}

# Writes the settings of a tunnel.
configure() {
    name=$1
    shift
    printf '%s\n' "$@" >"/etc/autossh/$name.conf"
}

greeting() {
    ssh-keyscan -T 1 -t ed25519 -p "$1" 127.0.0.1 2>&1 | grep '^# .* SSH-2.0-'
}

# The lines of a unit in the journal.
lines_of() {
    journalctl --quiet --no-pager --output cat --sync >/dev/null 2>&1 || true
    journalctl --quiet --no-pager --output cat --unit "$1"
}

# What has to come, and to end, in a run of this unit, which fails at once and for good.
fails_for_good() {
    name=$1
    ! systemctl start "autossh@$name" 2>/dev/null || fail "autossh@$name starts"
    [ "$(property "$name" ActiveState)" = failed ] || fail "autossh@$name is not failed"
    [ "$(property "$name" ExecMainStatus)" = 78 ] || fail "its status is $(property "$name" ExecMainStatus)"
    has "$name" StatusText "$2" || fail "its status text: $(property "$name" StatusText)"
    systemctl status --no-pager "autossh@$name" >shown || true
    grep -q -E -e "$2" shown || fail "systemctl status does not say $2"
    [ "$(property "$name" NRestarts)" = 0 ] || fail "it was started again"
}

# dpkg, which must have no word of warning.
quiet_dpkg() {
    dpkg "$@" >said 2>&1 || { cat said >&2; fail "dpkg $*"; }
    if grep -v 'warning: downgrading autossh' said | grep -i -E 'warning|error|obsolete|not empty|cannot|failed' >&2; then
        fail "dpkg $* is not silent"
    fi
}

clean() {
    systemctl stop 'autossh@*' 2>/dev/null || true
    systemctl reset-failed 2>/dev/null || true
    rm -rf /etc/autossh/* /root/.ssh /etc/systemd/system/autossh@*.d
    systemctl daemon-reload
    install -d -m 700 /root/.ssh
    cp /opt/key /root/.ssh/id_ed25519
    ssh-keyscan -t ed25519 127.0.0.1 2>/dev/null >/root/.ssh/known_hosts
}

case_a_tunnel() {
    configure plain 'SSH_OPTIONS="-N -R 2200:127.0.0.1:22 tunnel@127.0.0.1"'
    systemctl start autossh@plain
    greeting 2200 >/dev/null || fail "ready, but nothing comes through"
    has plain StatusText '^ssh [0-9]+ up since .* last test passed' || fail "$(property plain StatusText)"
    [ "$(ps -o args= -p "$(property plain MainPID)")" = "/usr/lib/autossh/autossh -N -R 2200:127.0.0.1:22 tunnel@127.0.0.1" ] ||
        fail "$(ps -o args= -p "$(property plain MainPID)")"
    systemctl stop autossh@plain
    [ "$(property plain ActiveState),$(property plain Result)" = inactive,success ] || fail "$(property plain Result)"
    # The journal has no line twice.
    lines_of autossh@plain | sort | uniq -d | grep -v -E '^(ssh |$)' >twice || true
    [ ! -s twice ] || fail "twice in the journal: $(cat twice)"
}

case_no_settings() {
    fails_for_good none 'no host'
    lines_of autossh@none | grep -q '^/etc/autossh/none.conf is missing or sets no SSH_OPTIONS.*user@host' || fail "which file?"
    grep -q '/etc/autossh/none.conf is missing' shown || fail "systemctl status does not say which file: $(cat shown)"
    configure none '# nothing yet'
    fails_for_good none 'no host'
}

case_wrong_settings() {
    configure wrong 'SSH_OPTIONS="-N tunnel@127.0.0.1"' 'AUTOSSH_POLL=often'
    fails_for_good wrong 'invalid AUTOSSH_POLL "often"'
    configure wrong 'SSH_OPTIONS="-N -M often tunnel@127.0.0.1"'
    fails_for_good wrong 'invalid -M "often"'
    configure wrong 'SSH_OPTIONS="-N tunnel@127.0.0.1"' 'AUTOSSH_LOGFILE=/var/log/elsewhere.log'
    fails_for_good wrong 'cannot open the log file "/var/log/elsewhere.log"'
    configure wrong 'SSH_OPTIONS="-N tunnel@127.0.0.1"' 'AUTOSSH_PATH=/usr/bin/no-ssh'
    fails_for_good wrong 'cannot run AUTOSSH_PATH'
}

case_what_may_pass() {
    # The port is taken: until it is not.
    configure taken 'SSH_OPTIONS="-N -M 20000 tunnel@127.0.0.1"'
    python3 -c 'import socket, time; s = socket.socket(); s.bind(("127.0.0.1", 20001)); s.listen(); time.sleep(1000)' &
    holder=$!
    wait_for sh -c 'ss -tln | grep -q :20001'
    ! systemctl start autossh@taken 2>/dev/null || fail "it starts"
    has taken StatusText 'cannot listen on 127.0.0.1:20001' || fail "$(property taken StatusText)"
    wait_for has taken NRestarts '[1-9]'
    kill $holder
    wait_for has taken SubState running
    systemctl stop autossh@taken
    # The server is away: ssh's own words, and a start that does not hold up a boot.
    configure away 'SSH_OPTIONS="-N -M 0 -p 2222 tunnel@127.0.0.1"'
    systemctl start --no-block autossh@away
    wait_for has away StatusText 'waiting until'
    [ "$(property away NRestarts)" = 0 ] || fail "autossh itself tries again"
    wait_for has away SubState running
}

case_ssh_refuses() {
    rm -f /root/.ssh/id_ed25519
    configure refused 'SSH_OPTIONS="-N -M 0 -o BatchMode=yes tunnel@127.0.0.1"'
    systemctl start --no-block autossh@refused
    wait_for has refused StatusText 'waiting until .*Permission denied'
    [ "$(property refused NRestarts)" = 0 ] || fail "autossh itself tries again"
}

case_minus_f_and_reload() {
    configure f 'SSH_OPTIONS="-f -N -R 2200:127.0.0.1:22 tunnel@127.0.0.1"' AUTOSSH_LOGFILE=/var/log/autossh/f/log
    systemctl start autossh@f
    greeting 2200 >/dev/null || fail "ready, but nothing comes through"
    grep -q 'staying in the foreground' /var/log/autossh/f/log || fail "$(cat /var/log/autossh/f/log)"
    main=$(property f MainPID)
    ssh=$(cat "/proc/$main/task/$main/children")
    mv /var/log/autossh/f/log /var/log/autossh/f/log.1
    systemctl reload autossh@f
    wait_for test -e /var/log/autossh/f/log
    [ "$(property f MainPID)" = "$main" ] || fail "another autossh"
    [ "$(cat "/proc/$main/task/$main/children")" = "$ssh" ] || fail "another ssh"
    systemctl stop autossh@f

    # It ends a wait.
    configure f 'SSH_OPTIONS="-N -M 0 -p 2222 tunnel@127.0.0.1"'
    systemctl start --no-block autossh@f
    wait_for has f SubState running
    wait_for sh -c 'systemctl show --value -p StatusText autossh@f | grep -q "waiting until"'
    systemctl reload autossh@f
    wait_for sh -c 'journalctl -q -o cat --sync; journalctl -q -o cat -u autossh@f | grep -q prodded'
}

# README's recipe, on a machine where root has no key and knows no host. Somebody types the password and yes.
case_the_recipe() {
    rm -rf /root/.ssh
    mkdir -p /opt/stand-ins
    cat >/opt/stand-ins/ssh-copy-id <<'END'
#!/bin/sh
[ "$1 $2 $3" = "-i /root/.ssh/id_ed25519.pub tunnel@127.0.0.1" ] || exit 1
cat "$2" >>/home/tunnel/.ssh/authorized_keys
ssh-keyscan 127.0.0.1 2>/dev/null >>/root/.ssh/known_hosts
END
    chmod 755 /opt/stand-ins/ssh-copy-id
    awk '/^\*\*systemd/ { on = 1 } /^\*\*Containers/ { on = 0 } on && sub(/^    /, "")' /opt/README.md |
        sed 's/user@host/tunnel@127.0.0.1/; s/5432:localhost:5432/5432:localhost:22/' >recipe
    grep -q 'enable --now' recipe || fail "there is no recipe: $(cat recipe)"
    PATH=/opt/stand-ins:$PATH sh -e recipe >shown </dev/null || fail "the recipe ends with an error: $(cat shown)"
    greeting 5432 >/dev/null || fail "nothing comes through"
    grep -q 'Active: active (running)' shown || fail "$(cat shown)"
    grep -q 'Status: "ssh .* up since .*; last test passed at' shown || fail "$(cat shown)"
    ! lines_of autossh@db | grep -q 'Read-only' || fail "$(lines_of autossh@db)"
    systemctl disable --now autossh@db 2>/dev/null
}

case_upgrade_remove_purge() {
    configure db 'SSH_OPTIONS="-N -R 2200:127.0.0.1:22 tunnel@127.0.0.1"'
    systemctl enable --now autossh@db 2>/dev/null
    main=$(property db MainPID)
    quiet_dpkg -i /opt/ours.deb
    [ "$(property db MainPID)" = "$main" ] || fail "the upgrade restarted it"
    grep -q '1 running tunnel(s) keep the version' said || fail "$(cat said)"
    [ "$(property db NeedDaemonReload)" = no ] || fail "no daemon-reload"
    greeting 2200 >/dev/null || fail "nothing comes through"
    systemctl restart 'autossh@*.service'
    [ "$(property db MainPID)" != "$main" ] || fail "it was not restarted"

    quiet_dpkg --remove autossh
    ! pgrep -x autossh >/dev/null || fail "it still runs"
    quiet_dpkg --purge autossh
    left=$(find /etc /usr /var/log /run \( -name '*autossh*' -o -lname '*autossh*' \) 2>/dev/null | grep -v '^/run/log\|^/run/systemd/propagate') || true
    [ -z "$left" ] || fail "left: $left"
    quiet_dpkg -i /opt/ours.deb
}

# Units that people wrote for 1.4g, with Debian's package first.
case_units_for_1_4g() {
    quiet_dpkg --purge autossh
    quiet_dpkg -i /opt/debians.deb
    options='-M 0 -o ServerAliveInterval=30 -N'
    cat >/etc/systemd/system/t-simple.service <<END
[Service]
Environment=AUTOSSH_GATETIME=0
ExecStart=/usr/bin/autossh $options -R 2201:127.0.0.1:22 tunnel@127.0.0.1
Restart=always
END
    cat >/etc/systemd/system/t-forking.service <<END
[Service]
Type=forking
Environment=AUTOSSH_GATETIME=0 AUTOSSH_PIDFILE=/run/t-forking.pid
PIDFile=/run/t-forking.pid
ExecStart=/usr/bin/autossh -f $options -R 2202:127.0.0.1:22 tunnel@127.0.0.1
END
    cat >/etc/systemd/system/t-oneshot.service <<END
[Service]
Type=oneshot
RemainAfterExit=yes
Environment=AUTOSSH_PIDFILE=/run/t-oneshot.pid
ExecStart=/usr/bin/autossh -f $options -R 2203:127.0.0.1:22 tunnel@127.0.0.1
ExecStop=/bin/sh -c 'kill \$(cat /run/t-oneshot.pid)'
END
    # The most copied of all, which has our name.
    cat >/etc/systemd/system/autossh@.service <<END
[Service]
Environment=AUTOSSH_GATETIME=0
ExecStart=/usr/bin/autossh $options -R %i:127.0.0.1:22 tunnel@127.0.0.1
END
    systemctl daemon-reload
    units='t-simple t-forking t-oneshot autossh@2204'
    # shellcheck disable=SC2086 # several words
    systemctl start $units
    for port in 2201 2202 2203 2204; do wait_for greeting $port; done
    before=$(pgrep -f '^/usr/lib/autossh/autossh ' | sort | tr '\n' ' ')
    quiet_dpkg -i /opt/ours.deb
    [ "$(pgrep -f '^/usr/lib/autossh/autossh ' | sort | tr '\n' ' ')" = "$before" ] || fail "the upgrade touched them"
    for round in upgraded restarted; do
        for unit in $units; do
            [ "$(systemctl is-active "$unit")" = active ] || fail "$round: $unit is $(systemctl is-active "$unit")"
        done
        for port in 2201 2202 2203 2204; do wait_for greeting $port; done
        # shellcheck disable=SC2086 # several words
        [ $round = restarted ] || systemctl restart $units
    done
    systemctl show --value -p FragmentPath autossh@2204 | grep -q '^/etc/' || fail "our unit hides the administrator's"
    [ "$(systemctl show --value -p MainPID t-forking)" = "$(cat /run/t-forking.pid)" ] || fail "pid file"
    quiet_dpkg --remove autossh
    [ "$(systemctl is-active autossh@2204)" = active ] || fail "the administrator's unit was stopped"
    quiet_dpkg -i /opt/ours.deb
    quiet_dpkg -i /opt/debians.deb
    # shellcheck disable=SC2086 # several words
    systemctl restart $units
    for port in 2201 2202 2203 2204; do wait_for greeting $port; done
    # shellcheck disable=SC2086 # several words
    systemctl stop $units
    rm /etc/systemd/system/t-*.service /etc/systemd/system/autossh@.service
    systemctl daemon-reload
    quiet_dpkg -i /opt/ours.deb
}

case_a_users_tunnel() {
    useradd -m -s /bin/sh worker 2>/dev/null || true
    install -d -o worker /home/worker/.config /home/worker/.config/autossh
    install -d -o worker -m 700 /home/worker/.ssh
    install -o worker -m 600 /opt/key /home/worker/.ssh/id_ed25519
    echo 'SSH_OPTIONS="-N -o StrictHostKeyChecking=accept-new -R 2200:127.0.0.1:22 tunnel@127.0.0.1"' >/home/worker/.config/autossh/own.conf
    loginctl enable-linger worker
    wait_for systemctl is-active "user@$(id -u worker)"
    user() {
        runuser -u worker -- env "XDG_RUNTIME_DIR=/run/user/$(id -u worker)" systemctl --user "$@"
    }
    user start autossh@own
    greeting 2200 >/dev/null || fail "ready, but nothing comes through"
    ! user start autossh@none 2>/dev/null || fail "autossh@none starts"
    user show -p ActiveState,NRestarts autossh@none | sort | tr '\n' ' ' | grep -q -x 'ActiveState=failed NRestarts=0 ' ||
        fail "autossh@none: $(user show -p ActiveState,NRestarts autossh@none)"
    quiet_dpkg --remove autossh
    [ "$(user is-active autossh@own)" != active ] || fail "it still runs"
    quiet_dpkg -i /opt/ours.deb
    loginctl disable-linger worker
}

case_an_outage_is_a_warning() {
    configure outage 'SSH_OPTIONS="-N -M 0 -R 2200:127.0.0.1:22 tunnel@127.0.0.1"'
    systemctl start autossh@outage
    since=$(date '+%Y-%m-%d %H:%M:%S')
    systemctl stop ssh
    pkill -9 -x sshd || true
    wait_for has outage StatusText 'waiting until'
    journalctl --sync
    journalctl -q -o cat -p warning --since "$since" -t autossh >warnings
    [ "$(wc -l <warnings)" = 1 ] || fail "warnings: $(cat warnings)"
    grep -q '^ssh has failed .* times in a row (last: .*), next start in ' warnings || fail "$(cat warnings)"
    systemctl start ssh
    systemctl reload autossh@outage
    wait_for greeting 2200
}

cd /tmp
# The server: this machine, with an account that the key opens.
ssh-keygen -q -t ed25519 -N '' -f /opt/key
useradd -m tunnel
install -d -o tunnel -m 700 /home/tunnel/.ssh
install -o tunnel -m 600 /opt/key.pub /home/tunnel/.ssh/authorized_keys
echo '127.0.0.1 localhost' >/etc/hosts
wait_for greeting 22
quiet_dpkg -i /opt/ours.deb

all='a_tunnel the_recipe no_settings wrong_settings what_may_pass ssh_refuses minus_f_and_reload the_fence what_works_inside_the_fence what_the_page_allows
    upgrade_remove_purge units_for_1_4g a_users_tunnel an_outage_is_a_warning'
# shellcheck disable=SC2086 # several words
[ $# -gt 0 ] || set -- $all
for name; do
    echo "== $name"
    clean
    "case_$name"
done
echo "== all is well"
