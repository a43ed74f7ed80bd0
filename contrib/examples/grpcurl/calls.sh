#!/usr/bin/env bash
# The API with grpcurl: who am I, what is there, and the life of one container.
#
#   go install github.com/fullstorydev/grpcurl/cmd/grpcurl@latest
#   export CERT=tls.crt KEY=tls.key CA=ca.crt
#   contrib/examples/grpcurl/calls.sh jump-1.example.org:50051 alice ~/.ssh/alice.pub
#
# It makes a container for that user and removes it again; for one who has a
# container already it stops at the create. Needs jq. GRPCURL names another
# grpcurl. Of a call that fails grpcurl exits with 64 and the gRPC code: 71 is
# PermissionDenied, 78 Unavailable. Output is one line for each call.
# shellcheck disable=SC2016 # what looks like the shell's variables is jq's
set -euo pipefail
if [ $# != 3 ]; then
	echo "usage: calls.sh HOST:PORT USER PUBLIC-KEY-FILE" >&2
	exit 2
fi
: "${CERT:?names the file of the client certificate}" "${KEY:?names the file of its key}" "${CA:?names the file of the CA}"
server=$1 user=$2
key=$(<"$3")
proto=$(cd "$(dirname "${BASH_SOURCE[0]}")/../../../proto" && pwd)

# The daemon tells its services by reflection only to callers whose role allows
# it (reflection.use); the files in proto/ work for all.
call() { # METHOD [JSON]
	"${GRPCURL:-grpcurl}" -cert "$CERT" -key "$KEY" -cacert "$CA" -import-path "$proto" -proto containarium/v1/service.proto \
		-emit-defaults -d "${2:-{\}}" "$server" "containarium.v1.$1"
}
# A request of the two arguments: quoting is jq's.
request() { jq -cn --arg user "$user" --arg key "$key" "$1"; }

call AuthService/WhoAmI | jq -r '"I am \(.commonName), \(.role)"'
call ContainerService/ListContainers | jq -r '"there are \(.containers | length) containers"'

# One message for each stage; the last carries the result.
call ContainerService/CreateContainerStream "$(request '{create: {username: $user, sshKeys: [$key], resources: {memory: "1GiB"}}}')" |
	jq -r 'if .result then "created \(.result.container.username) at \(.result.container.network.ipAddress)" else "\(.percent)% \(.stage)" end'
call ContainerService/GetContainer "$(request '{username: $user}')" |
	jq -r '.container | "\(.username) \(.state) \(.resources.memory)"'
call ContainerService/StopContainer "$(request '{username: $user, force: true}')" |
	jq -r '.container | "\(.username) \(.state)"'
call ContainerService/DeleteContainer "$(request '{username: $user}')" >/dev/null
echo "deleted $user"
