#!/usr/bin/env bash
# Stops every running container that has a label, on the servers that the command
# line knows; for example at night, from cron:
#
#   containarium set alice --label nightly=off
#   contrib/examples/shell/stop-labelled.sh nightly=off          the default server
#   contrib/examples/shell/stop-labelled.sh nightly=off --all    every server
#   contrib/examples/shell/stop-labelled.sh nightly=off --server eu,jump-7
#
# Prints a line for each container that it stopped: USER, or SERVER:USER where
# several servers are asked. Needs jq.
# It exits as containarium does: 0 all fine, 1 failed, 2 wrong usage, 3 some
# servers or containers failed and the others were stopped, 4 denied.
set -euo pipefail
if [ $# = 0 ]; then
	echo "usage: stop-labelled.sh KEY=VALUE [OPTIONS OF CONTAINARIUM]" >&2
	exit 2
fi
label=$1
shift

# 3 is not the end of it: the servers that answered are in the document.
rc=0
found=$(containarium ls --state running --label "$label" -o json "$@") || rc=$?
[ $rc = 0 ] || [ $rc = 3 ] || exit $rc

# Of several servers each has an entry, with an answer or an error; one server
# answers for itself.
mapfile -t places < <(jq -r '
	if has("servers") then .servers[] | select(.answer) | .server as $s | .answer.containers[] | "\($s):\(.username)"
	else .containers[].username end' <<<"$found")

for place in "${places[@]}"; do
	one=0
	containarium stop "$place" --timeout 2m "$@" >/dev/null || one=$?
	case $one in
	0) echo "$place" ;;
	130) exit 130 ;;
	*) rc=3 ;;
	esac
done
exit $rc
