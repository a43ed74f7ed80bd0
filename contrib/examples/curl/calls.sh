#!/usr/bin/env bash
# The API with curl: who am I, what is there, and the life of one container, watched.
# The daemon needs its HTTP port ([http] address in its configuration).
#
#   export CERT=tls.crt KEY=tls.key CA=ca.crt
#   contrib/examples/curl/calls.sh https://jump-1.example.org:8443 alice ~/.ssh/alice.pub
#
# It makes a container for that user and removes it again; for one who has a
# container already it stops at the create. Needs curl and jq. Of a call that fails it
# prints what the daemon says, and exits with curl's 22.
# shellcheck disable=SC2016 # what looks like the shell's variables is jq's
set -euo pipefail
if [ $# != 3 ]; then
	echo "usage: calls.sh https://HOST:PORT USER PUBLIC-KEY-FILE" >&2
	exit 2
fi
: "${CERT:?names the file of the client certificate}" "${KEY:?names the file of its key}" "${CA:?names the file of the CA}"
server=${1%/} user=$2
key=$(<"$3")

# get and the others print the answer; one that fails goes to standard error.
ask() { # METHOD PATH [BODY]
	local answer
	answer=$(curl --silent --show-error --fail-with-body --cert "$CERT" --key "$KEY" --cacert "$CA" --request "$1" \
		${3+--header "Content-Type: application/json" --data "$3"} "$server$2") || {
		local rc=$?
		jq -r '.message // empty' <<<"$answer" >&2
		return $rc
	}
	printf '%s\n' "$answer"
}
# A body of the two arguments: quoting is jq's.
body() { jq -cn --arg user "$user" --arg key "$key" "$1"; }

ask GET /v1/whoami | jq -r '"I am \(.commonName), \(.role)"'
ask GET /v1/containers | jq -r '"there are \(.containers | length) containers"'

# One line for each stage, as it begins; the last carries the result, or an error.
ask POST /v1/containers:stream "$(body '{username: $user, sshKeys: [$key], resources: {memory: "1GiB"}, labels: {example: "curl"}}')" |
	jq -r 'if .error then error(.error.message) else .result end |
		if .result then "created \(.result.container.username) at \(.result.container.network.ipAddress)" else "\(.percent)% \(.stage)" end'
ask GET '/v1/containers?states=CONTAINER_STATE_RUNNING&labels%5Bexample%5D=curl' | jq -r '.containers[] | "\(.username) \(.state) \(.resources.memory)"'
ask POST "/v1/containers/$user:stop" '{"force": true}' | jq -r '.container | "\(.username) \(.state)"'
ask DELETE "/v1/containers/$user" >/dev/null
echo "deleted $user"
