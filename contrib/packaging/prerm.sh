#!/bin/sh
# Before a removal (dpkg: "remove", rpm: 0), not before an upgrade: the daemon
# runs until its successor is there.
set -e

case $1 in
remove | 0) ;;
*) exit 0 ;;
esac

if [ -d /run/systemd/system ]; then
	systemctl stop containarium-renew.timer containarium-renew.service containarium.service
fi
if command -v systemctl >/dev/null; then
	systemctl --quiet disable containarium-renew.timer containarium.service
fi
