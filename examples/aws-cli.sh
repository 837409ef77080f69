#!/usr/bin/env bash
# The whole of ECS as its guide tells it, with the aws CLI: a cluster, a task
# definition, a load balancer, a name, and a service of three tasks that is
# updated and deleted. The same commands work on AWS; there, roles have to exist.
#
#   sudo make demo                 # or: sudo berth up, and berth push bin/my-app.tar
#   eval "$(sudo berth env)"
#   examples/aws-cli.sh up         # make everything, and print the URL
#   examples/aws-cli.sh update     # bring the service to version 2
#   examples/aws-cli.sh down       # delete everything that up made
set -euo pipefail
cd "$(dirname "$0")"

cluster=${CLUSTER:-my-cluster}
service=my-service
namespace=my-apps.local
alb=my-alb
group=my-targets
# Outputs are read by this script, not by a pager.
export AWS_PAGER=''

say() { printf '\n== %s\n' "$*"; }

# get QUERY COMMAND… prints one thing from the answer of a command, or nothing.
get() {
	local query=$1 answer
	shift
	answer=$(aws "$@" --query "$query" --output text)
	[ "$answer" = None ] || printf '%s' "$answer"
}

vpc() { get 'Vpcs[0].VpcId' ec2 describe-vpcs --filters Name=is-default,Values=true; }

security_group() { get 'SecurityGroups[0].GroupId' ec2 describe-security-groups --filters "Name=vpc-id,Values=$(vpc)" "Name=group-name,Values=$1"; }

balancer() { get 'LoadBalancers[0].LoadBalancerArn' elbv2 describe-load-balancers --names "$alb" 2>/dev/null || true; }

target_group() { get 'TargetGroups[0].TargetGroupArn' elbv2 describe-target-groups --names "$group" 2>/dev/null || true; }

namespace_id() { get "Namespaces[?Name=='$namespace'].Id | [0]" servicediscovery list-namespaces; }

registry() { get "Services[?Name=='$service'].$2 | [0]" servicediscovery list-services --filters "Name=NAMESPACE_ID,Values=$1"; }

# eventually COMMAND… tries for a minute: the interfaces of a load balancer go
# a little later than itself.
eventually() {
	local end=$((SECONDS + 60))
	until "$@" 2>/dev/null; do
		[ "$SECONDS" -lt "$end" ] || { "$@"; return; }
		sleep 1
	done
}

# finished OPERATION waits until a Cloud Map operation has ended.
finished() {
	local status=PENDING
	while [ "$status" = PENDING ] || [ "$status" = SUBMITTED ]; do
		status=$(get Operation.Status servicediscovery get-operation --operation-id "$1")
		[ "$status" = SUCCESS ] || sleep 0.5
	done
	[ "$status" = SUCCESS ] || { echo "operation $1: $status" >&2; return 1; }
}

# role NAME makes a role that tasks can have, unless it is there.
role() {
	aws iam get-role --role-name "$1" >/dev/null 2>&1 || aws iam create-role --role-name "$1" --query Role.Arn --output text --assume-role-policy-document '{
		"Version": "2012-10-17",
		"Statement": [{ "Effect": "Allow", "Principal": { "Service": "ecs-tasks.amazonaws.com" }, "Action": "sts:AssumeRole" }]
	}'
}

# roles makes what my-app.json names: the execution role, which pulls, logs and
# reads the secret, the task role, and the secret.
roles() {
	role ecsTaskExecutionRole
	aws iam attach-role-policy --role-name ecsTaskExecutionRole --policy-arn arn:aws:iam::aws:policy/service-role/AmazonECSTaskExecutionRolePolicy
	aws iam put-role-policy --role-name ecsTaskExecutionRole --policy-name my-app --policy-document '{
		"Version": "2012-10-17",
		"Statement": [{ "Effect": "Allow", "Action": ["secretsmanager:GetSecretValue", "logs:CreateLogGroup"], "Resource": "*" }]
	}'
	role ecsTaskRole
	aws secretsmanager describe-secret --secret-id db-password >/dev/null 2>&1 ||
		aws secretsmanager create-secret --name db-password --query ARN --output text \
			--secret-string "$(aws secretsmanager get-random-password --query RandomPassword --output text)"
}

