#!/usr/bin/env bash
# Berth in a minute: starts it on this machine, runs a task of two containers
# through the ECS API with a secret and a role, shows what the role is denied,
# kills the control plane, and shows that the task did not notice. Then three tasks behind a load balancer and a name, which are updated
# without a lost request, and a bad image that is rolled back by itself.
# Run it with `make demo`; it may be run again and again.
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

# site URL PATH prints a page of a site such as http://127.0.0.1:8080/.
site() {
	local rest=${1#http://}
	rest=${rest%/}
	local host=${rest%:*} port=80
	[[ $rest != *:* ]] || port=${rest##*:}
	http "$host" "$port" "$2"
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

image=123456789012.dkr.ecr.us-east-1.amazonaws.com/my-app
started=$SECONDS
cpu=$(($(nproc) * 1024))
[ "$cpu" -ge 4096 ] || cpu=4096
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
	# Its tasks do little: on a small machine they share cores.
	setsid "$berth" up --data-dir "$dir" --listen "127.0.0.1:$port" --cpu-units "$cpu" </dev/null >"$dir/up.log" 2>&1 &
	up=$!
	until http 127.0.0.1 "$port" /readyz >/dev/null 2>&1; do
		kill -0 "$up" 2>/dev/null || { cat "$dir/up.log" >&2; fail "berth up ended"; }
		[ "$((SECONDS - started))" -lt 60 ] || { tail -n 20 "$dir/up.log" >&2; fail "Berth is not ready after 60 s; its logs are in $dir"; }
		sleep 0.05
	done
	await "berth up" 10 grep 'Ready' "$dir/up.log"
	grep -m 1 'Ready' "$dir/up.log"
fi

say "2. Images, into Berth's own registry: under the names that ECR gives them"
show "berth push bin/my-app.tar    # an archive here; docker build and berth push my-app as well"
"$berth" push bin/my-app.tar

say "3. A secret, and the role of the task"
password=${BERTH_DEMO_PASSWORD:-correct-horse-battery-staple}
show "berth secrets put db-password    # from standard input"
printf %s "$password" | "$berth" secrets put db-password
show "berth roles create ecsTaskRole --allow s3:GetObject,dynamodb:Query"
"$berth" roles -o json | grep -q '"ecsTaskRole"' || "$berth" roles create ecsTaskRole --allow s3:GetObject,dynamodb:Query

say "4. A task on FARGATE: app depends on init being COMPLETE"
show "berth run -f examples/my-app.json"
task=$("$berth" run -f examples/my-app.json)
short=${task:0:8}
address=$("$berth" ps | awk -v task="$short" '$1 == task { print $5 }')

say "5. A page from the task's own address"
show "curl http://$address:3000/"
page() { page=$(http "$address" 3000 /); }
await "the page" 10 page
echo "$page"

say "6. The secret has reached the container: its SHA-256, there and here"
show "curl http://$address:3000/secret/DB_PASSWORD"
arrived=$(http "$address" 3000 /secret/DB_PASSWORD)
echo "$arrived"
[ "$arrived" = "$(printf %s "$password" | sha256sum | cut -d ' ' -f 1)" ] || fail "the container has another secret"

say "7. What the task may not do, it is denied: the AWS SDK inside asks as the task role"
show "curl http://$address:3000/whoami"
http "$address" 3000 /whoami
show "curl http://$address:3000/tasks    # calls ecs:ListTasks"
denied=$(http "$address" 3000 /tasks || true)
echo "${denied#*RequestID: *, }"
[[ $denied == *"is not authorized to perform: ecs:ListTasks"* ]] || fail "it was not denied"
show "berth audit --denied --tail 1"
recorded() { "$berth" audit --denied --tail 1 | grep -q ListTasks; }
await "the record of it" 10 recorded
"$berth" audit --denied --tail 1

say "8. Its logs, from CloudWatch Logs"
show "berth logs $short"
logged() { "$berth" logs "$short" | grep -q 'GET /'; }
await "the request in the logs" 10 logged
"$berth" logs "$short"

say "9. Killing the control plane with SIGKILL"
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

say "10. A service: three tasks behind a load balancer, found as my-service.my-apps.local"
show "berth stop $short"
"$berth" stop "$short" >/dev/null
deploy=(-f examples/my-app.json -f examples/my-service.json --expose http --as my-service.my-apps.local
	--health-path /health --health-interval 5s --deregistration-delay 3s)
show "berth deploy ${deploy[*]}"
url=$("$berth" deploy "${deploy[@]}" --timeout 120s)
url=${url%%$'\n'*}
echo "$url"

say "11. Every task answers at the one URL, and every task knows the name"
show "curl $url    # six times"
for _ in 1 2 3 4 5 6; do
	# shellcheck disable=SC2310 # the loop ends where a request fails
	hello=$(site "$url" /) || fail "the load balancer at $url does not answer"
	echo "${hello%%$'\n'*}"
done
show "curl ${url}lookup/my-service.my-apps.local    # what a task sees"
known() { [ "$(site "$url" /lookup/my-service.my-apps.local | wc -w)" = 3 ]; }
await "three addresses under the name" 20 known
site "$url" /lookup/my-service.my-apps.local

say "12. A new image, while requests go on"
answers=$dir/answers
: >"$answers"
(
	# Until it is told to stop: one letter an answer, to be counted.
	trap 'exit 0' TERM
	while :; do
		if site "$url" /version >/dev/null 2>&1; then printf . >>"$answers"; else printf x >>"$answers"; fi
		sleep 0.02
	done
) &
visitor=$!
trap 'kill "$visitor" 2>/dev/null || true' EXIT
show "berth deploy my-service --image app=$image:2"
"$berth" deploy my-service --image "app=$image:2" --timeout 120s >/dev/null
kill "$visitor" 2>/dev/null || true
wait "$visitor" 2>/dev/null || true
trap - EXIT
lost=$(tr -cd x <"$answers" | wc -c) all=$(wc -c <"$answers")
[ "$(site "$url" /version)" = 2 ] || fail "the load balancer leads to version $(site "$url" /version), not 2"
[ "$lost" = 0 ] || fail "$lost of $all requests failed during the update"
echo "✓ $all requests were made meanwhile, none failed"

say "13. A bad image: it ends as soon as it is started"
show "berth deploy my-service --image app=$image:broken"
status=0
"$berth" deploy my-service --image "app=$image:broken" --timeout 120s >/dev/null || status=$?
[ "$status" = 3 ] || fail "berth deploy ended with $status; 3 says that a deployment was rolled back"
echo "✓ berth deploy ended with $status, and $url leads to version $(site "$url" /version) still"
show "berth services"
"$berth" services

say "That took $((SECONDS - started)) s. Berth goes on running. What next?"
hint=
[ "$dir" = /var/lib/berth ] || hint=" --data-dir $dir"
cat <<END
  eval "\$(sudo bin/berth env$hint)"    # points the aws CLI, SDKs and Terraform to it
  aws ecs describe-services --services my-service
  aws elbv2 describe-load-balancers
  sudo bin/berth services my-service$hint
  sudo bin/berth why my-service$hint
  sudo bin/berth scale my-service 5$hint
  sudo bin/berth rollback my-service$hint
  sudo bin/berth events -f$hint

  sudo bin/berth down --purge$hint    # ends it, and removes everything it made
END
