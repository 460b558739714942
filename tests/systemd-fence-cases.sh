# The cases of tests/systemd.sh about the unit's sandbox: what it must forbid, and what must work in it all the same. They
# are read before systemd-cases.sh, which has the functions they call and runs them.
# shellcheck shell=sh

case_the_fence() {
    # As an attacker in ssh's place, with everything set up that he might like.
    systemctl start dbus
    touch /root/.ssh/authorized_keys
    configure fence 'SSH_OPTIONS="-N -M 0 -o ProxyCommand=/opt/fence-and-out tunnel@127.0.0.1"' AUTOSSH_GATETIME=0
    cat >/opt/fence-and-out <<'END'
#!/bin/sh
sh /opt/systemd-fence.sh >/run/autossh/fence/found 2>&1
touch /run/autossh/fence/done
sleep 100
END
    chmod 755 /opt/fence-and-out
    systemctl start --no-block autossh@fence
    wait_for test -e /run/autossh/fence/done
    [ ! -s /run/autossh/fence/found ] || fail "from inside the fence: $(cat /run/autossh/fence/found)"
    written=$(find / /run /dev \( -path /proc -o -path /sys \) -prune -o -name written-from-inside -print)
    [ -z "$written" ] || fail "seen from outside: $written"
    # The same outside: the tool does find something.
    sh /opt/systemd-fence.sh >found 2>&1 || true
    for what in 'write to /run/systemd/system' 'connect to /run/systemd/private' 'connect to /run/dbus' 'command systemd'; do
        grep -q "can $what" found || fail "the attacker is lame: $(cat found)"
    done
    rm -f /run/systemd/system/written-from-inside
    find / -xdev -name written-from-inside -delete
    find /run /dev -name written-from-inside -delete
    systemctl stop autossh@fence
}

case_what_works_inside_the_fence() {
    # The first host key of a host is stored, on a machine where root never used ssh; another one is refused then.
    rm -rf /root/.ssh
    install -m 600 /opt/key /etc/autossh/key
    configure new 'SSH_OPTIONS="-N -i /etc/autossh/key -o StrictHostKeyChecking=accept-new -R 2200:127.0.0.1:22 tunnel@127.0.0.1"'
    systemctl start autossh@new
    greeting 2200 >/dev/null || fail "ready, but nothing comes through"
    grep -q '^|\|^127.0.0.1' /root/.ssh/known_hosts || fail "no host key was stored"
    [ "$(stat -c %a /root/.ssh),$(stat -c %a /root/.ssh/known_hosts)" = 700,600 ] || fail "modes: $(ls -la /root/.ssh)"
    systemctl stop autossh@new
    ssh-keygen -q -t ed25519 -N '' -f /opt/other-key
    printf '127.0.0.1 %s\n' "$(cat /opt/other-key.pub)" >/root/.ssh/known_hosts
    systemctl start --no-block autossh@new
    wait_for sh -c 'journalctl -q -o cat --sync; journalctl -q -o cat -u autossh@new | grep -q "IDENTIFICATION HAS CHANGED"'
    systemctl stop autossh@new
    # Another account needs a line more, and hears of it.
    rm -f /root/.ssh/known_hosts
    useradd -m worker 2>/dev/null || true
    install -d -o worker -m 700 /home/worker/.ssh
    install -o worker -m 600 /opt/key /home/worker/.ssh/id_ed25519
    configure worker 'SSH_OPTIONS="-N -o StrictHostKeyChecking=accept-new -R 2200:127.0.0.1:22 tunnel@127.0.0.1"'
    mkdir -p /etc/systemd/system/autossh@worker.service.d
    printf '[Service]\nUser=worker\n' >/etc/systemd/system/autossh@worker.service.d/override.conf
    systemctl daemon-reload
    systemctl start autossh@worker
    lines_of autossh@worker | grep -q 'ssh cannot store host keys in /home/worker/.ssh: put ReadWritePaths=-/home/worker/.ssh into' ||
        fail "nothing is said"
    [ ! -e /root/.ssh/known_hosts ] || fail "root's known_hosts was touched for another account"
    systemctl stop autossh@worker
    echo 'ReadWritePaths=-/home/worker/.ssh' >>/etc/systemd/system/autossh@worker.service.d/override.conf
    systemctl daemon-reload
    systemctl start autossh@worker
    greeting 2200 >/dev/null || fail "ready, but nothing comes through"
    wait_for test -s /home/worker/.ssh/known_hosts
    systemctl stop autossh@worker
    # A control socket, and a jump.
    clean
    configure control 'SSH_OPTIONS="-N -o StrictHostKeyChecking=no -o ControlMaster=auto -o ControlPath=/run/autossh/control/%C -J tunnel@127.0.0.1 -R 2200:127.0.0.1:22 tunnel@127.0.0.2"'
    systemctl start autossh@control
    greeting 2200 >/dev/null || fail "ready, but nothing comes through"
    [ -n "$(find /run/autossh/control -type s)" ] || fail "no control socket"
}

