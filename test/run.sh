#!/usr/bin/env bash
# Every test of Berth, one line a package. Output of a package is shown only
# when it fails. Needs root: the tests make containers and networks.
set -u
cd "$(dirname "$0")/.."

log=$(mktemp)
trap 'rm -f "$log"' EXIT
status=0

echo "vet"
go vet ./... || status=1
(cd tools/apigen && go vet ./...) || status=1

# Two packages at a time: they share the host's containers and cores.
go test -race -p 2 -timeout 20m ./... >"$log" 2>&1 || status=1
(cd tools/apigen && go test ./...) >>"$log" 2>&1 || status=1
grep -v 'no test files' "$log" | tail -n 400

passed=$(grep -c '^ok ' "$log")
failed=$(grep -cE '^(FAIL|---) *FAIL|^FAIL	' "$log")
echo "$passed passed, $failed failed"
exit $status
