#!/bin/sh
# Checks that client generators accept the API's documents and that what they
# make compiles: oapi-codegen and ogen from the 3.1 document, ogen also from the
# 3.0 one. Leaves nothing behind. Needs Go and the module proxy.
# Run from anywhere: api/clientgen.sh
set -eu
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# The tools are named in go.mod: where a proxy keeps no list of versions,
# go run tool@version fails.
generate() { # name, document, module@version, command...
    name=$1 document=$2 module=$3
    shift 3
    mkdir -p "$work/$name/client"
    cp "$here/testdata/$document" "$work/$name/openapi.json"
    cd "$work/$name"
    [ -f go.mod ] || go mod init example.com/client >/dev/null 2>&1
    go mod edit -require="$module"
    go run -mod=mod "$@"
    go mod tidy >/dev/null 2>&1 || { go mod tidy; exit 1; }
    go build ./...
    echo "clientgen: $name: $(cat client/*.go | wc -l) lines, compiles"
}

cat >"$work/ogen.yaml" <<'YAML'
generator:
  features:
    disable_all: true
    enable: [paths/client]
  content_type_aliases:
    application/problem+json: application/json
    application/merge-patch+json: application/json
YAML

generate oapi-codegen-3.1 openapi.json \
    github.com/oapi-codegen/oapi-codegen/v2@v2.8.2 github.com/oapi-codegen/oapi-codegen/v2/cmd/oapi-codegen \
    -generate types,client -package client -o client/client.gen.go openapi.json
generate ogen-3.1 openapi.json \
    github.com/ogen-go/ogen@v1.24.0 github.com/ogen-go/ogen/cmd/ogen --config "$work/ogen.yaml" --target client --package client --clean openapi.json
generate ogen-3.0 openapi-3.0.json \
    github.com/ogen-go/ogen@v1.24.0 github.com/ogen-go/ogen/cmd/ogen --config "$work/ogen.yaml" --target client --package client --clean openapi.json
