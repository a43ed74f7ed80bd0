# shellcheck shell=bash
# Part of incus.sh: the daemon, the machine's own or a private one.

answers() { [ -S "$SOCKET" ] && timeout 20 incus query local:/1.0 2>/dev/null | grep '"auth": *"trusted"' >/dev/null; }

find_incusd() {
	local file
	for file in /usr/libexec/incus/incusd /usr/lib/incus/incusd /opt/incus/bin/incusd /usr/sbin/incusd /usr/bin/incusd; do
		if [ -x "$file" ]; then
			echo "$file"
			return
		fi
	done
}

modprobe_btrfs() { grep -qw btrfs /proc/filesystems || modprobe -q btrfs 2>/dev/null; }

# start_incusd starts Incus, through systemd where that is init and it is the
# machine's own; and says so in the record, for the last "down" to stop it.
start_incusd() {
	raise_limits
	if [ "$PRIVATE" = 1 ]; then
		run_lxcfs
		sweep_dead no
		run_incusd
		return
	fi
	echo started >"$HOST/incusd"
	run_lxcfs
	if [ -d /run/systemd/system ]; then
		systemctl start incus.socket incus.service || die "systemd could not start incus.service: journalctl -u incus"
		"$(find_incusd)" waitready --timeout=120 || die "incusd did not get ready within 120 s: journalctl -u incus"
		answers || die "incusd runs, and does not answer on $SOCKET"
		return
	fi
	run_incusd
}

