#!/usr/bin/env bash
# Makes a jump server of a bare Debian 12 or Ubuntu 24.04: installs Incus and sets
# it up, installs the package and runs "containarium init". One file, for a shell,
# for cloud-init, for Ansible and as the startup script of a cloud's machine. Runs as
# root, any number of times: what is there already stays as it is.
#
#   PACKAGE=containarium_1.2.3_amd64.deb PACKAGE_SHA256=... bootstrap.sh
#
# Settings, by environment; on Google Compute Engine the machine's metadata has those
# that are not set, as containarium-package, containarium-package-sha256,
# containarium-preseed and containarium-data-disk:
#   PACKAGE         the .deb: a file, or a URL
#   PACKAGE_SHA256  its SHA-256; a file with another one is not installed
#   PRESEED         what "containarium init --preseed" takes: a file, in metadata its
#                   text   (none: init's defaults)
#   DATA_DISK       a block device for the containers, empty; nothing is formatted
#                   that has something on it   (none: a part of the root disk)
set -euo pipefail
umask 022
exec </dev/null
export DEBIAN_FRONTEND=noninteractive NEEDRESTART_SUSPEND=1 LC_ALL=C.UTF-8 HOME=${HOME:-/root}
export PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin
unset INCUS_PROJECT INCUS_REMOTE INCUS_SOCKET INCUS_CONF INCUS_DIR

STATE=/var/lib/containarium-bootstrap
LOG=/var/log/containarium-bootstrap.log
STEP=start
CHANGED=0

# Each step says one line: what it did, or that there was nothing to do.
did() {
	CHANGED=$((CHANGED + 1))
	printf 'bootstrap: %s: %s\n' "$STEP" "$*"
}
kept() { printf 'bootstrap: %s: %s, as it was\n' "$STEP" "$*"; }
die() {
	printf 'bootstrap: %s failed: %s\n' "$STEP" "$*" >&2
	exit 1
}

# run runs what changes something; what it prints goes to the log.
run() {
	printf '$ %s\n' "$*" >>"$LOG"
	"$@" >>"$LOG" 2>&1 || {
		tail -n 15 "$LOG" >&2
		die "$*"
	}
}

ended() {
	local code=$?
	[ $code = 0 ] || echo "bootstrap: stopped at the step \"$STEP\"; what was run is in $LOG. Mend that, and run this again: it goes on from there" >&2
}

check_system() {
	STEP=system
	[ "$(id -u)" = 0 ] || die "this needs root, and runs as $(id -un): try sudo"
	local system
	system=$(sed -n 's/^\(ID\|VERSION_ID\)=//p' /etc/os-release | tr -d '"' | sort | xargs)
	[[ $system =~ ^(12 debian|24.04 ubuntu)$ ]] || die "this is made for Debian 12 and Ubuntu 24.04, not for $(sed -n 's/^PRETTY_NAME=//p' /etc/os-release)"
	[ -d /run/systemd/system ] || die "systemd does not run here, and the daemon is a unit of it"
	install -d -m 0700 "$STATE"
	exec 9>>"$STATE/lock"
	flock -w 1800 9 || die "another run has not ended within half an hour"
}

on_gce() { [ -n "${GCE_METADATA_HOST:-}" ] || grep -qs '^Google Compute Engine' /sys/class/dmi/id/product_name; }

metadata() {
	curl -sf --retry 8 --retry-connrefused -H 'Metadata-Flavor: Google' \
		"http://${GCE_METADATA_HOST:-metadata.google.internal}/computeMetadata/v1/instance/attributes/$1"
}

# setting sets a variable that is not set from an attribute of the metadata, if
# there is one.
setting() {
	[ -z "${!1:-}" ] || return 0
	printf -v "$1" ''
	on_gce || return 0
	local value code=0
	value=$(metadata "$2") || code=$?
	# 22: the server answers that there is none.
	[ $code = 0 ] || [ $code = 22 ] || die "the metadata server does not tell $2: curl says $code"
	printf -v "$1" '%s' "$value"
}

read_settings() {
	STEP=settings
	local given=${PRESEED:-}
	setting PACKAGE containarium-package
	setting PACKAGE_SHA256 containarium-package-sha256
	setting DATA_DISK containarium-data-disk
	setting PRESEED containarium-preseed
	if [ -n "$PRESEED" ] && [ -z "$given" ]; then
		local file=$STATE/preseed.toml
		cmp -s "$file" <<<"$PRESEED" || printf '%s\n' "$PRESEED" >"$file"
		PRESEED=$file
	fi
	[ -z "$PRESEED" ] || [ -r "$PRESEED" ] || die "there is no file $PRESEED: PRESEED names it"
	if [ -n "$PACKAGE" ]; then
		[[ $PACKAGE_SHA256 =~ ^[0-9a-f]{64}$ ]] || die "PACKAGE_SHA256 has to be the SHA-256 of the package, 64 digits: sha256sum $PACKAGE"
	fi
}

