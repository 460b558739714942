#!/bin/sh
# The package and its units under a real systemd: one that runs as PID 1 of namespaces of its own, over a root of Debian 12
# that is made once (mmdebstrap, some minutes). Nothing of the machine is changed. As root; not part of CI.
#
#   sh tests/systemd.sh OURS.deb DEBIANS.deb [CASE...]
#
# What it needs: cgroup2 mounted anywhere, overlayfs, and CAP_SYS_ADMIN; no systemd of the machine's, and no KVM.
set -eu

root=${AUTOSSH_TOOLS:-$HOME/.cache/autossh-tools}/systemd/root
here=$(cd "$(dirname "$0")" && pwd)
cgroups=$(awk '$3 == "cgroup2" { print $2; exit }' /proc/mounts)
[ -n "$cgroups" ] || { echo "systemd.sh: cgroup2 is mounted nowhere" >&2; exit 1; }

# The first process of the new namespaces: lays the root out, and becomes systemd.
if [ "${1:-}" = boot ]; then
    scratch=$2 new=$2/root
    hostname autossh-test
    mkdir "$scratch/changes" "$new"
    mount -t tmpfs tmpfs "$scratch/changes"
    mkdir "$scratch/changes/upper" "$scratch/changes/work"
    mount -t overlay -o "lowerdir=$root,upperdir=$scratch/changes/upper,workdir=$scratch/changes/work" overlay "$new"
    mount -t proc proc "$new/proc"
    mount -t sysfs sysfs "$new/sys"
    mount -t cgroup2 cgroup2 "$new/sys/fs/cgroup"
    mount -t tmpfs -o mode=755 tmpfs "$new/run"
    mount -t tmpfs -o mode=1777 tmpfs "$new/tmp"
    mount -t tmpfs -o mode=755 tmpfs "$new/dev"
    mkdir "$new/dev/pts" "$new/dev/shm" "$new/dev/mqueue"
    mount -t devpts -o newinstance,ptmxmode=0666,mode=620,gid=5 devpts "$new/dev/pts"
    mount -t tmpfs -o mode=1777 tmpfs "$new/dev/shm"
    for device in null:1:3 zero:1:5 full:1:7 random:1:8 urandom:1:9 tty:5:0; do
        numbers=${device#*:}
        mknod -m 666 "$new/dev/${device%%:*}" c "${numbers%:*}" "${numbers#*:}"
    done
    ln -s pts/ptmx "$new/dev/ptmx"
    ln -s /proc/self/fd "$new/dev/fd"
    cp "$scratch"/*.deb "$new/opt"
    cp "$here/systemd-fence.sh" "$here/../README.md" "$new/opt"
    cd "$new"
    mkdir -p old
    pivot_root . old
    umount -l /old
    # In a container it mounts no more, and halts by its end.
    exec env -i container=autossh-test PATH=/usr/sbin:/usr/bin:/sbin:/bin TERM=dumb \
        /lib/systemd/systemd --system --log-target=journal
fi

[ $# -ge 2 ] || { sed -n '2,/^set/s/^# \{0,1\}//p' "$0" >&2; exit 2; }
if [ ! -e "$root/etc/debian_version" ]; then
    mkdir -p "$(dirname "$root")"
    mmdebstrap --variant=minbase --include=systemd,systemd-sysv,dbus,openssh-client,openssh-server,iproute2,procps,libpam-systemd,dbus-user-session,man-db,python3-minimal \
        bookworm "$root.new"
    mv "$root.new" "$root"
fi
scratch=$(mktemp -d)
cp "$1" "$scratch/ours.deb"
cp "$2" "$scratch/debians.deb"
shift 2
cgroup=$cgroups/autossh-test-$$
mkdir "$cgroup"
pid=
outer=

# Shuts it down, and waits for that.
finish() {
    if [ -n "$pid" ]; then
        # SIGRTMIN+3: halt.
        kill -37 "$pid" 2>/dev/null || true
        tries=0
        while [ -d "/proc/$pid" ] && [ $tries -lt 300 ]; do
            sleep 0.1
            tries=$((tries + 1))
        done
    fi
    [ -z "$outer" ] || kill -9 "$outer" 2>/dev/null || true
    find "$cgroup" -depth -type d -exec rmdir {} + 2>/dev/null || true
    rm -rf "$scratch"
}
trap finish EXIT
trap 'exit 1' INT TERM HUP

# The namespace of cgroups is rooted where its first process is.
# shellcheck disable=SC2016 # for the inner shell
setsid sh -c 'echo $$ >"$1/cgroup.procs"
    exec unshare --pid --mount --uts --ipc --net --cgroup --fork --propagation private sh "$2" boot "$3"' \
    sh "$cgroup" "$0" "$scratch" </dev/null >"$scratch/console" 2>&1 &
outer=$!
tries=0
until pid=$(tr -d ' ' <"/proc/$outer/task/$outer/children") && [ -n "$pid" ] && [ "$(cat "/proc/$pid/comm")" = systemd ]; do
    sleep 0.1
    tries=$((tries + 1))
    [ $tries -lt 300 ] || { cat "$scratch/console"; exit 1; }
done
echo "$outer" >"$cgroups/cgroup.procs"

in_there() {
    nsenter --target "$pid" --all -- env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root TERM=dumb LANG=C.UTF-8 \
        SYSTEMD_PAGER= DEBIAN_FRONTEND=noninteractive "$@"
}

until in_there systemctl is-system-running --wait 2>/dev/null | grep -q -E 'running|degraded'; do
    sleep 0.1
    tries=$((tries + 1))
    [ $tries -lt 300 ] || { cat "$scratch/console"; exit 1; }
done
cat "$here/systemd-fence-cases.sh" "$here/systemd-cases.sh" | in_there sh -s -- "$@"
