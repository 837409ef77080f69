#!/usr/bin/env bash
# Every test of Berth. One line a package; what a package printed is shown only
# when it failed. Needs root: tests make containers and networks.
set -u
cd "$(dirname "$0")/.."

log=$(mktemp)
trap 'rm -f "$log"' EXIT
status=0

# step NAME COMMAND… runs a part of the suite and says how long it took.
step() {
	local name=$1 begun=$SECONDS
	shift
	echo "== $name"
	"$@" >"$log" 2>&1 || status=1
	grep -v 'no test files' "$log" | tail -n 300
	passed=$((passed + $(grep -c '^ok ' "$log")))
	failed=$((failed + $(grep -c '^FAIL	' "$log")))
	echo "   $((SECONDS - begun)) s"
}
passed=0 failed=0

# fuzz gives every fuzz test of the tree some inputs beyond its corpus: a number
# of them, not a time, at whose end go test may fail of itself ("context deadline
# exceeded"). What one finds is printed, and written to testdata, where it becomes
# a test.
fuzz() {
	local file name inputs result=0
	while IFS=: read -r file name; do
		name=${name#func } name=${name%%(*} inputs=10000x
		case $name in
		FuzzRequest) inputs=500x ;; # through a whole gateway
		FuzzUpload) inputs=100x ;;  # each makes a store on the disk
		esac
		go test -run '^$' -fuzz "^$name\$" -fuzztime $inputs -fuzzminimizetime 10x "./${file%/*}" || result=1
	done < <(grep -roE --include='*_test.go' '^func Fuzz[A-Za-z0-9_]+\(' internal)
	return $result
}

# As `make build` does; the race detector alone needs cgo.
export CGO_ENABLED=0

# Where goroutines meet, the race detector watches. Two packages at a time:
# they share the host's containers and cores.
concurrent=$(go list ./internal/agent/... ./internal/app/... ./internal/control/... ./internal/data/... ./internal/edge/...)
# shellcheck disable=SC2046,SC2086 # lists of packages
pure=$(comm -23 <(go list ./... | sort) <(printf '%s\n' $concurrent "$(go list ./test/e2e)" | sort))

step "vet" go vet ./...
# shellcheck disable=SC2086
step "laws, rules, wire, services, simulation" go test -p 2 -timeout 15m $pure
step "generator" env -C tools/apigen go test ./...
# shellcheck disable=SC2086
step "data, control, edge, agent, app (with the race detector)" env CGO_ENABLED=1 go test -race -p 2 -timeout 15m $concurrent
step "fuzz" fuzz
step "end to end" go test -timeout 15m ./test/e2e/...

echo "$passed passed, $failed failed"
exit $status