apt() { run apt-get -qy -o DPkg::Lock::Timeout=600 -o Dpkg::Use-Pty=0 -o Dpkg::Options::=--force-confold "$@"; }

# update reads apt's lists. Where another apt has them, one of the boot's own, it
# gives up at once: the lock's time-out is only for what installs.
update() {
	local tries log=$STATE/update.log
	for ((tries = 0; tries < 300; tries++)); do
		if apt-get -q update >"$log" 2>&1; then return; fi
		grep -q 'Could not get lock' "$log" || break
		sleep 2
	done
	tail -n 5 "$log" >&2
	die "apt-get update"
}

# No "grep -q" reads from a pipe here: it ends early, and then what writes into the
# pipe ends in failure.
candidate() { apt-cache policy "$1" | grep '^  Candidate: [0-9]' >/dev/null; }

# add_backports tells apt of Debian 12's backports, which have Incus, on the mirror
# that this machine has its release from.
add_backports() {
	local uri key list=/etc/apt/sources.list.d/containarium-backports.list
	# shellcheck disable=SC2016 # apt expands them
	read -r uri key <<<"$(apt-get indextargets --format '$(REPO_URI) $(RELEASE) $(SIGNED_BY)' 'Created-By: Packages' |
		awk '$2 == "bookworm" && !found++ { print $1, ($3 ~ /^\// ? $3 : "") }')"
	[ -n "$uri" ] || die "apt knows no Incus, and no archive of Debian 12 either: see /etc/apt/sources.list.d"
	echo "deb ${key:+[signed-by=$key] }$uri bookworm-backports main" >"$list"
	update
}

# What Incus's packages leave to recommendations, and what a jump server needs.
EXTRA=(dnsmasq-base nftables uidmap attr xz-utils squashfs-tools btrfs-progs lxcfs openssh-server logrotate curl ca-certificates)

install_incus() {
	STEP=packages
	local base=incus-base
	if systemctl cat incus.service >/dev/null 2>&1 && dpkg-query -W "${EXTRA[@]}" >/dev/null 2>&1; then
		kept "Incus $(incus --version)"
		return
	fi
	update
	if ! candidate incus && grep -qx 'ID=debian' /etc/os-release; then add_backports; fi
	candidate incus || die "apt knows no Incus: it is in Ubuntu's universe and in Debian's backports, see /etc/apt/sources.list.d"
	candidate incus-base || base=incus
	apt install --no-install-recommends "$base" incus-client "${EXTRA[@]}"
	did "installed Incus $(incus --version)"
}

# free_subnet prints the first 10.77.N.1/24 to which this machine has no way yet.
free_subnet() {
	local n taken
	taken=$(ip -4 -o addr show && ip -4 route show)
	for n in {0..255}; do
		if [[ $taken != *10.77.$n.* ]]; then
			echo "10.77.$n.1/24"
			return
		fi
	done
	die "no 10.77.N.0/24 is free here: make the bridge yourself, with incus network create"
}

# pool prints the storage pool to be made: on the data disk, else in a file, which
# can hold containers to a size, else in a folder, which can not.
pool() {
	if [ -n "$DATA_DISK" ]; then
		[ -b "$DATA_DISK" ] || die "DATA_DISK: $DATA_DISK is no block device here; lsblk shows those that are"
		local found
		# Fails closed: what can not be looked at is not formatted.
		found=$(wipefs --no-act --noheadings --output TYPE "$DATA_DISK" | xargs) || die "DATA_DISK: $DATA_DISK can not be read"
		[ -z "$found" ] || die "DATA_DISK: $DATA_DISK is not empty, it has $found: nothing is formatted that has something on it. incus admin recover takes up a pool of an earlier host, wipefs --all $DATA_DISK gives up what is there"
		echo "{name: default, driver: btrfs, config: {source: $DATA_DISK}}"
	elif [ -e /dev/loop-control ] && { grep -qw btrfs /proc/filesystems || modprobe -q btrfs; }; then
		echo "{name: default, driver: btrfs, config: {size: $(($(df --output=avail -B1G /var/lib/incus | tail -n 1) / 2))GiB}}"
	else
		echo "{name: default, driver: dir}"
	fi
}

