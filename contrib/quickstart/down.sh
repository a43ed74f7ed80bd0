# shellcheck shell=bash
# Part of quickstart.sh: the way back.

# our_accounts prints the jump accounts of our group: by group and mark, as the
# daemon knows them.
our_accounts() {
	local gid
	gid=$(getent group "$GROUP" | cut -d: -f3) || return 0
	[ -z "$gid" ] || getent passwd | awk -F: -v gid="$gid" '$4 == gid && $5 == "containarium jump account" { print $1 }'
}

down() {
	MODE=$(cat "$DIR/mode" 2>/dev/null || true)
	# Whoever removed .quickstart/ by hand has left the rest.
	if [ ! -d "$DIR" ] && { getent group "$GROUP" || $INCUS status; } >/dev/null 2>&1; then MODE=incus; fi
	if [ ! -d "$DIR" ] && [ -z "$MODE" ]; then
		say "quickstart has made nothing here: nothing to remove"
		return
	fi
	if [ "$MODE" = incus ] && [ "$(id -u)" != 0 ]; then die "root made it, and root removes it: sudo make quickstart-down"; fi
	say "Stopping the daemon"
	stop daemon .quickstart/daemon.toml
	if [ -s "$DIR/simulator.socket" ]; then
		stop simulator incus.socket
		case $(cat "$DIR/simulator.socket") in "$DIR"/*) ;; *) rm -rf "$(dirname "$(cat "$DIR/simulator.socket")")" ;; esac
	fi
	stop sshd .quickstart/sshd/sshd_config
	if [ "$MODE" = incus ]; then
		say "Removing the jump accounts and their group"
		remove_accounts
		say "Removing the containers with their project, pool, bridge and image, and what was installed"
		$INCUS down
	fi
	rm -rf "$DIR"
	say "All that quickstart made is gone"
}

remove_accounts() {
	local name home
	for name in $(our_accounts); do
		home=$(getent passwd "$name" | cut -d: -f6)
		pkill -KILL -u "$name" || true
		userdel "$name"
		# The daemon makes it root's, so that nobody puts anything into it.
		if [ "$(stat -c %u "$home" 2>/dev/null)" = 0 ]; then rm -rf --one-file-system "$home"; fi
		echo "$name"
	done
	if getent group "$GROUP" >/dev/null; then groupdel "$GROUP"; fi
}
