#!/usr/bin/env bash
# From nothing to a container of your own: a CA, a daemon, certificates, a
# container, a command in it over SSH and a call that the policy denies, each
# command shown as you would type it. It may run any number of times.
#
#   quickstart.sh          called by "make quickstart"
#   quickstart.sh down     removes all that it made, and nothing else
#
# Everything is in .quickstart/, except what a system has in one place: Incus
# (contrib/incus), the jump accounts and their group, packages that were missing.
# Settings, by environment:
#   QUICKSTART_MODE   auto | incus | simulator: auto takes Incus where this
#                     machine can have one   (auto)
#   QUICKSTART_PORT, QUICKSTART_HTTP_PORT, QUICKSTART_SSH_PORT   where the daemon,
#                     its HTTP port and the jump host's sshd listen on 127.0.0.1
#                     (50051, 8443, 2222)
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
umask 022
ROOT=$PWD
DIR=$ROOT/.quickstart
MODE=${QUICKSTART_MODE:-auto}
PORT=${QUICKSTART_PORT:-50051}
HTTP_PORT=${QUICKSTART_HTTP_PORT:-8443}
SSH_PORT=${QUICKSTART_SSH_PORT:-2222}
# The mark of everything outside of .quickstart/.
export NAME=containarium-quickstart
GROUP=$NAME
unset INCUS_DIR BRIDGE SUBNET CONTAINARIUM_SERVER CONTAINARIUM_CERT CONTAINARIUM_KEY CONTAINARIUM_CA CONTAINARIUM_OUTPUT CONTAINARIUM_TIMEOUT
INCUS=contrib/incus/incus.sh

# shellcheck source=contrib/quickstart/services.sh
. contrib/quickstart/services.sh
# shellcheck source=contrib/quickstart/down.sh
. contrib/quickstart/down.sh

say() { printf '\n# %s\n' "$*"; }
die() {
	printf 'quickstart: %s\n' "$*" >&2
	exit 1
}

# run shows a command and runs it.
run() {
	printf '$ %s\n' "$*"
	"$@"
}

up() {
	local start=$SECONDS
	mkdir -p "$DIR"
	chmod 0700 "$DIR"
	find_backend
	write_env
	# shellcheck source=/dev/null
	. "$DIR/env"
	say "A CA, a certificate for the daemon, one for you and one for a tenant, $WHO"
	certificates
	say "The daemon, by .quickstart/daemon.toml and .quickstart/policy.toml"
	[ "$MODE" = simulator ] || start_sshd
	start_daemon
	say "The client, so that no call needs a flag"
	echo "$ . .quickstart/env"
	clients
	run containarium whoami
	a_container
	a_denied_call
	over_http
	farewell $((SECONDS - start))
}

# find_backend decides between Incus and the simulator, and brings it up.
find_backend() {
	local rc=0
	if [ -s "$DIR/mode" ] && [ "$MODE" = auto ]; then MODE=$(cat "$DIR/mode"); fi
	if [ "$MODE" != simulator ]; then
		say "An Incus with a project, a pool, a bridge and an image of its own"
		printf '$ %s\n' "NAME=$NAME $INCUS up"
		echo incus >"$DIR/mode"
		$INCUS up || rc=$?
		if [ $rc = 0 ]; then
			$INCUS packages openssh-server openssh-client
			MODE=incus
			eval "$($INCUS env)"
			return
		fi
		if [ $rc != 3 ] || [ "$MODE" = incus ]; then
			die "Incus did not come up; QUICKSTART_MODE=simulator make quickstart shows the rest without it"
		fi
	fi
	MODE=simulator
	echo simulator >"$DIR/mode"
	say "No Incus can be had here: the SIMULATOR stands in for it. The daemon, the CA and the
# command line are the real ones; containers are simulated, and so is their SSH."
	for program in ssh ssh-keygen; do
		command -v $program >/dev/null || die "$program is missing: install an OpenSSH client"
	done
	start_simulator
	INCUS_SOCKET=$(cat "$DIR/simulator.socket") INCUS_PROJECT=default INCUS_PROFILE=default INCUS_IMAGE=containarium/debian-12
}

