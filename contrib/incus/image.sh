# shellcheck shell=bash
# Part of incus.sh: a small Debian 12 with systemd, sshd and sudo, packed once
# and kept in the cache.

# udev: without it networkd leaves eth0 pending for ever, for Incus gives the
# guest a writable /sys.
IMAGE_PACKAGES=systemd,systemd-sysv,dbus,udev,openssh-server,sudo,iproute2,bash-completion,less,procps,ca-certificates,curl,nano,rsync

# pack_image sets SQUASHFS to the packed image, and makes it where the cache has
# none that this script, these settings and this mirror would make.
pack_image() {
	local mirror=${MIRROR:-$(debian_mirror)} key
	key=$({
		declare -f build_root
		echo "$IMAGE_PACKAGES $EXTRA $mirror $(uname -m)"
	} | sha256sum | cut -c1-12)
	SQUASHFS=$CACHE/debian-12-$key.squashfs
	[ ! -s "$SQUASHFS" ] || return 0
	local start=$SECONDS need=(mmdebstrap squashfs-tools ca-certificates)
	grep -qs '^ID=debian' /etc/os-release || need+=(debian-archive-keyring)
	install_packages "${need[@]}"
	say "building the image from ${mirror:-the archive of Debian} (about a minute)"
	mkdir -p "$CACHE"
	sweep_builds
	local work
	work=$(mktemp -d "$CACHE/build.XXXXXX")
	# A folder that only root enters would keep apt's own user out of the new root.
	chmod 0755 "$work"
	build_root "$work/root" "$mirror" >"$work/log" 2>&1 || {
		tail -n 15 "$work/log" >&2
		die "the image could not be built"
	}
	mksquashfs "$work/root" "$work/image.squashfs" -comp zstd -Xcompression-level 5 -noappend -no-progress -quiet >>"$work/log" 2>&1 ||
		die "the image could not be packed: $(tail -n 1 "$work/log")"
	mv "$work/image.squashfs" "$SQUASHFS"
	rm -rf "$work"
	grep -qxsF "$SQUASHFS" "$HOST/cache" || echo "$SQUASHFS" >>"$HOST/cache"
	say "image packed after $((SECONDS - start)) s: $(du -m "$SQUASHFS" | cut -f1) MB, $SQUASHFS"
}

# sweep_builds removes what a build that was cut off left.
sweep_builds() {
	local dir
	for dir in "$CACHE"/build.*; do
		[ -d "$dir" ] || continue
		unmount_under "$dir"
		rm -rf --one-file-system "$dir"
	done
}

# debian_mirror prints the mirror of Debian 12 that apt uses here; nothing on
# another system, where mmdebstrap knows one.
debian_mirror() {
	if grep -qs '^ID=debian' /etc/os-release; then
		local uri
		uri=$(apt_mirror bookworm)
		[ -n "$uri" ] || uri=$(apt_mirror "$(sed -n 's/^VERSION_CODENAME=//p' /etc/os-release)")
		cut -d' ' -f1 <<<"$uri" | sed 's,/*$,,'
	fi
}

# build_root makes the image's root, given where and from which mirror.
build_root() {
	local root=$1 mirror=$2 sources=()
	if [ -n "$mirror" ]; then
		sources=("deb $mirror bookworm main" "deb $mirror bookworm-updates main")
		# The security archive is a sibling on most mirrors, and missing on some.
		if [ -n "$(apt_mirror bookworm-security)" ]; then
			sources+=("deb $(apt_mirror bookworm-security | cut -d' ' -f1) bookworm-security main")
		fi
	fi
	set -x
	mmdebstrap --variant=minbase --include="$IMAGE_PACKAGES${EXTRA:+,$EXTRA}" --components=main \
		--aptopt='Acquire::Languages "none"' --aptopt='APT::Install-Recommends "false"' --dpkgopt=force-unsafe-io \
		--dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
		--dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-include=/usr/share/doc/*/copyright' \
		bookworm "$root" "${sources[@]}" || return
	set +x
	# Each container makes its own of these at its first boot; hostname, hosts and
	# resolv.conf are written by Incus from the templates of image_metadata.
	rm -f "$root"/etc/ssh/ssh_host_* "$root"/var/lib/dbus/machine-id "$root/etc/hostname" "$root/etc/resolv.conf"
	: >"$root/etc/machine-id"
	rm -rf "$root"/var/cache/apt/*.bin "$root"/var/lib/apt/lists/* "$root"/var/log/*.log "$root"/var/log/apt
	echo 'LANG=C.UTF-8' >"$root/etc/default/locale"
	cat >"$root/etc/systemd/network/10-eth0.network" <<-END
		[Match]
		Name=eth0
		[Network]
		DHCP=ipv4
		LinkLocalAddressing=no
		IPv6AcceptRA=no
		[DHCPv4]
		ClientIdentifier=mac
	END
	cat >"$root/etc/systemd/system/ssh-hostkey.service" <<-END
		[Unit]
		Description=Make the SSH host key at the first boot
		ConditionPathExists=!/etc/ssh/ssh_host_ed25519_key
		Before=ssh.service
		[Service]
		Type=oneshot
		ExecStart=/usr/bin/ssh-keygen -q -t ed25519 -N "" -f /etc/ssh/ssh_host_ed25519_key
		[Install]
		WantedBy=multi-user.target
	END
	cat >"$root/etc/ssh/sshd_config.d/10-containarium.conf" <<-END
		HostKey /etc/ssh/ssh_host_ed25519_key
		PasswordAuthentication no
		KbdInteractiveAuthentication no
		PermitRootLogin no
		UseDNS no
	END
	local wants=$root/etc/systemd/system/multi-user.target.wants unit
	mkdir -p "$wants"
	ln -sf /lib/systemd/system/systemd-networkd.service "$wants/"
	ln -sf /etc/systemd/system/ssh-hostkey.service "$wants/"
	for unit in systemd-networkd-wait-online.service apt-daily.timer apt-daily-upgrade.timer fstrim.timer e2scrub_all.timer getty@.service; do
		ln -sf /dev/null "$root/etc/systemd/system/$unit"
	done
}

# image_metadata packs the image's other half into a file, given its name. It is
# the site's own: the name server is the bridge.
image_metadata() {
	local work
	work=$(mktemp -d)
	mkdir "$work/templates"
	cat >"$work/metadata.yaml" <<-END
		architecture: $(uname -m)
		creation_date: $(stat -c %Y "$SQUASHFS")
		properties: {os: Debian, release: bookworm, description: Containarium Debian 12 with sshd}
		templates:
		  /etc/hostname: {when: [create, copy], template: hostname.tpl}
		  /etc/hosts: {when: [create, copy], template: hosts.tpl}
		  /etc/resolv.conf: {when: [create, copy], template: resolv.tpl}
	END
	echo '{{ container.name }}' >"$work/templates/hostname.tpl"
	printf '127.0.0.1 localhost\n127.0.1.1 {{ container.name }}\n::1 localhost\n' >"$work/templates/hosts.tpl"
	echo "nameserver $2" >"$work/templates/resolv.tpl"
	tar --sort=name --owner=0 --group=0 --mtime=@0 -C "$work" -cf "$1" metadata.yaml templates
	rm -rf "$work"
}
