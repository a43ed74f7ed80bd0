# shellcheck shell=bash
# Part of incus.sh: packages, and the record of those that were not there before.

have_packages() {
	local package
	for package; do
		[ "$(dpkg-query -W -f '${db:Status-Abbrev}' "$package" 2>/dev/null)" = "ii " ] || return 1
	done
}

installed_packages() { dpkg-query -W -f '${db:Status-Abbrev} ${Package}\n' | sed -n 's/^i[a-zA-Z] *//p' | sort -u; }

# note_new_packages adds to the record what is installed now and was not before
# the install that "before" belongs to, also where that install was cut off.
note_new_packages() {
	[ -s "$HOST/before" ] || return 0
	installed_packages | comm -13 "$HOST/before" - >>"$HOST/packages"
	rm -f "$HOST/before"
}

# install_packages installs what is missing, and starts none of the services
# that come with it: whoever wants one starts it.
install_packages() {
	have_packages "$@" && return
	command -v apt-get >/dev/null || die "this system has no apt-get; install $* and run this again" 3
	note_new_packages
	installed_packages >"$HOST/before"
	local policy=/usr/sbin/policy-rc.d mine=0 log=$HOST/apt.log rc=0
	grep -qs containarium "$policy" && rm -f "$policy"
	if [ ! -e "$policy" ]; then
		mine=1
		printf '#!/bin/sh\n# containarium: only while packages are installed\nexit 101\n' >"$policy"
		chmod +x "$policy"
	fi
	say "installing $*"
	if ! apt-get -s install --no-install-recommends "$@" >/dev/null 2>&1; then
		apt-get -q -o DPkg::Lock::Timeout=300 update >"$log" 2>&1 || true
	fi
	apt-get -qy -o DPkg::Lock::Timeout=300 -o Dpkg::Options::=--force-confold install --no-install-recommends "$@" >>"$log" 2>&1 </dev/null || rc=$?
	[ $mine = 0 ] || rm -f "$policy"
	note_new_packages
	if [ $rc != 0 ]; then
		tail -n 15 "$log" >&2
		die "apt-get could not install $*; the whole of what it said is in $log"
	fi
	# Not at the next boot either: an sshd that nobody asked for is an open door.
	if [ -d /run/systemd/system ] && grep -qx openssh-server "$HOST/packages" 2>/dev/null; then
		systemctl -q disable --now ssh.service ssh.socket 2>/dev/null || true
	fi
}

# incus_packages installs Incus: its daemon for containers, and what that leaves
# to recommendations or to chance.
incus_packages() {
	local base=incus-base extra=(dnsmasq-base nftables squashfs-tools xz-utils attr uidmap iproute2 procps)
	if [ "$POOL" != dir ] && modprobe_btrfs; then extra+=(btrfs-progs); fi
	if [ -n "$(find_incusd)" ] && command -v incus >/dev/null; then
		# Installed, whoever did it: only what it leaves to recommendations.
		command -v apt-get >/dev/null && install_packages "${extra[@]}"
		return
	fi
	command -v apt-get >/dev/null || die "no Incus answers on $SOCKET, and this system has no apt-get to install one" 3
	if ! candidate incus-base; then
		apt-get -q -o DPkg::Lock::Timeout=300 update >"$HOST/apt.log" 2>&1 || true
		candidate incus-base || add_backports
		candidate incus-base || base=incus
	fi
	install_packages "$base" incus-client "${extra[@]}"
	# Unprivileged containers need ids to map to; some versions leave it undone.
	local file
	for file in /etc/subuid /etc/subgid; do
		grep -qs '^root:' "$file" || echo root:1000000:1000000000 >>"$file"
	done
}

# Here as everywhere no "grep -q" reads from a pipe: it ends early, and then what
# writes into the pipe ends in failure.
candidate() { apt-cache policy "$1" 2>/dev/null | grep '^  Candidate: [0-9]' >/dev/null; }

# apt_mirror prints the archive from which this machine gets a release, and the
# key it is signed with where the sources name one: "URI KEY".
apt_mirror() {
	# shellcheck disable=SC2016 # apt expands them
	apt-get indextargets --format '$(REPO_URI) $(RELEASE) $(SIGNED_BY)' 'Created-By: Packages' 2>/dev/null |
		awk -v release="$1" '$2 == release && !found++ { print $1, ($3 ~ /^\// ? $3 : "") }'
}

# add_backports tells apt of Debian 12's backports, where Incus is, on the mirror
# that this machine uses already.
add_backports() {
	local release uri key
	grep -qs '^ID=debian' /etc/os-release || return 0
	release=$(sed -n 's/^VERSION_CODENAME=//p' /etc/os-release)
	read -r uri key <<<"$(apt_mirror "$release")"
	[ -n "$uri" ] || die "apt on this machine knows no archive of $release: check its sources"
	local list=/etc/apt/sources.list.d/containarium-backports.list
	echo "$list" >"$HOST/sources"
	echo "deb ${key:+[signed-by=$key] }$uri $release-backports main" >"$list"
	say "added $release-backports to apt's sources, in $list"
	apt-get -q -o DPkg::Lock::Timeout=300 update >"$HOST/apt.log" 2>&1 || {
		tail -n 5 "$HOST/apt.log" >&2
		die "apt could not read $release-backports"
	}
}

# remove_packages removes the packages that were installed here, unless one that
# came later needs them; dpkg knows.
remove_packages() {
	note_new_packages
	if [ -s "$HOST/packages" ]; then
		local fresh=0 package
		grep -qxE 'incus(-base)?' "$HOST/packages" && fresh=1
		mapfile -t packages < <(sort -u "$HOST/packages")
		say "removing the ${#packages[@]} packages that were installed for it"
		dpkg --purge --abort-after=9999 "${packages[@]}" >"$STATE.log" 2>&1 || true
		for package in "${packages[@]}"; do
			! have_packages "$package" || say "$package stays: something else needs it now"
		done
		# What purging leaves, and what was not there before Incus was.
		if [ $fresh = 1 ] && ! have_packages incus-base && ! have_packages incus; then
			rm -rf /var/lib/incus /var/log/incus /var/cache/incus /run/incus
		fi
	fi
	if [ -s "$HOST/sources" ]; then
		rm -f "$(cat "$HOST/sources")"
		apt-get -q update >>"$STATE.log" 2>&1 || true
	fi
	rm -f "$STATE.log"
	if [ -s "$HOST/cache" ]; then
		xargs -r rm -f <"$HOST/cache"
		rmdir "$CACHE" 2>/dev/null || true
	fi
}
