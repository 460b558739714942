#!/bin/sh
# An ssh_config's ProxyCommand that tries to become root outside of the unit it runs in; tests/systemd.sh uses it. It prints
# what it could do that it should not.

for place in / /boot /dev/shm /etc /etc/autossh /etc/systemd/system /home /opt /root /root/.ssh /run /run/lock \
    /run/systemd /run/systemd/journal /run/systemd/system /run/user /srv /sys/fs/cgroup /usr/bin /usr/lib/autossh \
    /var/cache /var/lib /var/log /var/spool; do
    if touch "$place/written-from-inside" 2>/dev/null; then
        echo "can write to $place"
    fi
done
for file in /proc/sys/kernel/core_pattern /proc/sysrq-trigger /root/.ssh/authorized_keys /run/systemd/notify /etc/passwd; do
    if sh -c 'true >>"$1"' sh "$file" 2>/dev/null; then
        echo "can write to $file"
    fi
done

# Every socket and FIFO that it can see anywhere, but those of the log and of readiness.
python3 - <<'END'
import os, socket, stat

NEEDED = ("/run/systemd/journal/", "/run/systemd/notify", "/run/systemd/resolve/", "/run/systemd/userdb/")

def can_connect(path):
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_SEQPACKET):
        try:
            socket.socket(socket.AF_UNIX, kind).connect(path)
            return True
        except OSError:
            pass
    return False

for top in ("/run", "/var", "/tmp", "/root", "/dev"):
    for directory, _, names in os.walk(top):
        for name in names:
            path = os.path.join(directory, name)
            try:
                mode = os.lstat(path).st_mode
            except OSError:
                continue
            if path.startswith(NEEDED):
                continue
            if stat.S_ISSOCK(mode) and can_connect(path):
                print("can connect to", path)
            if stat.S_ISFIFO(mode) and os.access(path, os.W_OK):
                print("can write to", path)
            if stat.S_ISBLK(mode):
                print("sees the device", path)
for path in ("/run/dbus/system_bus_socket", "/run/systemd/private", "/run/udev/control", "/run/user/0/bus"):
    if can_connect(path):
        print("can connect to", path)
for name in os.listdir("/dev/pts") if os.access("/dev/pts", os.R_OK) else ():
    print("sees the terminal", name)
END
if systemctl daemon-reload 2>/dev/null; then
    echo "can command systemd"
fi
if unshare --mount true 2>/dev/null; then
    echo "can make namespaces"
fi
sed -n 's/^CapEff:[[:space:]]*//p' /proc/self/status | grep -v -x '0*400' | sed 's/^/has the capabilities /'