# raise_limits: all unprivileged containers share one user of the kernel's, and
# each systemd in one takes several inotify instances of the 128 there are.
raise_limits() {
	local key value now
	for pair in fs.inotify.max_user_instances=1024 fs.inotify.max_user_watches=1048576 kernel.keys.maxkeys=2000 kernel.keys.maxbytes=2000000; do
		key=${pair%=*} value=${pair#*=}
		now=$(sysctl -n "$key" 2>/dev/null) || continue
		[ "$now" -lt "$value" ] || continue
		grep -qs "^$key=" "$HOST/sysctl" || echo "$key=$now" >>"$HOST/sysctl"
		sysctl -qw "$key=$value" || true
	done
}

# run_lxcfs shows containers their own memory and load, where it can run.
run_lxcfs() {
	if [ -d /run/systemd/system ]; then
		systemctl start lxcfs.service 2>/dev/null || true
		return
	fi
	command -v lxcfs >/dev/null && [ -c /dev/fuse ] || return 0
	# A mount whose process is gone answers nothing.
	if mountpoint -q /var/lib/lxcfs || ! stat /var/lib/lxcfs >/dev/null 2>&1; then
		ls /var/lib/lxcfs/proc >/dev/null 2>&1 && return 0
		umount -l /var/lib/lxcfs 2>/dev/null || true
	fi
	mkdir -p /var/lib/lxcfs
	setsid lxcfs /var/lib/lxcfs </dev/null >"$HOST/lxcfs.log" 2>&1 9>&- &
	echo $! >"$HOST/lxcfs.pid"
}

# run_incusd starts incusd in a session of its own and waits until it answers.
run_incusd() {
	local incusd log=/var/log/incus/incusd.log record=$HOST
	incusd=$(find_incusd)
	[ -n "$incusd" ] || die "there is no incusd on this machine"
	[ "$PRIVATE" = 0 ] || log=$INCUS_DIR/incusd.log record=$SITE
	mkdir -p "$INCUS_DIR" "$(dirname "$log")"
	chmod 0711 "$INCUS_DIR"
	# Left by one that was killed; with it there, ours would take it for alive.
	rm -f "$SOCKET"
	(
		ulimit -n "$(ulimit -Hn)"
		umask 022
		group=()
		getent group incus-admin >/dev/null && group=(--group incus-admin)
		exec setsid "$incusd" "${group[@]}" --logfile "$log" </dev/null >"$log.out" 2>&1 9>&-
	) &
	local pid=$!
	echo "$pid" >"$record/incusd.pid"
	# It waits on the daemon's own word, and gives up early where the daemon ended.
	local tries
	for ((tries = 0; tries < 24; tries++)); do
		if "$incusd" waitready --timeout=5 2>/dev/null && answers; then return; fi
		kill -0 "$pid" 2>/dev/null || break
	done
	tail -n 10 "$log" "$log.out" >&2 2>/dev/null || true
	die "incusd did not get ready: $log"
}

# incusd_pids prints the daemons that serve INCUS_DIR; not their helpers and the
# containers' monitors, which have the same name and are to live on.
incusd_pids() {
	local pid env
	for pid in $(pgrep -f '^[^ ]*/incusd --' || true); do
		env=$(tr '\0' '\n' 2>/dev/null <"/proc/$pid/environ" | sed -n 's/^INCUS_DIR=//p') || continue
		[ "${env:-/var/lib/incus}" != "$INCUS_DIR" ] || echo "$pid"
	done
}

# end stops processes: it asks, and after 30 s it does not ask any more.
end() {
	local pid
	for pid; do kill "$pid" 2>/dev/null || true; done
	await_end "$@"
}

await_end() {
	local pid tries
	for pid; do
		for ((tries = 0; tries < 300; tries++)); do
			alive "$pid" || break
			sleep 0.1
		done
		! alive "$pid" || kill -9 "$pid" 2>/dev/null || true
	done
}

# alive: a process that only waits to be collected is not.
alive() { [ -e "/proc/$1" ] && ! grep -q '^State:[[:space:]]*Z' "/proc/$1/status" 2>/dev/null; }

stop_private_incusd() {
	# shellcheck disable=SC2046 # numbers
	end $(incusd_pids)
	rm -f "$SOCKET"
}

kill_private_incusd() {
	local pids
	pids=$(incusd_pids)
	# shellcheck disable=SC2086 # numbers
	kill -9 $pids
	# shellcheck disable=SC2086 # numbers
	await_end $pids
	rm -f "$SOCKET"
}

# stop_host_incusd stops what start_incusd started, unless somebody uses it by now.
stop_host_incusd() {
	INCUS_DIR=/var/lib/incus SOCKET=/var/lib/incus/unix.socket PRIVATE=0
	if [ -e "$HOST/incusd" ]; then
		if answers && in_use; then
			say "this machine's Incus is in use by others now: it and its packages stay"
			: >"$HOST/packages"
		elif [ -d /run/systemd/system ]; then
			systemctl stop incus.service incus.socket 2>/dev/null || true
		else
			# shellcheck disable=SC2046 # numbers
			end $(incusd_pids)
			unmount_under /var/lib/incus
			rm -f "$SOCKET"
		fi
	fi
	if [ -s "$HOST/lxcfs.pid" ] && [ "$(cat "/proc/$(cat "$HOST/lxcfs.pid")/comm" 2>/dev/null)" = lxcfs ] && ! answers; then
		end "$(cat "$HOST/lxcfs.pid")"
		umount -l /var/lib/lxcfs 2>/dev/null || true
	fi
	if [ -s "$HOST/sysctl" ]; then sysctl -qp "$HOST/sysctl" || true; fi
}

# in_use reports whether Incus holds anything that no site of ours made.
in_use() {
	[ -n "$(incus list local: --all-projects -f csv -c n)" ] ||
		[ "$(incus project list local: -f csv | grep -c .)" -gt 1 ] ||
		[ -n "$(incus storage list local: -f csv)" ] ||
		[ -n "$(incus image list local: --project default -f csv)" ]
}

unmount_under() {
	awk -v dir="$1/" 'index($2 "/", dir) == 1 { print $2 }' /proc/self/mounts | sort -ru | while read -r mount; do
		umount -l "$mount" 2>/dev/null || true
	done
}

# sweep_dead ends what a private incusd left that no longer answers: the daemon,
# if it hangs, and dnsmasq; given "all", the containers' processes and the mounts
# as well. What runs in containers survives a daemon that was killed.
sweep_dead() {
	local disk pids
	# shellcheck disable=SC2046 # numbers
	end $(incusd_pids)
	pkill -9 -f "dnsmasq .*$INCUS_DIR/networks/" || true
	[ "$1" = all ] || return 0
	# A container's processes are known by their control group, its monitor too.
	mapfile -t pids < <(grep -lsE "/lxc\.(payload|monitor)\.${NAME}_" /proc/[0-9]*/cgroup | cut -d/ -f3)
	kill -9 "${pids[@]}" 2>/dev/null || true
	end "${pids[@]}"
	unmount_under "$INCUS_DIR"
	for disk in "$INCUS_DIR"/disks/*.img; do
		[ -e "$disk" ] || continue
		losetup -j "$disk" | cut -d: -f1 | xargs -r -n1 losetup -d 2>/dev/null || true
	done
	find /sys/fs/cgroup -depth -type d -path "*/lxc.*.${NAME}_*" -exec rmdir {} + 2>/dev/null || true
}
