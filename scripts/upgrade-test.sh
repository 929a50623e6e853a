#!/bin/bash
# Rolls a zone of three nodes from the program of an older commit to that of the
# working tree, under load.
#
#   scripts/upgrade-test.sh COMMIT [flags of bench/upgrade]
#
# COMMIT is what git calls a commit, such as HEAD~1.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

go=${GO:-go}
commit=$(git rev-parse --verify --quiet "${1:-HEAD~1}^{commit}") || {
	echo "upgrade-test: there is no commit ${1:-HEAD~1}; remedy: name one with FROM=, and fetch the whole history" >&2
	exit 2
}
shift || true

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
chmod 755 "$work" # drivers run the programs as users of their own

# build FOLDER INTO VERSION
build() {
	(cd "$1" && CGO_ENABLED=0 "$go" build -trimpath -ldflags "-X main.version=$3" -o "$2" ./cmd/bulkhead)
}
mkdir "$work/source"
git archive "$commit" | tar -x -C "$work/source"
build "$work/source" "$work/old" "${commit:0:12}"
build . "$work/new" "$(git rev-parse --short=12 HEAD)+"
"$go" build -trimpath -o "$work/upgrade" ./bench/upgrade
"$work/upgrade" -old="$work/old" -new="$work/new" "$@"