# The lines that autossh(1) has for what the fence forbids.
allow() {
    mkdir -p "/etc/systemd/system/autossh@$1.service.d"
    printf '[Service]\n%s\n' "$2" >"/etc/systemd/system/autossh@$1.service.d/override.conf"
    systemctl daemon-reload
}

case_what_the_page_allows() {
    # A forward to a socket in /run.
    mkdir -p /run/served
    python3 -c 'import socket; s = socket.socket(socket.AF_UNIX); s.bind("/run/served/socket"); s.listen()
while True: s.accept()[0].sendall(b"hello from /run\n")' &
    server=$!
    configure served 'SSH_OPTIONS="-N -R 2205:/run/served/socket tunnel@127.0.0.1"'
    ask() {
        python3 -c 'import socket; print(socket.create_connection(("127.0.0.1", 2205)).recv(99).decode())' | grep -q 'hello from /run'
    }
    systemctl start autossh@served
    ! ask 2>/dev/null || fail "the fence lets it through"
    allow served BindPaths=/run/served
    systemctl restart autossh@served
    ask || fail "BindPaths= does not help"
    kill $server
    systemctl stop autossh@served

    # A key of another user's.
    useradd -m keeper
    install -o keeper -m 600 /opt/key /home/keeper/key
    chmod 711 /home/keeper
    configure keeper 'SSH_OPTIONS="-N -o BatchMode=yes -o IdentitiesOnly=yes -i /home/keeper/key -R 2200:127.0.0.1:22 tunnel@127.0.0.1"'
    systemctl start --no-block autossh@keeper
    wait_for sh -c 'journalctl -q -o cat --sync; journalctl -q -o cat -u autossh@keeper | grep -q "Permission denied"'
    allow keeper CapabilityBoundingSet=CAP_DAC_READ_SEARCH
    systemctl restart autossh@keeper
    greeting 2200 >/dev/null || fail "CAP_DAC_READ_SEARCH does not help"
    systemctl stop autossh@keeper

    # A terminal, and known_hosts replaced.
    printf '#!/bin/sh\npython3 -c "import os; os.openpty()" && echo a terminal\nexec /usr/bin/ssh "$@"\n' >/opt/on-terminal
    chmod 755 /opt/on-terminal
    configure terminal 'SSH_OPTIONS="-N -o StrictHostKeyChecking=accept-new -R 2200:127.0.0.1:22 tunnel@127.0.0.1"' AUTOSSH_PATH=/opt/on-terminal
    systemctl start autossh@terminal
    wait_for sh -c 'journalctl -q -o cat --sync; journalctl -q -o cat -u autossh@terminal | grep -q "mkstemp: Read-only file system"'
    ! lines_of autossh@terminal | grep -q '^a terminal' || fail "the fence lets it have a terminal"
    systemctl stop autossh@terminal
    allow terminal "$(printf 'InaccessiblePaths=\nReadWritePaths=-/root/.ssh')"
    systemctl start autossh@terminal
    lines_of autossh@terminal | grep -q '^a terminal' || fail "InaccessiblePaths= does not help"
    wait_for grep -q ecdsa /root/.ssh/known_hosts
}
