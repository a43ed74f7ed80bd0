# shellcheck shell=bash
# Part of incus.sh: project, pool, bridge and image. Each carries MARK, so that
# what was made here is known from Incus itself, and nothing else is removed.

MARK=user.containarium.site

site_is_up() {
	ours project && ours pool && ours network && incus image show "local:$ALIAS" --project "$NAME" >/dev/null 2>&1
}

exists() {
	case $1 in
	project) incus project show "local:$NAME" ;;
	pool) incus storage show "local:$NAME" ;;
	network) incus network show "local:$BRIDGE" --project default ;;
	esac >/dev/null 2>&1
}

ours() {
	local mark
	case $1 in
	project) mark=$(incus project get "local:$NAME" $MARK) ;;
	pool) mark=$(incus storage get "local:$NAME" $MARK) ;;
	network) mark=$(incus network get "local:$BRIDGE" $MARK --project default) ;;
	esac 2>/dev/null
	[ "${mark:-}" = "$NAME" ]
}

# missing reports whether an object is to be made, and refuses somebody else's.
missing() {
	if ours "$1"; then return 1; fi
	! exists "$1" || die "this machine's Incus has a $1 named $2 that was not made here: choose another $3"
}

make_site() {
	if missing network "$BRIDGE" BRIDGE; then make_network; fi
	if missing pool "$NAME" NAME; then make_pool; fi
	if missing project "$NAME" NAME; then
		incus project create "local:$NAME" -c $MARK="$NAME" -c features.images=true -c features.profiles=true \
			-c features.storage.volumes=true -c features.networks=false --description "Containarium, made by contrib/incus" >/dev/null
	fi
	local profile
	profile=$(incus profile show local:default --project "$NAME")
	grep -q '^  root:' <<<"$profile" || incus profile device add local:default root disk path=/ pool="$NAME" --project "$NAME" >/dev/null
	grep -q '^  eth0:' <<<"$profile" || incus profile device add local:default eth0 nic name=eth0 network="$BRIDGE" --project "$NAME" >/dev/null
	import_image
}

make_network() {
	# A bridge of a run that was cut off, which no Incus knows any more.
	if [ -e "/sys/class/net/$BRIDGE" ]; then
		grep -qxs "bridge $BRIDGE" "$SITE/made" || die "this machine has a network interface $BRIDGE that was not made here: choose another BRIDGE"
		remove_bridge
	fi
	note "bridge $BRIDGE"
	[ -n "$SUBNET" ] || SUBNET=$(free_subnet)
	incus network create "local:$BRIDGE" --project default --type bridge ipv4.address="$SUBNET" ipv4.nat=true ipv6.address=none $MARK="$NAME" >/dev/null
	say "made the bridge $BRIDGE, $SUBNET"
}

# free_subnet prints the first 10.77.N.1/24 that this machine has no way to.
free_subnet() {
	local n taken
	taken=$(
		ip -4 -o addr show
		ip -4 route show
	)
	for n in {0..255}; do
		if ! grep -q "10\.77\.$n\." <<<"$taken"; then
			echo "10.77.$n.1/24"
			return
		fi
	done
	die "no 10.77.N.0/24 is free on this machine: set SUBNET"
}

# remove_bridge removes what Incus made on the host for a bridge: the link, its
# dnsmasq, its firewall rules.
remove_bridge() {
	local chain
	pkill -9 -f "dnsmasq .*--interface=$BRIDGE " || true
	ip link delete "$BRIDGE" 2>/dev/null || true
	for chain in fwd pstrt in out; do
		nft flush chain inet incus "$chain.$BRIDGE" 2>/dev/null || true
		nft delete chain inet incus "$chain.$BRIDGE" 2>/dev/null || true
	done
}

make_pool() {
	if [ "$POOL" != dir ]; then
		if can_btrfs; then
			local size=$POOL_SIZE
			[ -n "$size" ] || size=$(pool_size)
			if incus storage create "local:$NAME" btrfs size="$size" $MARK="$NAME" >/dev/null 2>"$SITE/pool.log"; then
				say "made the pool $NAME: btrfs, a file of at most $size"
				return
			fi
			[ "$POOL" = auto ] || die "the btrfs pool could not be made: $(tail -n 1 "$SITE/pool.log")"
			say "btrfs can not be had here ($(tail -n 1 "$SITE/pool.log"))"
		elif [ "$POOL" = btrfs ]; then
			die "the pool can not be btrfs: mkfs.btrfs, the kernel's btrfs or loop devices are missing"
		fi
	fi
	incus storage create "local:$NAME" dir $MARK="$NAME" >/dev/null
	say "made the pool $NAME: dir, which can not hold containers to a disk size"
}

can_btrfs() { command -v mkfs.btrfs >/dev/null && modprobe_btrfs && [ -e /dev/loop-control ]; }

# pool_size prints 20GiB, or half of what the disk has free: the file is sparse,
# and must not be what fills the disk.
pool_size() {
	local free
	free=$(df --output=avail -B1G "$INCUS_DIR" | tail -n 1)
	echo "$((free / 2 < 20 ? free / 2 : 20))GiB"
}

import_image() {
	local address meta old new
	address=$(incus network get "local:$BRIDGE" ipv4.address --project default)
	meta=$(mktemp --suffix=.tar)
	image_metadata "$meta" "${address%/*}"
	new=$(cat "$meta" "$SQUASHFS" | sha256sum | cut -d' ' -f1)
	old=$(incus image alias list local: --project "$NAME" -f csv | awk -F, -v alias="$ALIAS" '$1 == alias { print $2 }')
	if [ -n "$old" ] && [[ $new != "$old"* ]]; then
		incus image delete "local:$ALIAS" --project "$NAME" >/dev/null
		old=
	fi
	if [ -z "$old" ]; then
		incus image import "$meta" "$SQUASHFS" local: --alias "$ALIAS" --project "$NAME" >/dev/null
		say "imported the image as $ALIAS"
	fi
	rm -f "$meta"
}

note() { grep -qxsF "$1" "$SITE/made" || echo "$1" >>"$SITE/made"; }

remove_site() {
	if [ ! -d "$SITE" ] && ! answers; then return; fi
	if answers; then
		if exists project && ours project; then
			incus project delete "local:$NAME" --force >/dev/null 2>&1 || empty_project
			incus project show "local:$NAME" >/dev/null 2>&1 && incus project delete "local:$NAME" >/dev/null
		fi
		if exists pool && ours pool; then incus storage delete "local:$NAME" >/dev/null; fi
		if exists network && ours network; then incus network delete "local:$BRIDGE" --project default >/dev/null; fi
	fi
	if [ "$PRIVATE" = 1 ]; then
		stop_private_incusd
		sweep_dead all
		rm -rf --one-file-system "$INCUS_DIR"
	fi
	if grep -qxs "bridge $BRIDGE" "$SITE/made" && [ -e "/sys/class/net/$BRIDGE" ]; then remove_bridge; fi
	rm -rf "$SITE"
}

# empty_project deletes one by one what "project delete --force" could not.
empty_project() {
	local instance fingerprint
	incus list local: --project "$NAME" -f csv -c n | while read -r instance; do
		incus delete "local:$instance" --force --project "$NAME" >/dev/null || true
	done
	incus image list local: --project "$NAME" -f csv -c F | while read -r fingerprint; do
		incus image delete "local:$fingerprint" --project "$NAME" >/dev/null || true
	done
}
