#!/usr/bin/env bash
# Runs the end-to-end tests, or with "bench" the measurement of create, on an
# Incus of their own. Called by "make e2e" and "make bench-incus". What it makes
# on this machine it removes again; what it finds of a run that was cut off, too.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
if [ "$(uname -s)" != Linux ] || [ "$(id -u)" != 0 ]; then
	echo "e2e: real containers and accounts need root on Linux: as root, make e2e" >&2
	exit 1
fi
unset NAME INCUS_DIR BRIDGE SUBNET ALIAS
# The tests take their site down and up; what was installed for it goes at the end.
trap 'NAME=containarium-e2e contrib/incus/incus.sh down >/dev/null' EXIT
contrib/incus/incus.sh packages openssh-server openssh-client rsync curl
race=()
! command -v "$(go env CC)" >/dev/null || race=(-race)
args=(-tags e2e "${race[@]}" -count=1 -timeout 40m)
case ${1:-} in
bench) KEEP_HOST=1 go test "${args[@]}" -run '^$' -bench . -benchtime 1x ./contrib/e2e ;;
"") KEEP_HOST=1 go test "${args[@]}" -v ./contrib/e2e ;;
*)
	echo "usage: e2e.sh [bench]" >&2
	exit 2
	;;
esac
