#!/bin/sh
# After a removal (dpkg: "remove", rpm: 0), and when an administrator has dpkg
# purge what is left of the package.
set -e

case $1 in
remove | 0) if [ -d /run/systemd/system ]; then systemctl daemon-reload; fi ;;
purge)
	# What "containarium init" writes, by name: what somebody else put there stays.
	rm -rf /etc/containarium/config.toml /etc/containarium/policy.toml /etc/containarium/tls /etc/containarium/init.json
	rm -rf /var/log/containarium
	# Without its keys no certificate of the fleet can be renewed or revoked.
	if [ -e /etc/containarium/pki ]; then
		echo "containarium: the CA's keys are kept, /etc/containarium/pki: remove them yourself once no server trusts them"
	fi
	rmdir --ignore-fail-on-non-empty /etc/containarium 2>/dev/null || true
	# It stays while there are accounts in it: their users go on to their containers.
	groupdel containarium 2>/dev/null || true
	;;
esac