up() {
	say "Roles and a secret"
	roles

	say "Cluster and task definition"
	aws ecs create-cluster --cluster-name "$cluster" --query cluster.clusterArn --output text
	aws ecs register-task-definition --cli-input-json file://my-app.json --query taskDefinition.taskDefinitionArn --output text

	say "Security groups: everybody may ask the load balancer, and only it may ask the tasks"
	local vpc public inner subnets
	vpc=$(vpc)
	public=$(aws ec2 create-security-group --group-name my-alb --description "Load balancer of my-service" --vpc-id "$vpc" --query GroupId --output text)
	inner=$(aws ec2 create-security-group --group-name my-tasks --description "Tasks of my-service" --vpc-id "$vpc" --query GroupId --output text)
	aws ec2 authorize-security-group-ingress --group-id "$public" --protocol tcp --port 80 --cidr 0.0.0.0/0 >/dev/null
	aws ec2 authorize-security-group-ingress --group-id "$inner" --protocol tcp --port 3000 --source-group "$public" >/dev/null
	echo "$public $inner"

	say "Load balancer, target group and listener"
	read -r -a subnets <<<"$(aws ec2 describe-subnets --filters "Name=vpc-id,Values=$vpc" Name=default-for-az,Values=true --query 'Subnets[].SubnetId' --output text)"
	local balancer targets
	balancer=$(aws elbv2 create-load-balancer --name "$alb" --subnets "${subnets[@]}" --security-groups "$public" --query 'LoadBalancers[0].LoadBalancerArn' --output text)
	targets=$(aws elbv2 create-target-group --name "$group" --protocol HTTP --port 3000 --vpc-id "$vpc" --target-type ip \
		--health-check-path /health --health-check-interval-seconds 5 --health-check-timeout-seconds 2 --healthy-threshold-count 2 \
		--query 'TargetGroups[0].TargetGroupArn' --output text)
	aws elbv2 modify-target-group-attributes --target-group-arn "$targets" --attributes Key=deregistration_delay.timeout_seconds,Value=5 >/dev/null
	aws elbv2 create-listener --load-balancer-arn "$balancer" --protocol HTTP --port 80 \
		--default-actions "Type=forward,TargetGroupArn=$targets" --query 'Listeners[0].ListenerArn' --output text
	aws elbv2 wait load-balancer-available --load-balancer-arns "$balancer"

	say "Name: $service.$namespace"
	local space registry
	space=$(namespace_id)
	if [ -z "$space" ]; then # the demo may have made it
		finished "$(aws servicediscovery create-private-dns-namespace --name "$namespace" --vpc "$vpc" --query OperationId --output text)"
		space=$(namespace_id)
	fi
	registry=$(registry "$space" Arn)
	if [ -z "$registry" ]; then
		registry=$(aws servicediscovery create-service --name "$service" --namespace-id "$space" \
			--dns-config 'RoutingPolicy=MULTIVALUE,DnsRecords=[{Type=A,TTL=10}]' --health-check-custom-config FailureThreshold=1 \
			--query Service.Arn --output text)
	fi
	echo "$registry"

	say "Service: three tasks"
	aws ecs create-service --cluster "$cluster" --service-name "$service" --task-definition my-app --desired-count 3 --launch-type FARGATE \
		--network-configuration "awsvpcConfiguration={subnets=[$(IFS=,; echo "${subnets[*]}")],securityGroups=[$inner],assignPublicIp=ENABLED}" \
		--load-balancers "targetGroupArn=$targets,containerName=app,containerPort=3000" \
		--service-registries "registryArn=$registry" \
		--deployment-configuration 'maximumPercent=200,minimumHealthyPercent=100,deploymentCircuitBreaker={enable=true,rollback=true}' \
		--query service.serviceArn --output text
	aws ecs wait services-stable --cluster "$cluster" --services "$service"
	show
}

