#!/usr/bin/env bash
# Makes the base of the images where none can be pulled: Debian bookworm with Python 3.11, from this machine's own mirror.
#
#   deploy/image/base.sh [NAME]     default gridparley-base:bookworm
#
# What an image does not need of it is cut away when the images are built, as from any other base (thin.sh).
set -euo pipefail
NAME=${1:-gridparley-base:bookworm}
SUITE=bookworm
PACKAGES=python3,ca-certificates

missing() {
    printf 'base: %s\n      %s\n' "$1" "$2" >&2
    exit 2
}

[ "$(uname -s)" = Linux ] || missing "debootstrap runs on Linux only" "pull a base instead: make image BASE=<a slim Python 3.11 image>"
[ "$(id -u)" = 0 ] || missing "debootstrap needs root" "run: sudo make base; or pull a base: make image BASE=<a slim Python 3.11 image>"
command -v debootstrap >/dev/null || missing "debootstrap is not installed" "run: apt-get install debootstrap"
docker version >/dev/null 2>&1 || missing "no Docker engine answers" "start one: deploy/image/engine.sh"

# The first mirror of apt's configuration that has the suite; security updates come from where apt has them.
if command -v apt-get >/dev/null; then
    MIRROR=${MIRROR:-$(apt-get indextargets --format '$(SITE) $(RELEASE)' "Created-By: Packages" | awk -v s=$SUITE '$2 == s { print $1; exit }')}
    [ -n "$MIRROR" ] || MIRROR=$(apt-get indextargets --format '$(SITE) $(RELEASE)' "Created-By: Packages" | awk 'NR == 1 { print $1 }')
fi
[ -n "${MIRROR:-}" ] || missing "apt knows no mirror of Debian" "name one: MIRROR=<address> make base"

FOLDER=$(mktemp -d "${TMPDIR:-/tmp}/gridparley-base-XXXXXX")
trap 'rm -rf --one-file-system "$FOLDER"' EXIT
chmod 755 "$FOLDER"
debootstrap --variant=minbase --include="$PACKAGES" "$SUITE" "$FOLDER/root" "$MIRROR" >"$FOLDER/log" 2>&1 || {
    tail -n 20 "$FOLDER/log" >&2
    missing "debootstrap failed, see above" "check that $SUITE can be had from the mirror that apt uses"
}

# What is no part of a base: indexes, caches, logs, the address of this machine's mirror.
rm -rf "$FOLDER"/root/var/lib/apt/lists/* "$FOLDER"/root/var/cache/apt/* "$FOLDER"/root/var/log/* "$FOLDER"/root/tmp/*
rm -f "$FOLDER"/root/etc/apt/sources.list "$FOLDER"/root/etc/resolv.conf "$FOLDER"/root/etc/hostname

tar --directory "$FOLDER/root" --numeric-owner --one-file-system --exclude='./proc/*' --exclude='./sys/*' --exclude='./dev/*' --create . |
    docker import --change 'ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8' \
        --change 'CMD ["python3"]' --message "Debian $SUITE, $PACKAGES" - "$NAME" >/dev/null
printf 'base: %s, %s\n' "$NAME" "$(docker image inspect --format '{{.Size}}' "$NAME" | awk '{ printf "%.0f MB", $1 / 1e6 }')"
