#!/bin/sh
# Runs the tests on the newest Python for which all dependencies have wheels, in a small Debian of its
# own. It needs root, Linux and debootstrap; the system (about 1.3 GB) stays in .venv-newest.
#
#     scripts/newest_python.sh make test ARGS='-k tools'
set -eu
PYTHON=python3.14
SUITE=forky # where Debian has that Python
SYSTEM="$PWD/.venv-newest"
PACKAGES="$PYTHON-venv,python3,make,git,ca-certificates,curl,pgbouncer,util-linux"

[ "$(id -u)" = 0 ] || { echo "This must run as root: it installs a Debian into $SYSTEM"; exit 1; }
command -v debootstrap >/dev/null || { echo "debootstrap is missing: apt install debootstrap"; exit 1; }

if [ ! -e "$SYSTEM/.ready" ]; then
    echo "Installing Debian $SUITE with $PYTHON into $SYSTEM ..."
    rm -rf "$SYSTEM"
    # From where this machine has its own packages; older debootstraps know the suite by sid's script.
    mirror=$(apt-get indextargets --format '$(REPO_URI)' | head -n 1)
    debootstrap --variant=minbase --include="$PACKAGES" "$SUITE" "$SYSTEM" \
        "$mirror" sid >/dev/null
    touch "$SYSTEM/.ready"
fi
cp /etc/resolv.conf /etc/hosts "$SYSTEM/etc/"
cp /etc/ssl/certs/ca-certificates.crt "$SYSTEM/etc/ssl/certs/" 2>/dev/null || true

# What is committed, with the environment of the run before.
mkdir -p "$SYSTEM/root/checkout"
rm -rf "$SYSTEM/root/new"
git clone --quiet . "$SYSTEM/root/new"
[ ! -d "$SYSTEM/root/checkout/.venv" ] || mv "$SYSTEM/root/checkout/.venv" "$SYSTEM/root/new/"
rm -rf "$SYSTEM/root/checkout"
mv "$SYSTEM/root/new" "$SYSTEM/root/checkout"

# Mounts of its own, which end with the command.
exec unshare --mount sh -c '
    mount -t proc proc "$0/proc" && mount --rbind /dev "$0/dev" && mount -t tmpfs tmpfs "$0/tmp"
    cd "$0" && exec chroot "$0" env PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root \
        sh -c "cd /root/checkout && exec \"\$@\"" sh "$@"
' "$SYSTEM" "$@" PYTHON="$PYTHON"