# metadata_acl keeps containers from the address at which clouds tell a machine's
# metadata, these settings among them, to whoever asks from it.
metadata_acl() {
	incus network acl show no-metadata >/dev/null 2>&1 || run incus network acl create no-metadata
	incus network acl show no-metadata | grep 169.254.169.254 >/dev/null ||
		run incus network acl rule add no-metadata egress action=reject destination=169.254.169.254/32
}

setup_incus() {
	STEP=incus
	incus admin waitready --timeout=120 2>>"$LOG" || die "Incus does not get ready: journalctl -u incus"
	local profile made=()
	profile=$(incus profile show default)
	if [[ $profile == *"type: disk"* && $profile == *"type: nic"* ]]; then
		kept "the default profile has a disk and a bridge"
		return
	fi
	local pool bridge new_pool='' new_bridge=''
	pool=$(incus storage list -f csv | awk -F, '!found++ { print $1 }')
	bridge=$(incus network list -f csv | awk -F, '$2 == "bridge" && $3 == "YES" && !found++ { print $1 }')
	if [ -z "$pool" ]; then
		new_pool=$(pool)
		pool=default made+=("the pool $new_pool")
	fi
	if [ -z "$bridge" ]; then
		local subnet
		subnet=$(free_subnet)
		metadata_acl
		bridge=incusbr0 made+=("the bridge incusbr0, $subnet")
		new_bridge="{name: incusbr0, type: bridge, config: {ipv4.address: $subnet, ipv4.nat: true, ipv6.address: none,
		  security.acls: no-metadata, security.acls.default.egress.action: allow, security.acls.default.ingress.action: allow}}"
	fi
	cat >"$STATE/incus.yaml" <<-END
		storage_pools: [$new_pool]
		networks: [$new_bridge]
		profiles:
		- name: default
		  devices:
		    root: {type: disk, path: /, pool: $pool}
		    eth0: {type: nic, name: eth0, network: $bridge}
	END
	run incus admin init --preseed <"$STATE/incus.yaml"
	did "made ${made[*]:-the default profile}"
}

install_package() {
	STEP=containarium
	local version
	version=$(dpkg-query -W -f '${db:Status-Abbrev}${Version}' containarium 2>/dev/null | sed -n 's/^ii *//p') || true
	if [ -z "$PACKAGE" ]; then
		[ -n "$version" ] || die "PACKAGE says which package to install, a file or a URL, and PACKAGE_SHA256 what it is"
		kept "$version"
		return
	fi
	# One that was upgraded since is not taken back.
	if [ -n "$version" ] && grep -qxs "$PACKAGE_SHA256" "$STATE/installed"; then
		kept "$version"
		return
	fi
	local file=$STATE/containarium.deb
	case $PACKAGE in
	http://* | https://*) run curl -fsSL --retry 8 --retry-connrefused -o "$file" "$PACKAGE" ;;
	*) run cp "$PACKAGE" "$file" ;;
	esac
	# Fails closed: what is not the package that was meant is not installed.
	echo "$PACKAGE_SHA256  $file" | sha256sum --check --status || die "$PACKAGE has the SHA-256 $(sha256sum "$file" | cut -d' ' -f1), not $PACKAGE_SHA256: it was not installed"
	apt install --no-install-recommends "$file"
	rm -f "$file"
	echo "$PACKAGE_SHA256" >"$STATE/installed"
	did "installed $(dpkg-query -W -f '${Version}' containarium)"
}

init_host() {
	STEP=init
	local answers=() said made
	[ -z "$PRESEED" ] || answers=(--preseed "$PRESEED")
	said=$(containarium init --yes "${answers[@]}" 2>&1) || die "$said"
	# Its first list is made each time.
	made=$(grep '^made ' <<<"$said" | grep -vc '^made *first ls') || true
	if [ "$made" = 0 ]; then
		kept "all that init makes"
	else
		printf '%s\n' "$said" >>"$LOG"
		did "made $made files and settings, listed in $LOG"
	fi
	if [ ! -e /etc/containarium/config.toml ]; then
		echo "bootstrap: done, but for a certificate of another machine's CA:"
		sed '1,/^Next:/d' <<<"$said"
		exit
	fi
}

ask_daemon() {
	STEP=daemon
	local said
	said=$(containarium ls 2>&1) || die "$said"
	[ $CHANGED = 0 ] && said="nothing was changed" || said="$CHANGED steps changed something"
	echo "bootstrap: done, the daemon answers; $said"
}

trap ended EXIT
check_system
read_settings
install_incus
setup_incus
install_package
init_host
ask_daemon
