#!/bin/sh
# Finds an sshd that the current user can run, without installing or starting anything, and prints the command.
#
#   sh tests/find-sshd.sh FOLDER
#
# It is the machine's own sshd if there is one, else Debian's package, unpacked into FOLDER. For root, who needs a
# user sshd and a directory /run/sshd which only an installation makes, the command gets both in a mount namespace.
set -eu

tests=$(cd "$(dirname "$0")" && pwd)
directory=$(mkdir -p "$1" && cd "$1" && pwd)

give_up() {
    echo "find-sshd: $1" >&2
    exit 1
}

sshd=
for candidate in "$(command -v sshd || true)" /usr/sbin/sshd /usr/local/sbin/sshd; do
    if [ -x "$candidate" ]; then
        sshd=$candidate
        break
    fi
done
if [ -z "$sshd" ]; then
    libraries=$(sh "$tests/unpack.sh" openssh-server "$directory") ||
        give_up "there is no sshd here: install the OpenSSH server (it need not run)"
    sshd=$directory/root/usr/sbin/sshd
fi

command=$directory/sshd
{
    echo '#!/bin/sh'
    case $sshd in
    "$directory"/*)
        echo "$libraries"
        # Newer versions are several programs, and know the others by their installed places.
        for helper in session auth; do
            place=$directory/root/usr/lib/openssh/sshd-$helper
            keyword=$(echo "$helper" | sed 's/^s/S/; s/^a/A/')
            [ -x "$place" ] && echo "set -- -o 'Sshd${keyword}Path=$place' \"\$@\""
        done
        ;;
    esac
    if [ "$(id -u)" -eq 0 ] && { [ ! -d /run/sshd ] || ! id sshd >/dev/null 2>&1; }; then
        unshare --mount true 2>/dev/null ||
            give_up "root needs a user sshd and a directory /run/sshd, or a kernel that allows mount namespaces; try as another user"
        # root gets a plain shell and an empty home too: what its own start-up files do is none of the cases' business.
        mkdir -p "$directory/home"
        { sed -e '/^sshd:/d' -e "s|^\(root:[^:]*:[^:]*:[^:]*:[^:]*\):.*|\1:$directory/home:/bin/sh|" /etc/passwd
          echo 'sshd:x:65534:65534::/run/sshd:/usr/sbin/nologin'; } >"$directory/passwd.new.$$"
        mv "$directory/passwd.new.$$" "$directory/passwd"
        echo "exec unshare --mount sh -c 'mount --bind $directory/passwd /etc/passwd &&"
        echo "    mount -t tmpfs -o mode=755 none /run && mkdir -m 755 /run/sshd && exec $sshd \"\$@\"' sshd \"\$@\""
    else
        echo "exec $sshd \"\$@\""
    fi
} >"$command.new.$$"
chmod 755 "$command.new.$$"
# Atomically, since another process may be running it.
mv "$command.new.$$" "$command"
echo "$command"
