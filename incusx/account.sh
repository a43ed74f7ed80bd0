# Makes the account named by the first argument, or brings it up to date; the
# other arguments are its keys, one line of authorized_keys each. It may run any
# number of times, also at once. Exit 64: no sshd in the image, 65: no sudo, 66:
# not the command that is named on standard output.
set -eu
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
user=$1
shift
umask 077

command -v sshd >/dev/null || exit 64
command -v sudo >/dev/null || exit 65
for tool in useradd getent awk flock; do
	command -v "$tool" >/dev/null || { echo "$tool"; exit 66; }
done
# cloud-init's first boot makes host keys and accounts of its own; what is set up
# here comes after it.
if command -v cloud-init >/dev/null; then cloud-init status --wait >/dev/null 2>&1 || :; fi
# The lock is on what is there from the first moment to the last: while the guest
# boots, a file in /run is soon hidden under a new mount.
exec 9</etc
flock 9

if ! id "$user" >/dev/null 2>&1; then
	shell=/bin/bash
	[ -x "$shell" ] || shell=/bin/sh
	# "*" is no password and yet not locked: "!" would shut out keys under UsePAM no.
	useradd --create-home --user-group --shell "$shell" --password '*' "$user"
fi
sudoers=/etc/sudoers.d/90-containarium
printf '%s ALL=(ALL:ALL) NOPASSWD:ALL\n' "$user" >"$sudoers.new"
chmod 0440 "$sudoers.new"
mv -f "$sudoers.new" "$sudoers"

home=$(getent passwd "$user" | cut -d: -f6)
keys=$home/.ssh/authorized_keys
mkdir -p "$home/.ssh"
# useradd takes a home that is there as it is, and one that was cut off leaves
# none. sshd ignores the keys in a home that is another's.
chown "$user:" "$home" "$home/.ssh"
touch "$keys"
{
	# What others wrote stays; only the part between the marks is ours. awk ends
	# the last line where somebody left it open; sed would not.
	awk '/^# BEGIN containarium$/ { ours = 1 } !ours; /^# END containarium$/ { ours = 0 }' "$keys"
	echo '# BEGIN containarium'
	[ $# -eq 0 ] || printf '%s\n' "$@"
	echo '# END containarium'
} >"$keys.new"
chown "$user:" "$keys.new"
chmod 0700 "$home/.ssh"
chmod 0600 "$keys.new"
mv -f "$keys.new" "$keys"

if command -v dockerd >/dev/null; then echo docker; fi
