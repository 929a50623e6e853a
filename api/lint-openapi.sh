#!/bin/sh
# Lints the API's documents with redocly and spectral; any finding fails.
# Needs Node 20 or later and npm. Run from anywhere: api/lint-openapi.sh
set -eu
here=$(cd "$(dirname "$0")" && pwd)
cd "$here"
command -v npx >/dev/null || { echo "lint-openapi: npx is missing: install Node.js 20 or later from https://nodejs.org/" >&2; exit 1; }
report=$(mktemp)
trap 'rm -f "$report"' EXIT
for document in testdata/openapi.json testdata/openapi-3.0.json; do
    npx --yes @redocly/cli@2.77.0 lint --config lint/redocly.yaml --max-problems 50 --format stylish "$document" \
        >"$report" 2>&1 || { cat "$report"; exit 1; }
    # Redocly succeeds with warnings; we do not.
    if grep -Eq '^ +[0-9]+:[0-9]+ +(warning|error)' "$report"; then cat "$report"; exit 1; fi
    npx --yes @stoplight/spectral-cli@6.16.3 lint --ruleset lint/spectral.yaml --fail-severity hint "$document"
done
echo "lint-openapi: no findings"
