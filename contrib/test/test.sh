#!/usr/bin/env bash
# Runs all tests that this machine can run, and names at the end what it could
# not, with the command that would. Called by "make test". With ALL=1 anything
# that was not run is a failure.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
export NAME=containarium-test
incus=contrib/incus/incus.sh
missed=()
missing() { missed+=("$1: $2"); }

race=(-race)
if ! command -v "$(go env CC)" >/dev/null; then
	race=()
	missing "the race detector: it needs a C compiler" "apt-get install gcc && make test"
fi

# The conformance suite runs on the simulator always, and on a real Incus where
# one answers: in a project of its own, made for it where it is not there.
made=0
status=3
if [ "$(uname -s)" != Linux ]; then
	missing "the conformance suite on a real Incus: it needs Linux" "sudo make test"
elif [ "$(id -u)" != 0 ]; then
	missing "the conformance suite on a real Incus: it needs root" "sudo env PATH=\"\$PATH\" make test"
else
	$incus status && status=0 || status=$?
	if [ $status = 1 ]; then
		made=1
		trap 'KEEP_HOST=1 $incus down' EXIT
		$incus up
		status=0
	elif [ $status = 3 ]; then
		missing "the conformance suite on a real Incus: none answers here" "NAME=$NAME $incus up && make test && NAME=$NAME $incus down"
	fi
fi
if [ $status = 0 ]; then
	eval "$($incus env)"
	export CONTAINARIUM_TEST_INCUS=$INCUS_SOCKET CONTAINARIUM_TEST_PROJECT=$INCUS_PROJECT \
		CONTAINARIUM_TEST_PROFILE=$INCUS_PROFILE CONTAINARIUM_TEST_IMAGE=$INCUS_IMAGE
	echo "the conformance suite runs on the simulator and on the Incus of $INCUS_SOCKET"
fi
case " ${GOALS:-} " in
*" e2e "*) ;;
*) missing "the end-to-end tests, real containers, SSH and failures, as root on Linux" "make e2e" ;;
esac

rc=0
skipped=$(mktemp)
go test -json "${race[@]}" -count=1 -timeout 45m ./... | go run ./contrib/test/report "$skipped" || rc=$?
while IFS= read -r line; do
	missed+=("$line")
done <"$skipped"
rm -f "$skipped"
if [ $made = 1 ]; then
	KEEP_HOST=1 $incus down
	trap - EXIT
fi
if [ ${#missed[@]} -gt 0 ]; then
	printf '\nNOT RUN on this machine, and how to run it:\n'
	printf '  %s\n' "${missed[@]}"
	if [ "${ALL:-0}" = 1 ]; then
		echo "FAIL: ALL=1, and not all was run"
		rc=1
	fi
fi
exit $rc
