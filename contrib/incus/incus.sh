#!/usr/bin/env bash
# Brings up an Incus site for Containarium on this machine, and takes it down
# again: a project with a storage pool, a bridge and an image with sshd. Where
# an Incus answers already it is used as it is; where none does, one is
# installed and started. Runs as root on Linux; "up" may run any number of times.
#
#   incus.sh up             everything that is missing, the leavings of a run that was cut off removed
#   incus.sh down           exactly what "up" made, and with the last site what was installed for it
#   incus.sh status         exits 0 where the site is up, 1 where only an Incus answers, 3 where none does
#   incus.sh env            prints how to reach the site, as shell assignments
#   incus.sh packages P...  installs packages, which the last "down" removes again
#   incus.sh daemon start|stop|kill
#                           the incusd of a private site (INCUS_DIR), its containers left as they are
#
# Settings, by environment:
#   NAME       the project and its storage pool            (containarium)
#   INCUS_DIR  Incus's folder; another one than the default is a second, private
#              incusd, made for this site and removed with it   (/var/lib/incus)
#   BRIDGE     the network, 15 letters at most             (ctn-NAME, without "containarium-")
#   SUBNET     its address and prefix, IPv4                (the first free 10.77.N.1/24)
#   POOL       btrfs | dir | auto: btrfs on a file where this machine can, else dir   (auto)
#   POOL_SIZE  the most that the btrfs file grows to       (20GiB, or half of what is free)
#   ALIAS      the image's name in the project             (containarium/debian-12)
#   EXTRA      more packages in the image, with commas     (none)
#   MIRROR     the Debian mirror                           (the one that this machine's apt uses)
#   CACHE      where the packed image is kept              (/var/cache/containarium)
#   STATE      the record of what was made here            (/var/lib/containarium-incus)
#   KEEP_HOST  1: "down" leaves packages, incusd and cache for the next "up"   (0)
#
# Exit codes: 0 fine, 1 failed, 2 usage, 3 this machine can not have an Incus
# (not Linux, not root, no way to install one).
set -euo pipefail

say() { printf 'incus: %s\n' "$*"; }
die() {
	printf 'incus.sh: %s\n' "$1" >&2
	exit "${2:-1}"
}

[ "$(uname -s)" = Linux ] || die "Incus runs containers on Linux, and this is $(uname -s)" 3
[ "$(id -u)" = 0 ] || die "an Incus site is made by root, and this is $(id -un): try sudo" 3

HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
NAME=${NAME:-containarium}
[[ $NAME =~ ^[a-z][a-z0-9-]{0,40}$ ]] || die "NAME=$NAME: use small letters, digits and dashes" 2
STATE=${STATE:-/var/lib/containarium-incus}
SITE=$STATE/sites/$NAME
HOST=$STATE/host
# What a site was made with holds as long as it is there.
made() { [ ! -e "$SITE/made" ] || sed -n "s/^$1 //p" "$SITE/made" | tail -n 1; }
INCUS_DIR=${INCUS_DIR:-$(made dir)}
INCUS_DIR=${INCUS_DIR:-/var/lib/incus}
BRIDGE=${BRIDGE:-$(made bridge)}
BRIDGE=${BRIDGE:-ctn-${NAME#containarium-}}
BRIDGE=${BRIDGE:0:15}
SUBNET=${SUBNET:-}
POOL=${POOL:-auto}
POOL_SIZE=${POOL_SIZE:-}
ALIAS=${ALIAS:-containarium/debian-12}
EXTRA=${EXTRA:-}
MIRROR=${MIRROR:-}
CACHE=${CACHE:-/var/cache/containarium}
KEEP_HOST=${KEEP_HOST:-0}

[[ $POOL =~ ^(auto|btrfs|dir)$ ]] || die "POOL=$POOL: use auto, btrfs or dir" 2
[[ $INCUS_DIR =~ ^/[^[:space:]]+[^/]$ ]] || die "INCUS_DIR=$INCUS_DIR: use an absolute path without spaces" 2

SOCKET=$INCUS_DIR/unix.socket
PRIVATE=1
[ "$INCUS_DIR" = /var/lib/incus ] && PRIVATE=0

export INCUS_DIR DEBIAN_FRONTEND=noninteractive NEEDRESTART_SUSPEND=1 LC_ALL=C.UTF-8
export PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin
# The client's own settings, so that root's remotes and projects do not matter.
export INCUS_CONF=$STATE/client HOME=${HOME:-/root}
unset INCUS_PROJECT INCUS_REMOTE INCUS_SOCKET

# shellcheck source=contrib/incus/packages.sh
. "$HERE/packages.sh"
# shellcheck source=contrib/incus/incusd.sh
. "$HERE/incusd.sh"
# shellcheck source=contrib/incus/image.sh
. "$HERE/image.sh"
# shellcheck source=contrib/incus/site.sh
. "$HERE/site.sh"

up() {
	local start=$SECONDS
	mkdir -p "$SITE" "$HOST"
	note "dir $INCUS_DIR"
	if ! answers; then
		incus_packages
		start_incusd
	fi
	pack_image
	make_site
	say "$NAME is up after $((SECONDS - start)) s: project and pool $NAME, bridge $BRIDGE, image $ALIAS, socket $SOCKET"
}

down() {
	remove_site
	if [ "$KEEP_HOST" != 1 ] && [ -z "$(ls -A "$STATE/sites" 2>/dev/null)" ]; then
		stop_host_incusd
		remove_packages
		rm -rf "$STATE"
	fi
	say "$NAME is down"
}

print_env() {
	printf '%s=%q\n' INCUS_SOCKET "$SOCKET" INCUS_PROJECT "$NAME" INCUS_PROFILE default INCUS_IMAGE "$ALIAS" \
		INCUS_BRIDGE "$BRIDGE" INCUS_DRIVER "$(incus storage show "local:$NAME" | sed -n 's/^driver: //p')"
}

# One at a time: two runs would make and unmake under each other.
lock() {
	exec 9>>/run/containarium-incus.lock
	flock -w 600 9 || die "another run of this script has not ended within 10 minutes"
}

case ${1:-} in
up | down)
	lock
	"$1"
	;;
status)
	answers || exit 3
	site_is_up
	;;
env) print_env ;;
packages)
	shift
	lock
	mkdir -p "$HOST"
	install_packages "$@"
	;;
daemon)
	[ $PRIVATE = 1 ] || die "daemon: only a private incusd, in an INCUS_DIR of its own, is stopped and started here" 2
	case ${2:-} in
	start) answers || run_incusd ;;
	stop) stop_private_incusd ;;
	kill) kill_private_incusd ;;
	*) die "usage: incus.sh daemon start|stop|kill" 2 ;;
	esac
	;;
*) die "usage: incus.sh up|down|status|env|packages PACKAGE...|daemon start|stop|kill" 2 ;;
esac
