#!/usr/bin/env bash
# Builds the .deb and the .rpm into a folder, in the place of those before. Called
# by "make packages". The same commit gives the same bytes, wherever and whenever:
# every time in them is that of the commit.
#
#   build.sh DIR
#
# Settings, by environment:
#   VERSION            their version                             (from what Go wrote into the program)
#   SOURCE_DATE_EPOCH  the time in them, in seconds since 1970   (that of the commit; of no repository, 1980)
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
[ $# = 1 ] || {
	echo "usage: build.sh DIR" >&2
	exit 2
}
out=$(realpath -m "$1")
nfpm=$PWD/bin/tools/nfpm
[ -x "$nfpm" ] || {
	echo "build.sh: there is no $nfpm: make bin/tools/nfpm" >&2
	exit 1
}
# What the program writes about itself needs one that runs here.
GOARCH=$(go env GOHOSTARCH)
export GOARCH
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# Of a repository the program knows its version, of an archive it does not.
vcs=true
committed=$(git log -1 --format=%ct 2>/dev/null) || vcs=false committed=315532800
export SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$committed}
CGO_ENABLED=0 go build -buildvcs=$vcs -trimpath -ldflags "-s -w" -o "$work/containarium" ./cmd/containarium
"$work/containarium" man "$work/man" 2>/dev/null
gzip -9n "$work"/man/*.1
for shell in bash zsh fish; do "$work/containarium" completion $shell >"$work/completion.$shell"; done

# 1.2.3 of the tag v1.2.3, 0.0.0~git20261201050836.3fc36a2b4d1f of a commit
# without one; "~" sorts before the release.
if [ -z "${VERSION:-}" ]; then
	VERSION=$(go version -m "$work/containarium" | awk '$1 == "mod" { print $3 }' |
		sed -E 's/^\(devel\)$/v0.0.0-devel/; s/^v//; s/([0-9]{14})-([0-9a-f]{12})/git\1.\2/; s/-/~/; s/-/./g')
fi
export VERSION

cp contrib/systemd/* contrib/packaging/*.{conf,sh} contrib/policy/policy.toml config.example.toml LICENSE "$work"
cp contrib/logrotate/containarium "$work/logrotate"
cp contrib/sshd/containarium.conf "$work/sshd.conf"
mkdir -p "$out"
rm -f "$out"/containarium[-_]*.{deb,rpm}
cd "$work"
for format in deb rpm; do
	"$nfpm" package --config "$OLDPWD/contrib/packaging/nfpm.yaml" --packager $format --target "$out" >/dev/null
done
ls -sh "$out"