show() {
	say "Events"
	aws ecs describe-services --cluster "$cluster" --services "$service" --query 'reverse(services[0].events)[].message' --output text | tr '\t' '\n'
	say "URL"
	# Berth's load balancers have an address on this host; AWS's are found by their names.
	local address
	address=$(get 'LoadBalancers[0].AvailabilityZones[0].LoadBalancerAddresses[0].IpAddress' elbv2 describe-load-balancers --names "$alb")
	[ -n "$address" ] || address=$(get 'LoadBalancers[0].DNSName' elbv2 describe-load-balancers --names "$alb")
	echo "http://$address/"
}

update() {
	say "A revision with the image of version 2"
	local definition
	definition=$(sed 's|/my-app:latest"|/my-app:2"|' my-app.json)
	aws ecs register-task-definition --cli-input-json "$definition" --query taskDefinition.taskDefinitionArn --output text
	aws ecs update-service --cluster "$cluster" --service "$service" --task-definition my-app --query 'service.deployments[].[status,taskDefinition]' --output text
	aws ecs wait services-stable --cluster "$cluster" --services "$service"
	show
}

# down deletes what is there, in the order in which one thing needs another.
down() {
	local arn space registry id name definition='' tasks
	say "Service and cluster"
	if [ "$(get 'services[0].status' ecs describe-services --cluster "$cluster" --services "$service" 2>/dev/null || true)" = ACTIVE ]; then
		definition=$(get 'services[0].taskDefinition' ecs describe-services --cluster "$cluster" --services "$service")
		aws ecs delete-service --cluster "$cluster" --service "$service" --force --query service.status --output text
		aws ecs wait services-inactive --cluster "$cluster" --services "$service"
		# A service is INACTIVE when its last task is told to stop; a cluster waits for its end.
		read -r -a tasks <<<"$(aws ecs list-tasks --cluster "$cluster" --desired-status STOPPED --query 'taskArns[]' --output text)"
		[ "${#tasks[@]}" = 0 ] || aws ecs wait tasks-stopped --cluster "$cluster" --tasks "${tasks[@]}"
	fi
	if [ "$(get 'clusters[0].status' ecs describe-clusters --clusters "$cluster")" = ACTIVE ]; then
		aws ecs delete-cluster --cluster "$cluster" --query cluster.status --output text
	fi
	[ -z "$definition" ] || aws ecs deregister-task-definition --task-definition "$definition" --query taskDefinition.status --output text

	say "Name"
	space=$(namespace_id)
	if [ -n "$space" ]; then
		registry=$(registry "$space" Id)
		if [ -z "$registry" ] || aws servicediscovery delete-service --id "$registry"; then
			finished "$(aws servicediscovery delete-namespace --id "$space" --query OperationId --output text)"
		else
			echo "the name stays: another service is found under it"
		fi
	fi

	say "Load balancer"
	arn=$(balancer)
	if [ -n "$arn" ]; then
		aws elbv2 delete-load-balancer --load-balancer-arn "$arn" # its listeners go with it
		aws elbv2 wait load-balancers-deleted --load-balancer-arns "$arn"
	fi
	arn=$(target_group)
	[ -z "$arn" ] || aws elbv2 delete-target-group --target-group-arn "$arn"

	say "Security groups"
	for name in my-tasks my-alb; do # my-tasks refers to my-alb
		id=$(security_group "$name")
		[ -z "$id" ] || eventually aws ec2 delete-security-group --group-id "$id" --query Return --output text
	done
}

case ${1:-} in
up | update | show | down) "$1" ;;
*)
	sed -n '2,12s/^# \{0,1\}//p' "$0"
	exit 2
	;;
esac
