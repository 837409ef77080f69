#!/usr/bin/env bash
# Berth in a minute: starts it on this machine, runs a task of two containers
# through the ECS API, kills the control plane, and shows that the task did not
# notice. Run it with `make demo`; it may be run again and again.
#
#   BERTH_DEMO_DIR    where this Berth keeps everything (/var/lib/berth-demo)
#   BERTH_DEMO_PORT   port of the AWS API (8577, or the next free one)
set -euo pipefail
cd "$(dirname "$0")/.."

berth=$PWD/bin/berth
dir=${BERTH_DEMO_DIR:-/var/lib/berth-demo}
export BERTH_DATA_DIR=$dir
# The demo is about its own Berth, whatever this shell points to.
unset AWS_ENDPOINT_URL

bold='' dim='' plain=''
if [ -t 1 ] && [ -z "${NO_COLOR+set}" ]; then bold=$'\e[1m' dim=$'\e[2m' plain=$'\e[0m'; fi
say() { printf '\n%s%s%s\n' "$bold" "$*" "$plain"; }
show() { printf '%s$ %s%s\n' "$dim" "$*" "$plain"; }
fail() { printf '✗ %s\n' "$*" >&2; exit 1; }

# http HOST PORT PATH prints the body of a page; bash alone can do that.
http() {
	exec 3<>"/dev/tcp/$1/$2" || return 1
	printf 'GET %s HTTP/1.0\r\nHost: %s\r\n\r\n' "$3" "$1" >&3
	local line status
	read -r -t 10 status <&3 || { exec 3>&-; return 1; }
	while IFS= read -r line <&3 && [ "$line" != $'\r' ]; do :; done
	cat <&3
	exec 3>&-
	[[ $status == *" 200 "* ]]
}

port_is_taken() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

# alive asks whether the process of a pid file exists.
alive() { [ -s "$1" ] && kill -0 "$(<"$1")" 2>/dev/null; }

# await WHAT SECONDS COMMAND… tries the command until it succeeds.
await() {
	local what=$1 end=$((SECONDS + $2))
	shift 2
	until "$@" >/dev/null 2>&1; do
		[ "$SECONDS" -lt "$end" ] || fail "$what: gave up waiting; the logs are in $dir"
		sleep 0.05
	done
}

# task_process ADDRESS prints the pid, on this host, of the process that the
# task with that address runs.
task_process() {
	local file name
	for file in /run/netns/berth-"$(<"$dir/instance")"-eni-*; do
		name=${file##*/}
		if ip -n "$name" -4 -o address | grep -qw "$1"; then
			ip netns pids "$name" | head -n 1
			return
		fi
	done
	return 1
}

started=$SECONDS
if alive "$dir/up.pid"; then
	endpoint=$(<"$dir/endpoint")
	port=${endpoint##*:}
	say "1. Berth runs already in $dir, at $endpoint"
else
	port=${BERTH_DEMO_PORT:-8577}
	while [ -z "${BERTH_DEMO_PORT:-}" ] && port_is_taken "$port"; do port=$((port + 1)); done
	say "1. Starting Berth"
	show "berth up --data-dir $dir --listen 127.0.0.1:$port &"
	mkdir -p "$dir"
	# A session of its own, so that it stays when this script and its terminal end.
	setsid "$berth" up --data-dir "$dir" --listen "127.0.0.1:$port" </dev/null >"$dir/up.log" 2>&1 &
	up=$!
	until http 127.0.0.1 "$port" /readyz >/dev/null 2>&1; do
		kill -0 "$up" 2>/dev/null || { cat "$dir/up.log" >&2; fail "berth up ended"; }
		[ "$((SECONDS - started))" -lt 60 ] || { tail -n 20 "$dir/up.log" >&2; fail "Berth is not ready after 60 s; its logs are in $dir"; }
		sleep 0.05
	done
	await "berth up" 10 grep 'Ready' "$dir/up.log"
	grep -m 1 'Ready' "$dir/up.log"
fi

say "2. An image, without any registry"
show "berth image import bin/sample-app.tar"
"$berth" image import bin/sample-app.tar

say "3. A task on FARGATE: app depends on init being COMPLETE"
show "berth run -f examples/my-app.json"
task=$("$berth" run -f examples/my-app.json)
short=${task:0:8}
address=$("$berth" ps | awk -v task="$short" '$1 == task { print $5 }')

say "4. A page from the task's own address"
show "curl http://$address:3000/"
page() { page=$(http "$address" 3000 /); }
await "the page" 10 page
echo "$page"

say "5. Its logs, from CloudWatch Logs"
show "berth logs $short"
logged() { "$berth" logs "$short" | grep -q 'GET /'; }
await "the request in the logs" 10 logged
"$berth" logs "$short"

say "6. Killing the control plane with SIGKILL"
before=$(task_process "$address")
server=$(<"$dir/server.pid")
show "kill -9 $server"
kill -9 "$server"
echo "without a control plane, the task answers:"
http "$address" 3000 / | tail -n 1
restarted() { [ "$(cat "$dir/server.pid" 2>/dev/null)" != "$server" ] && http 127.0.0.1 "$port" /readyz; }
await "the server's return" 30 restarted
echo "the server is back as process $(<"$dir/server.pid"); it was $server"
after=$(task_process "$address")
[ "$before" = "$after" ] || fail "the task's process was $before and is $after"
echo "✓ the task's process was $before, and still is"
show "berth ps"
"$berth" ps

say "Berth goes on running. What next?"
hint=
[ "$dir" = /var/lib/berth ] || hint=" --data-dir $dir"
cat <<END
  eval "\$(sudo bin/berth env$hint)"    # points the aws CLI, SDKs and Terraform to it
  aws ecs describe-tasks --tasks $task
  aws logs filter-log-events --log-group-name /ecs/my-app
  sudo bin/berth ps$hint
  sudo bin/berth why $short$hint
  sudo bin/berth stop $short$hint

  sudo bin/berth down --purge$hint    # ends it, and removes everything it made
END
