# shellcheck shell=bash
# Part of quickstart.sh: the processes, each with its pid in .quickstart/.

# pid_of prints the pid that a service left, if it is still that service: a part
# of its command line says so.
pid_of() {
	local pid
	[ -s "$DIR/$1.pid" ] || return 0
	pid=$(cat "$DIR/$1.pid")
	ps_args "$pid" | grep -F -- "/$2" >/dev/null && echo "$pid"
	return 0
}

# ps_args prints the command line of a process; some machines have no ps.
ps_args() {
	if [ -r "/proc/$1/cmdline" ]; then
		tr '\0' ' ' <"/proc/$1/cmdline"
	else
		ps -o args= -p "$1" 2>/dev/null || true
	fi
}

# within waits for a condition, 30 s at most.
within() {
	local end=$((SECONDS + 30))
	until "$@" 2>/dev/null; do
		[ $SECONDS -lt $end ] || return 1
		sleep 0.1
	done
}

gone() { [ -z "$(pid_of "$1" "$2")" ]; }

stop() {
	local pid
	pid=$(pid_of "$1" "$2")
	if [ -n "$pid" ]; then
		kill "$pid" 2>/dev/null || true
		within gone "$1" "$2" || kill -9 "$pid" 2>/dev/null || true
	fi
	rm -f "$DIR/$1.pid"
}

# background starts a program in a session of its own, given its name here, its
# log, and the command.
background() {
	local name=$1
	shift
	if command -v setsid >/dev/null; then set -- setsid "$@"; fi
	"$@" </dev/null >>"$DIR/$name.log" 2>&1 &
	echo $! >"$DIR/$name.pid"
}

# failed tells what a service said at its end.
failed() {
	tail -n 5 "$DIR/$1.log" >&2
	die "the $1 did not start; .quickstart/$1.log has the rest"
}

listening() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

# start_sshd starts the jump host's sshd, on the loopback only: it knows the
# accounts of our group and nobody else.
start_sshd() {
	mkdir -p "$DIR/sshd" /run/sshd
	[ -s "$DIR/sshd/host_key" ] || ssh-keygen -q -t ed25519 -N '' -f "$DIR/sshd/host_key"
	sed "s/^Match Group containarium$/Match Group $GROUP/" contrib/sshd/containarium.conf >"$DIR/sshd/containarium.conf"
	cat >"$DIR/sshd/sshd_config" <<-END
		Include $DIR/sshd/containarium.conf
		ListenAddress 127.0.0.1
		Port $SSH_PORT
		HostKey $DIR/sshd/host_key
		PidFile $DIR/sshd.pid
		AllowGroups $GROUP
		UsePAM no
		PasswordAuthentication no
		KbdInteractiveAuthentication no
		PermitRootLogin no
	END
	/usr/sbin/sshd -t -f "$DIR/sshd/sshd_config"
	[ -z "$(pid_of sshd .quickstart/sshd/sshd_config)" ] || return 0
	listening "$SSH_PORT" && die "something listens on 127.0.0.1:$SSH_PORT already; QUICKSTART_SSH_PORT takes another port"
	printf '$ %s\n' "/usr/sbin/sshd -f .quickstart/sshd/sshd_config"
	/usr/sbin/sshd -f "$DIR/sshd/sshd_config" -E "$DIR/sshd.log" </dev/null || failed sshd
	within listening "$SSH_PORT" || failed sshd
}

# start_daemon starts the daemon, and again where its program or its files are
# others than those that it was started with.
start_daemon() {
	local accounts=true address="127.0.0.1:$SSH_PORT" guests=22 now
	if [ "$MODE" = simulator ]; then accounts=false address="" guests=$(cat "$DIR/simulator.port"); fi
	cat >"$DIR/daemon.toml" <<-END
		[server]
		address = "127.0.0.1:$PORT"
		cert = "pki/issued/jump-1/tls.crt"
		key  = "pki/issued/jump-1/tls.key"
		ca   = "pki/issued/jump-1/ca.crt"
		crl  = "pki/issued/jump-1/crl.pem"
		[http]
		address = "127.0.0.1:$HTTP_PORT"
		[ca]
		dir = "pki"
		[policy]
		file = "policy.toml"
		[audit]
		file = "audit.log"
		[incus]
		socket  = "$INCUS_SOCKET"
		project = "$INCUS_PROJECT"
		profile = "$INCUS_PROFILE"
		[containers]
		image    = "$INCUS_IMAGE"
		ssh_port = $guests
		[jump]
		accounts = $accounts
		group    = "$GROUP"
		address  = "$address"
	END
	now=$(cat bin/containarium "$DIR/daemon.toml" "$DIR/policy.toml" "$DIR/pki/issued/jump-1/tls.crt" | cksum)
	if [ -n "$(pid_of daemon .quickstart/daemon.toml)" ]; then
		[ "$(cat "$DIR/daemon.sum" 2>/dev/null)" != "$now" ] || return 0
		echo "(it runs, and is restarted: its program or its configuration is another)"
		stop daemon .quickstart/daemon.toml
	fi
	! listening "$PORT" || die "something listens on 127.0.0.1:$PORT already; QUICKSTART_PORT takes another port"
	! listening "$HTTP_PORT" || die "something listens on 127.0.0.1:$HTTP_PORT already; QUICKSTART_HTTP_PORT takes another port"
	echo "$now" >"$DIR/daemon.sum"
	printf '$ %s\n' "containarium daemon --config .quickstart/daemon.toml &"
	background daemon "$ROOT/bin/containarium" daemon --config "$DIR/daemon.toml"
	within daemon_up || failed daemon
	[ -n "$(pid_of daemon .quickstart/daemon.toml)" ] || failed daemon
}

# daemon_up ends the wait early, too, when the daemon has ended.
daemon_up() { listening "$PORT" || gone daemon .quickstart/daemon.toml; }

start_simulator() {
	[ -z "$(pid_of simulator incus.socket)" ] || return 0
	go build -o bin/simulator ./contrib/incus/simulator
	# A unix socket's path has 108 bytes at most.
	local socket=$DIR/incus.socket
	if [ ${#socket} -gt 100 ]; then socket=$(mktemp -d)/incus.socket; fi
	rm -f "$DIR/simulator.log"
	background simulator "$ROOT/bin/simulator" --socket "$socket"
	echo "$socket" >"$DIR/simulator.socket"
	within grep -q ready "$DIR/simulator.log" || failed simulator
	sed -n 's/.*at port //p' "$DIR/simulator.log" >"$DIR/simulator.port"
}
