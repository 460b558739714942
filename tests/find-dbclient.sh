#!/bin/sh
# Finds Dropbear's dbclient and dropbearkey without installing anything, and prints the directory that has both as commands.
#
#   sh tests/find-dbclient.sh FOLDER
#
# They are the machine's own, else those of Debian's package, unpacked into FOLDER.
set -eu
directory=$(mkdir -p "$1" && cd "$1" && pwd)
libraries=
if command -v dbclient >/dev/null && command -v dropbearkey >/dev/null; then
    places="$(command -v dbclient) $(command -v dropbearkey)"
else
    libraries=$(sh "$(dirname "$0")/unpack.sh" dropbear-bin "$directory")
    places="$directory/root/usr/bin/dbclient $directory/root/usr/bin/dropbearkey"
fi
for place in $places; do
    command=$directory/${place##*/}
    printf '#!/bin/sh\n%s\nexec %s "$@"\n' "$libraries" "$place" >"$command.new"
    chmod 755 "$command.new"
    mv "$command.new" "$command"
done
echo "$directory"
