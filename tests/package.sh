#!/bin/sh
# Installs, uses, upgrades, removes and purges the Debian package, after Debian's own autossh and back to it, in a copy of
# this system: an overlay over / in namespaces of its own, so that nothing of the machine is changed. As root.
#
#   sh tests/package.sh OURS.deb DEBIANS.deb
set -eu

if [ "${1:-}" != inside ]; then
    [ $# -eq 2 ] || { sed -n '2,/^set/s/^# \{0,1\}//p' "$0" >&2; exit 2; }
    here=$(cd "$(dirname "$0")" && pwd)
    scratch=$(mktemp -d)
    trap 'rm -rf "$scratch"' EXIT
    sshd=$(sh "$here/find-sshd.sh" "${SSHD_DIRECTORY:-$scratch/sshd}")
    cp "$1" "$scratch/ours.deb"
    cp "$2" "$scratch/debians.deb"
    unshare --mount --pid --fork --kill-child --net --ipc --propagation private sh "$here/package.sh" inside "$scratch" "$sshd"
    exit
fi

scratch=$2
sshd=$3
if [ ! -e "$scratch/changes" ]; then
    # Outside of the copy yet. What it changes is in memory.
    mkdir "$scratch/changes" "$scratch/root"
    mount -t tmpfs tmpfs "$scratch/changes"
    mkdir "$scratch/changes/upper" "$scratch/changes/work"
    mount -t overlay -o "lowerdir=/,upperdir=$scratch/changes/upper,workdir=$scratch/changes/work" overlay "$scratch/root"
    mount -t proc proc "$scratch/root/proc"
    mount --rbind /dev "$scratch/root/dev"
    mount -t tmpfs -o mode=755 tmpfs "$scratch/root/run"
    ip link set lo up
    # No policy of the machine's, and no index of its manual pages, which takes long.
    rm -f "$scratch/root/usr/sbin/policy-rc.d" "$scratch/root/var/lib/man-db/auto-update"
    exec chroot "$scratch/root" sh "$0" inside "$scratch" "$sshd"
fi

export DEBIAN_FRONTEND=noninteractive HOME=/root LC_ALL=C.UTF-8 PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
unset SSH_AUTH_SOCK TMPDIR
cd "$scratch"

step() {
    echo "== $*"
}

fail() {
    echo "package.sh: $*" >&2
    [ ! -e log ] || sed 's/^/log: /' log >&2
    exit 1
}

# dpkg, which must have no word of warning. A downgrade it always warns of.
quiet_dpkg() {
    dpkg "$@" >said 2>&1 || { cat said; fail "dpkg $*"; }
    if grep -v 'warning: downgrading autossh' said | grep -i -E 'warning|error|obsolete|not empty|conffile|cannot|failed'; then
        cat said
        fail "dpkg $* is not silent"
    fi
}

# All files that a package can leave behind.
list_files() {
    find /etc /usr /opt /srv /home /var /run /root/.??* -xdev \( -path /root/.cache -o -path /root/.cargo -o -path /root/.rustup \
        -o -path /root/.pyenv -o -path /var/lib/dpkg -o -path /var/lib/apt -o -path /var/cache -o -path /var/log/dpkg.log \) \
        -prune -o -print | sort
}

same_files() {
    list_files >"$1.now"
    diff "$1" "$1.now" >&2 || fail "$2"
}

# Waits until a command succeeds.
wait_for() {
    tries=0
    until "$@" >/dev/null 2>&1; do
        tries=$((tries + 1))
        [ $tries -lt 300 ] || fail "waited for: $*"
        sleep 0.1
    done
}

greeting() {
    ssh-keyscan -T 1 -t ed25519 -p "$1" 127.0.0.1 2>&1 | grep '^# .* SSH-2.0-'
}

# A tunnel from port 8022, as people type it; it must pass traffic.
start_tunnel() {
    rm -f log
    AUTOSSH_LOGFILE=$scratch/log AUTOSSH_PIDFILE=$scratch/pid AUTOSSH_GATETIME=0 \
        autossh -f -M 0 -F "$scratch/config" -N -L 8022:127.0.0.1:2022 tunnel
    wait_for test -s pid
    pid=$(cat pid)
    wait_for greeting 8022
}

# Whether the tunnel is the one that was started last.
is_untouched() {
    if [ "$(cat pid)" != "$pid" ] || ! kill -0 "$pid" || ! greeting 8022 >/dev/null; then
        fail "$1"
    fi
}

stop_tunnel() {
    kill "$pid"
    wait_for test ! -e "/proc/$pid"
}

# What a script of the package makes of these words: the arguments that ssh gets.
ssh_arguments() {
    AUTOSSH_PATH=$scratch/ssh "$@" >/dev/null 2>said || { cat said; fail "$*"; }
    cat arguments
}

for key in host-key key; do
    ssh-keygen -q -t ed25519 -N '' -f $key
done
cat >sshd-config <<END
ListenAddress 127.0.0.1
Port 2022
HostKey $scratch/host-key
AuthorizedKeysFile $scratch/key.pub
PasswordAuthentication no
StrictModes no
PidFile none
END
cat >config <<END
Host tunnel
    HostName 127.0.0.1
    Port 2022
    User $(id -un)
    IdentityFile $scratch/key
    IdentitiesOnly yes
    BatchMode yes
    UserKnownHostsFile $scratch/known-hosts
    StrictHostKeyChecking accept-new
    LogLevel ERROR
END
cat >ssh <<END
#!/bin/sh
printf '<%s>' "\$@" >$scratch/arguments
END
chmod 755 ssh
"$sshd" -D -e -f "$scratch/sshd-config" 2>sshd-log &
wait_for greeting 2022

list_files >before

step "Debian's package, and a tunnel with it"
quiet_dpkg -i debians.deb
start_tunnel
grep -q 'starting ssh' log

step "ours in its place: the tunnel stays, and whoever upgrades hears of it"
quiet_dpkg -i ours.deb
is_untouched "the upgrade has touched a running tunnel"
grep -q '1 running tunnel(s) keep the version they were started with' said || fail "$(cat said)"
grep -q "systemctl restart 'autossh@" said || fail "$(cat said)"
dpkg-query --show --showformat '${Conffiles}\n' autossh >conffiles
! grep -q obsolete conffiles || fail "an obsolete conffile: $(cat conffiles)"
grep -q ' /etc/logcheck/ignore.d.workstation/autossh ' conffiles || fail "logcheck's rules are no conffile: $(cat conffiles)"
[ "$(stat -c %a%F /etc/autossh)" = 755directory ] || fail "/etc/autossh: $(stat -c %a%F /etc/autossh)"
stop_tunnel

step "a tunnel with ours, which cron jobs find by the name they know"
[ "$(cat /usr/bin/autossh)" = "$(printf '#!/bin/sh\nexec /usr/lib/autossh/autossh "$@"')" ] || fail "/usr/bin/autossh"
start_tunnel
[ "$(pgrep -f '^/usr/lib/autossh/autossh ')" = "$pid" ] || fail "ps shows: $(pgrep -a autossh)"
[ "$(pidof autossh)" = "$pid" ] || fail "pidof: $(pidof autossh), $pid"

step "the scripts of Debian's package"
export SSH_AUTH_SOCK=/nonexistent
monitor='<-L><[0-9:.]*><-R><[0-9:.]*>'
for script in 'rscreen screen -Rd' 'ruscreen screen -RdU' 'rtmux tmux a || tmux new'; do
    ssh_arguments "${script%% *}" -p 22 host | grep -x -q "$monitor<-t><-p><22><host><${script#* }>" || fail "$script: $(cat arguments)"
done
ln -s autossh-argv0 /usr/bin/some.host
ssh_arguments some.host -x 'a b' | grep -x -q "$monitor<some.host><-x><a b>" || fail "autossh-argv0: $(cat arguments)"
rm /usr/bin/some.host
ssh_arguments sh /usr/share/doc/autossh/examples/rscreen host | grep -x -q "$monitor<-t><host><screen -D -R>" || fail "$(cat arguments)"
unset SSH_AUTH_SOCK
for page in autossh rscreen rtmux ruscreen autossh-argv0; do
    [ -e "/usr/share/man/man1/$page.1.gz" ] || fail "no manual page $page"
done
for file in README.Debian copyright changelog.Debian.gz examples/autossh.host examples/example.conf; do
    [ -e "/usr/share/doc/autossh/$file" ] || fail "no $file"
done

step "an upgrade of ours: the tunnel stays"
echo 'SSH_OPTIONS="-N host"' >/etc/autossh/db.conf
quiet_dpkg -i ours.deb
is_untouched "the upgrade has touched a running tunnel"

step "removed: the administrator's files stay"
mkdir -p /etc/systemd/system/multi-user.target.wants /etc/systemd/system/autossh@db.service.d
ln -s /lib/systemd/system/autossh@.service /etc/systemd/system/multi-user.target.wants/autossh@db.service
echo '[Service]' >/etc/systemd/system/autossh@db.service.d/override.conf
mkdir -p /var/log/autossh/db
quiet_dpkg --remove autossh
[ -e /etc/autossh/db.conf ] || fail "the administrator's tunnel is gone"
[ ! -e /usr/lib/autossh ] || fail "the program is still there"

step "purged: nothing is left"
stop_tunnel
quiet_dpkg --purge autossh
same_files before "purge leaves files, or has taken too many"

step "purged where the administrator has a unit of this name, and a key beside the tunnels: they stay"
quiet_dpkg -i ours.deb
echo '[Service]' >/etc/systemd/system/autossh@.service
ln -s ../autossh@.service /etc/systemd/system/multi-user.target.wants/autossh@own.service
echo 'SSH_OPTIONS="-N host"' >/etc/autossh/own.conf
quiet_dpkg --purge autossh
[ -e /etc/autossh/own.conf ] || fail "the tunnel is gone"
[ -L /etc/systemd/system/multi-user.target.wants/autossh@own.service ] || fail "it is enabled no more"
rm /etc/systemd/system/autossh@.service /etc/systemd/system/multi-user.target.wants/autossh@own.service
quiet_dpkg -i ours.deb
echo key >/etc/autossh/key
quiet_dpkg --purge autossh
[ "$(ls /etc/autossh)" = key ] || fail "/etc/autossh holds: $(ls /etc/autossh)"
rm -r /etc/autossh
rmdir --ignore-fail-on-non-empty /etc/systemd/system/multi-user.target.wants

step "back to Debian's, with a tunnel of ours"
quiet_dpkg -i ours.deb
start_tunnel
quiet_dpkg -i debians.deb
[ ! -e /etc/bash_completion.d/autossh ] || fail "a completion for ours is left"
is_untouched "going back has touched a running tunnel"
stop_tunnel
start_tunnel
autossh -V 2>&1 | grep -q 'autossh 1\.4g' || fail "autossh -V: $(autossh -V 2>&1)"
stop_tunnel
quiet_dpkg --purge autossh
same_files before "files are left"
echo "== the package is sound"
