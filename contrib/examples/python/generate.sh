#!/usr/bin/env bash
# Makes the Python code of the API from proto/, for containers.py:
#
#   apt-get install python3-grpcio protobuf-compiler protobuf-compiler-grpc libprotobuf-dev
#   contrib/examples/python/generate.sh contrib/examples/python/generated
set -euo pipefail
if [ $# != 1 ]; then
	echo "usage: generate.sh DIRECTORY" >&2
	exit 2
fi
proto=$(cd "$(dirname "${BASH_SOURCE[0]}")/../../../proto" && pwd)
mkdir -p "$1"
protoc -I "$proto" --python_out="$1" --grpc_python_out="$1" \
	--plugin=protoc-gen-grpc_python="$(command -v grpc_python_plugin)" "$proto"/containarium/v1/*.proto
