#!/usr/bin/env bash
# Prints the user-data with which cloud-init makes a jump server of a new machine:
# bootstrap.sh as it is beside this file, and its settings, from the same variables.
#
#   PACKAGE=https://... PACKAGE_SHA256=... PRESEED=jump-1.toml contrib/cloud/user-data.sh >user-data
#
# PRESEED is a file here, PACKAGE and DATA_DISK are what the new machine finds.
set -euo pipefail

die() {
	printf 'user-data.sh: %s\n' "$1" >&2
	exit 2
}

[ -n "${PACKAGE:-}" ] || die "PACKAGE is to say where the new machine gets the package: a URL, or a file of its image"
[[ ${PACKAGE_SHA256:-} =~ ^[0-9a-f]{64}$ ]] || die "PACKAGE_SHA256 is to be the package's SHA-256, 64 digits"
[ -z "${PRESEED:-}" ] || [ -r "$PRESEED" ] || die "there is no file $PRESEED: PRESEED names it"
settings=("PACKAGE=$PACKAGE" "PACKAGE_SHA256=$PACKAGE_SHA256")
[ -z "${DATA_DISK:-}" ] || settings+=("DATA_DISK=$DATA_DISK")
[ -z "${PRESEED:-}" ] || settings+=("PRESEED=/var/lib/containarium-bootstrap/preseed.toml")
for setting in "${settings[@]}"; do
	[[ $setting =~ ^[[:print:]]+$ && $setting != *[\"\\]* ]] || die "${setting%%=*} has a character that it can not have here"
done

# file prints an entry for a file of the new machine: its path, its mode, and what is
# in it.
file() {
	printf -- '- path: %s\n  permissions: "%s"\n  encoding: b64\n  content: %s\n' "$1" "$2" "$(base64 -w 0 "$3")"
}

echo "#cloud-config"
echo "# Made by contrib/cloud/user-data.sh. Whoever is on the machine can read it."
echo "write_files:"
file /usr/local/sbin/containarium-bootstrap 0755 "$(dirname "${BASH_SOURCE[0]}")/bootstrap.sh"
[ -z "${PRESEED:-}" ] || file /var/lib/containarium-bootstrap/preseed.toml 0600 "$PRESEED"
echo "runcmd:"
printf -- '- [env'
printf ', "%s"' "${settings[@]}" /usr/local/sbin/containarium-bootstrap
echo ']'
