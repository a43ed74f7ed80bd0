#!/usr/bin/env bash
# Prints what "make breaking" holds the API to: that of the last tag, and before
# the first one, or in a clone without tags, what proto/testdata has.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
if tag=$(git describe --tags --abbrev=0 --match 'v[0-9]*' 2>/dev/null); then
	echo ".git#tag=$tag,subdir=proto"
else
	echo proto/testdata/previous.binpb
fi
