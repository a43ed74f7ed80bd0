#!/bin/sh
# After an install or an upgrade: dpkg says "configure" and which version was
# configured before, rpm how many versions there are now. Enables and starts
# nothing: most machines with this package are not jump servers, and "containarium
# init" makes one of a host.
set -e

case $1 in
configure) before=$2 ;;
1) before= ;;
[2-9]) before=$1 ;;
*) exit 0 ;; # dpkg takes something back that failed, and nothing of ours was changed
esac

if command -v systemd-sysusers >/dev/null; then systemd-sysusers containarium.conf; fi
if command -v systemd-tmpfiles >/dev/null; then systemd-tmpfiles --create containarium.conf; fi

if [ -d /run/systemd/system ]; then
	systemctl daemon-reload
	if [ -n "$before" ]; then
		# Only what runs; containers are Incus's, and go on. A daemon that does not come
		# up again fails in systemd's eyes, not in dpkg's.
		systemctl try-restart containarium.service containarium-renew.timer || true
	fi
fi

if [ -z "$before" ]; then
	echo "containarium: to make this host a jump server: containarium init"
fi
