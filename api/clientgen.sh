#!/bin/sh
# Checks that client generators accept the API's documents and that what they
# make compiles: for Go oapi-codegen and ogen from the 3.1 document, ogen also from
# the 3.0 one; for TypeScript openapi-typescript, strictly checked in use; for
# Python openapi-python-client. Leaves nothing behind. Needs Go, Node 20 or later
# with npm, Python 3.10 or later with venv, and their registries.
# Run from anywhere: api/clientgen.sh
set -eu
need() { # program, how to get it
    command -v "$1" >/dev/null || { echo "clientgen: $1 is missing: $2" >&2; exit 1; }
}
need go "install the version in go.mod from https://go.dev/dl/"
need npm "install Node.js 20 or later from https://nodejs.org/"
need python3 "install Python 3.10 or later with venv (apt-get install python3-venv)"
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

typescript() {
    mkdir "$work/typescript"
    cd "$work/typescript"
    cat >package.json <<'JSON'
{"name": "client", "private": true, "type": "module",
 "devDependencies": {"openapi-typescript": "7.13.0", "openapi-fetch": "0.17.0", "typescript": "5.9.3"}}
JSON
    cat >use.ts <<'TS'
import createClient from "openapi-fetch";
import type { paths } from "./client";

const client = createClient<paths>({ baseUrl: "http://127.0.0.1:7480" });
const { data, error } = await client.GET("/v1/volumes/{id}", { params: { path: { id: "vol-1" } } });
const size: number | undefined = data?.spec.sizeBytes;
const remedy: string | undefined = error?.help;
console.log(size, remedy);
TS
    npm install --no-audit --no-fund --ignore-scripts --loglevel=error >log 2>&1 || { cat log; exit 1; }
    npx openapi-typescript "$here/testdata/openapi.json" -o client.d.ts >log 2>&1 || { cat log; exit 1; }
    npx tsc --strict --noEmit --target es2022 --module esnext --moduleResolution bundler use.ts 2>log || { cat log; exit 1; }
    echo "clientgen: openapi-typescript-3.1: $(wc -l <client.d.ts) lines, type-checked in use"
}

python() {
    mkdir "$work/python"
    cd "$work/python"
    python3 -m venv venv
    venv/bin/pip install --quiet --disable-pip-version-check openapi-python-client==0.29.1
    echo 'post_hooks: []' >config.yaml
    venv/bin/openapi-python-client generate --path "$here/testdata/openapi.json" --config config.yaml \
        --output-path client --meta none --fail-on-warning >log 2>&1 || { cat log; exit 1; }
    cat >use.py <<'PY'
import importlib, pkgutil
import client

for module in pkgutil.walk_packages(client.__path__, "client."):
    importlib.import_module(module.name)
PY
    venv/bin/python use.py
    echo "clientgen: openapi-python-client-3.1: $(find client -name '*.py' -exec cat {} + | wc -l) lines, all modules import"
}

typescript
python
