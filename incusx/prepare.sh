# Makes an image fit for users' containers, in an instance of it. The first
# argument is the step:
#   look     prints what the image lacks, Docker included, a word each line
#   install  installs that
#   clean    takes out what must not be in two containers, or is of no use there
# The second one is "docker" where a Docker engine is wanted, else empty. The end
# of standard error says what went wrong; exit 67: no package manager that is
# known here.
set -eu
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export PATH LC_ALL=C DEBIAN_FRONTEND=noninteractive NEEDRESTART_SUSPEND=1
step=$1 docker=$2 log=/var/log/containarium-prepare.log
exec 9</etc
flock 9 2>/dev/null || true # an image without flock has nobody else here

has() { command -v "$1" >/dev/null 2>&1; }
# what the image is to have, by the command that shows it
wanted() {
	echo sshd sudo useradd getent awk flock
	[ -z "$docker" ] || echo dockerd
}
lacks() { for tool in $(wanted); do has "$tool" || echo "$tool"; done; }
# quiet keeps what a command says for the case that it fails.
quiet() {
	"$@" >>"$log" 2>&1 </dev/null && return
	tail -c 1500 "$log" >&2
	return 1
}
systemd() { [ -d /run/systemd/system ]; }

# packages names the packages of the commands: those that differ are given as
# COMMAND=PACKAGE.
packages() {
	for tool in $(lacks); do
		name=
		for pair; do [ "${pair%%=*}" != "$tool" ] || name=${pair#*=}; done
		echo "$name"
	done
}

# shellcheck disable=SC2046,SC2086 # words
install() {
	[ -n "$(lacks)" ] || return 0
	# Where cloud-init is, it may be installing something itself.
	if has cloud-init; then cloud-init status --wait >/dev/null 2>&1 || true; fi
	if has apt-get; then
		set -- $(packages sshd=openssh-server sudo=sudo useradd=passwd getent=libc-bin awk=mawk flock=util-linux dockerd=docker.io)
		options='-q -y -o DPkg::Lock::Timeout=120 -o Acquire::Retries=3'
		quiet apt-get $options update
		quiet apt-get $options -o Dpkg::Options::=--force-confold install --no-install-recommends "$@"
	elif has dnf; then
		set -- $(packages sshd=openssh-server sudo=sudo useradd=shadow-utils getent=glibc-common awk=gawk flock=util-linux dockerd=moby-engine)
		quiet dnf -q -y --setopt=install_weak_deps=False install "$@"
	elif has apk; then
		set -- $(packages sshd=openssh sudo=sudo useradd=shadow getent=musl-utils awk=gawk flock=util-linux dockerd=docker)
		quiet apk add --no-cache "$@"
	else
		echo "the image has no apt-get, dnf or apk" >&2
		exit 67
	fi
	left=$(lacks | tr '\n' ' ')
	if [ -n "$left" ]; then
		echo "after the installation the image still has no $left" >&2
		exit 1
	fi
	for service in ssh sshd docker; do
		if systemd; then
			systemctl enable "$service" >/dev/null 2>&1 || true
		elif has rc-update; then
			rc-update add "$service" default >/dev/null 2>&1 || true
		fi
	done
}

clean() {
	if systemd && [ -n "$docker" ]; then
		systemctl stop docker.socket docker.service containerd.service >/dev/null 2>&1 || true
	fi
	rm -rf /etc/docker/key.json /var/lib/docker /var/lib/containerd
	if has apt-get; then apt-get clean; fi
	if has dnf; then dnf -q clean all >/dev/null 2>&1 || true; fi
	rm -rf /var/lib/apt/lists/* /var/cache/apk/* /var/cache/apt/*.bin
	# Each container is to be its own machine, with its own host keys; Debian's sshd
	# makes none after its installation.
	rm -f /etc/ssh/ssh_host_* /var/lib/dbus/machine-id /var/lib/systemd/random-seed /var/lib/dhcp/*.leases
	[ ! -e /etc/machine-id ] || : >/etc/machine-id
	if systemd; then
		cat >/etc/systemd/system/containarium-hostkey.service <<-END
			[Unit]
			Description=Make the SSH host key at the first boot
			ConditionPathExists=!/etc/ssh/ssh_host_ed25519_key
			Before=ssh.service sshd.service ssh.socket sshd.socket
			[Service]
			Type=oneshot
			ExecStart=/usr/bin/ssh-keygen -q -t ed25519 -N "" -f /etc/ssh/ssh_host_ed25519_key
			[Install]
			WantedBy=multi-user.target
		END
		quiet systemctl enable containarium-hostkey.service
	fi
	if has cloud-init; then quiet cloud-init clean --logs; fi
	rm -rf /var/log/journal/* /var/log/apt /root/.bash_history /tmp/* "$log"
	sync
}

case $step in
look) docker=docker && lacks ;;
install) install ;;
clean) clean ;;
esac
