#!/bin/sh
# Unpacks one of Debian's packages and the libraries that it needs and this machine lacks into FOLDER/root. Nothing is
# installed. Prints a shell line that lets its programs find those libraries.
#
#   sh tests/unpack.sh PACKAGE FOLDER
set -eu
package=$1
directory=$(mkdir -p "$2" && cd "$2" && pwd)

if ! command -v apt-get >/dev/null || ! command -v dpkg-deb >/dev/null; then
    echo "unpack: no apt-get here to get $package with" >&2
    exit 1
fi
cd "$directory"
if [ ! -e "root/.$package" ]; then
    libraries=$(apt-cache depends --recurse --no-recommends --no-suggests --no-conflicts --no-breaks --no-replaces \
        --no-enhances "$package" 2>/dev/null | sed -n 's/^\(lib[a-z0-9.+-]*\)$/\1/p' | sort -u)
    for name in "$package" $libraries; do
        [ "$name" != "$package" ] && dpkg -s "$name" >/dev/null 2>&1 && continue
        if ! apt-get download "$name" >/dev/null 2>&1; then
            echo "unpack: cannot download Debian's package $name; perhaps apt-get update helps" >&2
            exit 1
        fi
    done
    for file in *.deb; do
        dpkg-deb -x "$file" root
    done
    rm -f ./*.deb
    : >"root/.$package"
fi
libraries=$(find "$directory/root" -name '*.so.*' -exec dirname {} \; | sort -u | tr '\n' ':')
echo "LD_LIBRARY_PATH='$libraries'\${LD_LIBRARY_PATH:-}; export LD_LIBRARY_PATH"
