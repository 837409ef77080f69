package telemetry

// Keys of structured log attributes.
const (
	Room         = "room" // the package that speaks, such as control/dispatch
	TaskARN      = "task_arn"
	TaskID       = "task_id"
	ClusterARN   = "cluster_arn"
	ServiceARN   = "service_arn"
	DeploymentID = "deployment_id"
	InstanceARN  = "instance_arn"
	InstanceID   = "instance_id"
	Container    = "container"
	Session      = "session_id"
	ENI          = "eni_id"
	VPC          = "vpc_id"
	LogGroup     = "log_group"
	LogStream    = "log_stream"
	RequestID    = "request_id"
	Service      = "aws_service"
	Operation    = "operation"
	Revision     = "rev"
	Path         = "path"
	Address      = "address"
	Reason       = "reason"
	ServiceID    = "service_id"
	Event        = "event"
	Error        = "error"
)
