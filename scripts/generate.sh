#!/bin/bash
# Generates the Go code of the contracts: what is asked of drivers, and what nodes ask each other.
#
#   scripts/generate.sh [--check]
#
# With --check nothing is changed; it fails when the code is not what would be
# generated. The plugins are named by PROTOC_GEN_GO and PROTOC_GEN_GO_GRPC.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# The version is written into the generated files. It is the one of Debian 12 and 13 and Ubuntu 24.04.
readonly protoc_version=3.21.12
readonly module=github.com/bulkhead-cloud/bulkhead

if ! found=$(protoc --version 2>/dev/null); then
	echo "generate: protoc is missing; remedy: apt-get install -y protobuf-compiler libprotobuf-dev" >&2
	exit 1
fi
if [ "$found" != "libprotoc $protoc_version" ]; then
	echo "generate: found \"$found\", want $protoc_version, so that the code is the same everywhere" >&2
	exit 1
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# generate ROOT FOLDER INTO: the .proto files of ROOT/FOLDER become the package INTO.
generate() {
	local root=$1 folder=$2 into=$3
	protoc -I "$root" \
		--plugin=protoc-gen-go="$PROTOC_GEN_GO" --plugin=protoc-gen-go-grpc="$PROTOC_GEN_GO_GRPC" \
		--go_out="$work" --go_opt=module="$module" \
		--go-grpc_out="$work" --go-grpc_opt=module="$module" \
		"$root/$folder"/*.proto
	if [ "$check" = yes ]; then
		if ! diff -r --exclude=doc.go "$work/$into" "$into" >/dev/null; then
			diff -rq --exclude=doc.go "$work/$into" "$into" >&2 || true
			echo "generate: $into is not what $root says; remedy: make generate, and commit the result" >&2
			exit 1
		fi
		return
	fi
	rm -f "$into"/*.pb.go
	cp "$work/$into"/*.pb.go "$into/"
}

check=no
if [ "${1:-}" = --check ]; then
	check=yes
fi
generate drivers/contract bulkhead/driver/v1 drivers/driverpb
generate cluster/contract bulkhead/cluster/v1 cluster/clusterpb
generate drivers/relay/contract bulkhead/relay/v1 drivers/relay/relaypb
generate internal/agent/contract bulkhead/agent/v1 internal/agent/agentpb