# write_env writes what a shell needs to do what is shown here, and decides on the
# tenant's name: somebody else's account of that name is left alone.
write_env() {
	WHO=alice
	if [ "$MODE" = incus ] && getent passwd alice >/dev/null && ! our_accounts | grep -x alice >/dev/null; then WHO=alice-quickstart; fi
	cat >"$DIR/env" <<-END
		export PATH="$ROOT/bin:\$PATH"
		export CONTAINARIUM_PKI="$DIR/pki" CONTAINARIUM_CONFIG="$DIR/client.toml"
	END
	[ -s "$DIR/$WHO" ] || ssh-keygen -q -t ed25519 -N '' -C "$WHO@quickstart" -f "$DIR/$WHO"
	cat >"$DIR/ssh_config" <<-END
		Host *
		    IdentityFile $DIR/$WHO
		    IdentitiesOnly yes
		    UserKnownHostsFile $DIR/known_hosts
		    StrictHostKeyChecking accept-new
		    LogLevel ERROR
	END
}

certificates() {
	[ -s "$DIR/policy.toml" ] || install -m 0644 contrib/policy/policy.toml "$DIR/policy.toml"
	[ -d "$DIR/pki" ] || run containarium pki init
	issue jump-1 --server --san 127.0.0.1 --san localhost
	issue ops-laptop --policy .quickstart/policy.toml
	issue "$WHO" --policy .quickstart/policy.toml
	run containarium pki ls
}

issue() {
	[ -s "$DIR/pki/issued/$1/tls.crt" ] || run containarium pki issue "$@" || die "no certificate for $1; make quickstart-down and start again"
}

clients() {
	local issued=.quickstart/pki/issued name
	for name in ops-laptop "$WHO"; do
		run containarium server add "as-$name" "127.0.0.1:$PORT" --force \
			--cert "$issued/$name/tls.crt" --key "$issued/$name/tls.key" --ca "$issued/$name/ca.crt"
	done
	run containarium server default as-ops-laptop
}

a_container() {
	say "A container for $WHO"
	if containarium info "$WHO" >/dev/null 2>&1; then
		run containarium start "$WHO"
		run containarium key add "$WHO" ".quickstart/$WHO.pub"
	else
		run containarium create "$WHO" --ssh-key ".quickstart/$WHO.pub" --cpu 1 --memory 1GiB
	fi
	run containarium ls
	local address
	address=$(containarium info "$WHO" -o json | sed -n 's/.*"ip_*[aA]ddress": *"\([^"]*\)".*/\1/p')
	[ -n "$address" ] || die "the container of $WHO has no address: containarium info $WHO"
	# Another container than at the last run may have the address.
	ssh-keygen -f "$DIR/known_hosts" -R "$address" >/dev/null 2>&1 || true
	if [ "$MODE" = simulator ]; then
		say "A command in it over SSH: simulated, and without the hop, which needs accounts on this host"
		SSH="ssh -F .quickstart/ssh_config -p $(cat "$DIR/simulator.port") $WHO@$address"
	else
		say "A command in it over SSH, through this host as the jump host"
		SSH="ssh -F .quickstart/ssh_config -J $WHO@127.0.0.1:$SSH_PORT $WHO@$address"
	fi
	# shellcheck disable=SC2086 # words
	run $SSH whoami || die "no way into the container by SSH"
}

a_denied_call() {
	say "A call that the policy denies: a tenant makes no containers"
	local rc=0
	run containarium --server "as-$WHO" create bob --ssh-key ".quickstart/$WHO.pub" || rc=$?
	[ $rc = 4 ] || die "the call should have been denied with exit status 4, and ended with $rc"
	echo "(exit status 4: denied)"
	say "What the daemon wrote about it, in .quickstart/audit.log"
	tail -n 1 "$DIR/audit.log"
}

# The same call over HTTP, where there is a curl.
over_http() {
	local issued=.quickstart/pki/issued/ops-laptop
	CURL="curl -sS --cert $issued/tls.crt --key $issued/tls.key --cacert $issued/ca.crt https://127.0.0.1:$HTTP_PORT"
	command -v curl >/dev/null || return 0
	say "The same by HTTP and JSON, with the same certificate; /docs is a page for a browser"
	# shellcheck disable=SC2086 # words
	run $CURL/v1/whoami || die "the HTTP port does not answer"
}

farewell() {
	say "All of it works, after $1 s. To go on, in this folder:"
	cat <<-END
		$ . .quickstart/env
		$ $SSH
		$ $CURL/v1/containers
		$ containarium pki renew
		$ containarium --help
		$ make quickstart-down
	END
}

case ${1:-up} in
up) up ;;
down) down ;;
*)
	echo "usage: quickstart.sh [up|down]" >&2
	exit 2
	;;
esac
