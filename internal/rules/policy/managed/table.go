package managed

// table is what is known of each policy besides its document, by name: path,
// version, when it was made, when that version was, and a description of ours.
var table = [...]entry{
	{
		"AWSAppMeshEnvoyAccess", "/", "v1", "2019-07-03T21:29:37Z", "2019-07-03T21:29:37Z",
		"What an Envoy of App Mesh needs to read its configuration.",
	},
	{
		"AWSApplicationAutoscalingECSServicePolicy", "/aws-service-role/", "v3", "2017-10-25T23:53:08Z", "2026-05-20T21:27:13Z",
		"What Application Auto Scaling's service-linked role for ECS may do.",
	},
	{
		"AWSCertificateManagerFullAccess", "/", "v2", "2016-01-21T17:02:36Z", "2020-08-17T22:18:28Z",
		"All actions of ACM.",
	},
	{
		"AWSCertificateManagerReadOnly", "/", "v7", "2016-01-21T17:07:33Z", "2026-08-13T18:07:23Z",
		"Reading of ACM.",
	},
	{
		"AWSCloudFormationFullAccess", "/", "v1", "2019-07-26T21:50:35Z", "2019-07-26T21:50:35Z",
		"All actions of CloudFormation.",
	},
	{
		"AWSCloudFormationReadOnlyAccess", "/", "v7", "2015-02-06T18:39:49Z", "2026-02-12T18:02:00Z",
		"Reading of CloudFormation.",
	},
	{
		"AWSCloudMapDiscoverInstanceAccess", "/", "v2", "2018-11-29T00:02:42Z", "2023-09-20T21:48:09Z",
		"Discovery of instances in Cloud Map.",
	},
	{
		"AWSCloudMapFullAccess", "/", "v2", "2018-11-28T23:57:31Z", "2020-07-29T19:15:35Z",
		"All actions of Cloud Map.",
	},
	{
		"AWSCloudMapReadOnlyAccess", "/", "v2", "2018-11-28T23:45:26Z", "2023-09-20T21:47:45Z",
		"Reading of Cloud Map.",
	},
	{
		"AWSCloudMapRegisterInstanceAccess", "/", "v3", "2018-11-29T00:04:57Z", "2023-09-20T21:47:06Z",
		"What a registrant needs to add and remove instances in Cloud Map.",
	},
	{
		"AWSCloudTrail_FullAccess", "/", "v3", "2020-10-08T23:41:15Z", "2021-02-22T19:01:00Z",
		"All actions of CloudTrail.",
	},
	{
		"AWSCloudTrail_ReadOnlyAccess", "/", "v1", "2022-06-14T17:19:05Z", "2022-06-14T17:19:05Z",
		"Reading of CloudTrail.",
	},
	{
		"AWSCodeBuildDeveloperAccess", "/", "v21", "2016-12-01T19:02:32Z", "2026-02-12T18:01:34Z",
		"What a developer needs of CodeBuild.",
	},
	{
		"AWSCodeDeployRoleForECS", "/", "v3", "2018-11-27T20:40:57Z", "2019-09-23T22:37:46Z",
		"What CodeDeploy needs for blue/green deployments of ECS services.",
	},
	{
		"AWSCodeDeployRoleForECSLimited", "/", "v3", "2018-11-27T20:42:42Z", "2019-09-23T22:10:29Z",
		"What CodeDeploy needs for blue/green deployments of ECS services, less than AWSCodeDeployRoleForECS.",
	},
	{
		"AWSDenyAll", "/", "v2", "2019-05-01T22:36:14Z", "2023-12-18T16:42:05Z",
		"Denies all actions.",
	},
	{
		"AWSKeyManagementServicePowerUser", "/", "v2", "2015-02-06T18:40:40Z", "2017-03-07T00:55:11Z",
		"Creating, listing and tagging of keys and aliases of KMS.",
	},
	{
		"AWSLambdaBasicExecutionRole", "/service-role/", "v1", "2015-04-09T15:03:43Z", "2015-04-09T15:03:43Z",
		"What a Lambda function needs to write its logs.",
	},
	{
		"AWSLambdaVPCAccessExecutionRole", "/service-role/", "v3", "2016-02-11T23:15:26Z", "2024-01-05T22:38:26Z",
		"What a Lambda function needs to run in a VPC.",
	},
	{
		"AWSLambda_FullAccess", "/", "v7", "2020-11-17T21:14:08Z", "2026-02-12T18:00:51Z",
		"All actions of Lambda and those of services that its console uses.",
	},
	{
		"AWSResourceGroupsReadOnlyAccess", "/", "v2", "2018-03-07T10:27:04Z", "2019-02-05T17:56:25Z",
		"Reading of Resource Groups.",
	},
	{
		"AWSSecretsManagerClientReadOnlyAccess", "/", "v4", "2025-11-05T20:04:08Z", "2026-06-02T20:42:11Z",
		"Reading of secrets and their metadata by a client.",
	},
	{
		"AWSStepFunctionsFullAccess", "/", "v1", "2017-01-11T21:51:32Z", "2017-01-11T21:51:32Z",
		"All actions of Step Functions.",
	},
	{
		"AWSXRayDaemonWriteAccess", "/", "v2", "2018-08-28T23:00:33Z", "2024-02-13T21:58:30Z",
		"What the X-Ray daemon needs to send traces.",
	},
	{
		"AWSXrayFullAccess", "/", "v2", "2016-12-01T18:30:55Z", "2024-04-11T17:07:36Z",
		"All actions of X-Ray.",
	},
	{
		"AWSXrayReadOnlyAccess", "/", "v8", "2016-12-01T18:27:02Z", "2024-02-14T00:35:02Z",
		"Reading of X-Ray.",
	},
	{
		"AWSXrayWriteOnlyAccess", "/", "v2", "2016-12-01T18:19:53Z", "2018-08-28T23:03:04Z",
		"Sending of traces to X-Ray.",
	},
	{
		"AdministratorAccess", "/", "v1", "2015-02-06T18:39:46Z", "2015-02-06T18:39:46Z",
		"All actions on all resources.",
	},
	{
		"AmazonDynamoDBFullAccess", "/", "v15", "2015-02-06T18:40:11Z", "2021-01-29T17:38:30Z",
		"All actions of DynamoDB and those of services that its console uses.",
	},
	{
		"AmazonDynamoDBFullAccess_v2", "/", "v3", "2025-05-22T14:52:06Z", "2026-02-12T18:02:57Z",
		"All actions of DynamoDB.",
	},
	{
		"AmazonDynamoDBReadOnlyAccess", "/", "v15", "2015-02-06T18:40:12Z", "2024-11-18T17:38:15Z",
		"Reading of DynamoDB.",
	},
	{
		"AmazonEC2ContainerRegistryFullAccess", "/", "v3", "2015-12-21T17:06:48Z", "2020-12-05T00:04:19Z",
		"All actions of ECR.",
	},
	{
		"AmazonEC2ContainerRegistryPowerUser", "/", "v3", "2015-12-21T17:05:33Z", "2019-12-10T20:48:08Z",
		"Pulls from and pushes to ECR, without deleting repositories or changing their policies.",
	},
	{
		"AmazonEC2ContainerRegistryPullOnly", "/", "v1", "2024-10-04T16:58:49Z", "2024-10-04T16:58:49Z",
		"Pulls from ECR.",
	},
	{
		"AmazonEC2ContainerRegistryReadOnly", "/", "v3", "2015-12-21T17:04:15Z", "2019-12-10T20:56:32Z",
		"Pulls from ECR and reading of its repositories.",
	},
	{
		"AmazonEC2ContainerServiceAutoscaleRole", "/service-role/", "v2", "2016-05-12T23:25:44Z", "2018-02-05T19:15:15Z",
		"What the older role of Application Auto Scaling needs for services of ECS.",
	},
	{
		"AmazonEC2ContainerServiceEventsRole", "/service-role/", "v3", "2017-05-30T16:51:35Z", "2023-03-06T22:25:12Z",
		"What EventBridge needs to run tasks.",
	},
	{
		"AmazonEC2ContainerServiceRole", "/service-role/", "v2", "2015-04-09T16:14:19Z", "2016-08-11T13:08:01Z",
		"What the older role of ECS needs to register targets with load balancers.",
	},
	{
		"AmazonEC2ContainerServiceforEC2Role", "/service-role/", "v10", "2015-03-19T18:45:18Z", "2026-02-12T17:59:52Z",
		"What a container instance's role needs.",
	},
	{
		"AmazonEC2FullAccess", "/", "v5", "2015-02-06T18:40:15Z", "2018-11-27T02:16:56Z",
		"All actions of EC2.",
	},
	{
		"AmazonEC2ReadOnlyAccess", "/", "v5", "2015-02-06T18:40:17Z", "2026-02-12T18:03:17Z",
		"Reading of EC2.",
	},
	{
		"AmazonECSComputeServiceRolePolicy", "/aws-service-role/", "v6", "2025-03-24T17:37:06Z", "2026-02-12T17:57:51Z",
		"What the service-linked role of ECS's managed compute may do.",
	},
	{
		"AmazonECSInfrastructureRolePolicyForLoadBalancers", "/", "v6", "2025-07-17T16:37:07Z", "2026-02-12T18:01:05Z",
		"What an infrastructure role needs to change load balancers during deployments.",
	},
	{
		"AmazonECSInfrastructureRolePolicyForManagedInstances", "/", "v11", "2025-09-26T18:04:07Z", "2026-02-26T18:27:10Z",
		"What an infrastructure role needs to launch managed instances.",
	},
	{
		"AmazonECSInfrastructureRolePolicyForServiceConnectTransportLayerSecurity", "/service-role/", "v4", "2024-01-19T20:08:36Z", "2026-02-12T18:02:05Z",
		"What an infrastructure role needs to manage certificates of Service Connect.",
	},
	{
		"AmazonECSInfrastructureRolePolicyForVolumes", "/service-role/", "v5", "2024-01-10T22:56:41Z", "2026-02-12T18:02:34Z",
		"What an infrastructure role needs to manage EBS volumes of tasks.",
	},
	{
		"AmazonECSInfrastructureRolePolicyForVpcLattice", "/", "v1", "2024-11-15T20:02:55Z", "2024-11-15T20:02:55Z",
		"What an infrastructure role needs to register tasks with VPC Lattice.",
	},
	{
		"AmazonECSInfrastructureRoleforExpressGatewayServices", "/service-role/", "v6", "2025-11-12T20:34:08Z", "2026-02-12T18:01:54Z",
		"What an infrastructure role needs for express services.",
	},
	{
		"AmazonECSInstanceRolePolicyForManagedInstances", "/", "v4", "2025-09-26T23:49:07Z", "2026-07-02T02:57:22Z",
		"What the role of a managed instance needs.",
	},
	{
		"AmazonECSServiceRolePolicy", "/aws-service-role/", "v24", "2017-10-14T01:18:58Z", "2026-04-22T23:12:09Z",
		"What ECS's service-linked role may do.",
	},
	{
		"AmazonECSTaskExecutionRolePolicy", "/service-role/", "v1", "2017-11-16T18:48:22Z", "2017-11-16T18:48:22Z",
		"What a task's execution role needs: pulls from ECR and writes to CloudWatch Logs.",
	},
	{
		"AmazonECS_FullAccess", "/", "v21", "2017-11-07T21:36:54Z", "2024-08-13T19:39:37Z",
		"All actions of ECS and those of other services that its console uses.",
	},
	{
		"AmazonElastiCacheFullAccess", "/", "v3", "2015-02-06T18:40:20Z", "2023-11-28T03:49:56Z",
		"All actions of ElastiCache.",
	},
	{
		"AmazonElasticFileSystemClientFullAccess", "/", "v1", "2020-01-13T16:27:00Z", "2020-01-13T16:27:00Z",
		"Mounting of EFS file systems as root.",
	},
	{
		"AmazonElasticFileSystemClientReadOnlyAccess", "/", "v1", "2020-01-13T16:24:36Z", "2020-01-13T16:24:36Z",
		"Mounting of EFS file systems for reading.",
	},
	{
		"AmazonElasticFileSystemClientReadWriteAccess", "/", "v1", "2020-01-13T16:21:55Z", "2020-01-13T16:21:55Z",
		"Mounting of EFS file systems for reading and writing.",
	},
	{
		"AmazonElasticFileSystemFullAccess", "/", "v10", "2015-05-27T16:22:28Z", "2024-11-07T19:34:20Z",
		"All actions of EFS.",
	},
	{
		"AmazonElasticFileSystemReadOnlyAccess", "/", "v9", "2015-05-27T16:25:25Z", "2024-11-07T19:39:56Z",
		"Reading of EFS.",
	},
	{
		"AmazonEventBridgeFullAccess", "/", "v7", "2019-07-11T14:08:55Z", "2026-02-12T17:58:25Z",
		"All actions of EventBridge.",
	},
	{
		"AmazonEventBridgeReadOnlyAccess", "/", "v6", "2019-07-11T13:59:07Z", "2022-12-01T17:02:48Z",
		"Reading of EventBridge.",
	},
	{
		"AmazonEventBridgeSchedulerFullAccess", "/", "v4", "2022-11-10T18:37:25Z", "2026-02-12T18:03:15Z",
		"All actions of EventBridge Scheduler.",
	},
	{
		"AmazonKinesisFullAccess", "/", "v1", "2015-02-06T18:40:29Z", "2015-02-06T18:40:29Z",
		"All actions of Kinesis.",
	},
	{
		"AmazonKinesisReadOnlyAccess", "/", "v1", "2015-02-06T18:40:30Z", "2015-02-06T18:40:30Z",
		"Reading of Kinesis.",
	},
	{
		"AmazonPrometheusRemoteWriteAccess", "/", "v1", "2020-12-19T01:04:32Z", "2020-12-19T01:04:32Z",
		"Remote writes to Amazon Managed Service for Prometheus.",
	},
	{
		"AmazonRDSFullAccess", "/", "v14", "2015-02-06T18:40:52Z", "2023-08-17T23:00:17Z",
		"All actions of RDS.",
	},
	{
		"AmazonRDSReadOnlyAccess", "/", "v7", "2015-02-06T18:40:53Z", "2023-04-14T12:32:09Z",
		"Reading of RDS.",
	},
	{
		"AmazonRoute53FullAccess", "/", "v7", "2015-02-06T18:40:54Z", "2026-02-12T18:00:40Z",
		"All actions of Route 53.",
	},
	{
		"AmazonRoute53ReadOnlyAccess", "/", "v2", "2015-02-06T18:40:55Z", "2016-11-15T21:15:16Z",
		"Reading of Route 53.",
	},
	{
		"AmazonS3FullAccess", "/", "v2", "2015-02-06T18:40:58Z", "2021-09-27T20:16:37Z",
		"All actions of S3.",
	},
	{
		"AmazonS3ReadOnlyAccess", "/", "v3", "2015-02-06T18:40:59Z", "2023-08-10T21:31:39Z",
		"Reading of S3.",
	},
	{
		"AmazonSESFullAccess", "/", "v1", "2015-02-06T18:41:02Z", "2015-02-06T18:41:02Z",
		"All actions of SES.",
	},
	{
		"AmazonSNSFullAccess", "/", "v2", "2015-02-06T18:41:05Z", "2024-09-24T22:32:05Z",
		"All actions of SNS.",
	},
	{
		"AmazonSNSReadOnlyAccess", "/", "v2", "2015-02-06T18:41:06Z", "2024-09-24T22:13:12Z",
		"Reading of SNS.",
	},
	{
		"AmazonSQSFullAccess", "/", "v1", "2015-02-06T18:41:07Z", "2015-02-06T18:41:07Z",
		"All actions of SQS.",
	},
	{
		"AmazonSQSReadOnlyAccess", "/", "v4", "2015-02-06T18:41:08Z", "2024-05-24T18:16:44Z",
		"Reading of SQS.",
	},
	{
		"AmazonSSMAutomationRole", "/service-role/", "v9", "2016-12-05T22:09:55Z", "2026-03-20T17:42:14Z",
		"What Systems Manager's automation needs to run.",
	},
	{
		"AmazonSSMFullAccess", "/", "v4", "2015-05-29T17:39:47Z", "2019-11-20T20:08:56Z",
		"All actions of Systems Manager.",
	},
	{
		"AmazonSSMManagedEC2InstanceDefaultPolicy", "/", "v2", "2022-08-30T20:54:27Z", "2024-07-16T18:14:07Z",
		"What Systems Manager needs on EC2 instances that have no profile of their own.",
	},
	{
		"AmazonSSMManagedInstanceCore", "/", "v2", "2019-03-15T17:22:12Z", "2019-05-23T16:54:21Z",
		"What a host needs to be managed by Systems Manager.",
	},
	{
		"AmazonSSMReadOnlyAccess", "/", "v1", "2015-05-29T17:44:19Z", "2015-05-29T17:44:19Z",
		"Reading of Systems Manager.",
	},
	{
		"AmazonVPCFullAccess", "/", "v13", "2015-02-06T18:41:16Z", "2026-02-12T18:00:44Z",
		"All actions on VPCs.",
	},
	{
		"AmazonVPCReadOnlyAccess", "/", "v12", "2015-02-06T18:41:17Z", "2026-02-12T17:58:19Z",
		"Reading of VPCs.",
	},
	{
		"AutoScalingFullAccess", "/", "v2", "2017-01-12T19:31:58Z", "2018-02-06T21:59:13Z",
		"All actions of EC2 Auto Scaling.",
	},
	{
		"AutoScalingReadOnlyAccess", "/", "v1", "2017-01-12T19:39:35Z", "2017-01-12T19:39:35Z",
		"Reading of EC2 Auto Scaling.",
	},
	{
		"Billing", "/job-function/", "v30", "2016-11-10T17:33:18Z", "2026-07-30T22:12:16Z",
		"Reading and setting of billing and costs.",
	},
	{
		"CloudWatchAgentAdminPolicy", "/", "v2", "2018-03-07T00:52:31Z", "2024-02-05T20:59:57Z",
		"What the CloudWatch agent needs to store its configuration.",
	},
	{
		"CloudWatchAgentServerPolicy", "/", "v3", "2018-03-07T01:06:44Z", "2024-02-06T16:37:37Z",
		"What the CloudWatch agent needs on a server.",
	},
	{
		"CloudWatchEventsFullAccess", "/", "v5", "2016-01-14T18:37:08Z", "2026-02-12T18:00:32Z",
		"All actions of CloudWatch Events.",
	},
	{
		"CloudWatchEventsReadOnlyAccess", "/", "v3", "2016-01-14T18:27:18Z", "2022-12-01T16:29:31Z",
		"Reading of CloudWatch Events.",
	},
	{
		"CloudWatchFullAccess", "/", "v4", "2015-02-06T18:40:00Z", "2022-11-27T13:23:49Z",
		"All actions of CloudWatch; CloudWatchFullAccessV2 replaces it.",
	},
	{
		"CloudWatchFullAccessV2", "/", "v16", "2023-08-01T11:32:57Z", "2026-06-08T13:27:16Z",
		"All actions of CloudWatch.",
	},
	{
		"CloudWatchLogsFullAccess", "/", "v8", "2015-02-06T18:40:02Z", "2026-02-12T18:00:33Z",
		"All actions of CloudWatch Logs.",
	},
	{
		"CloudWatchLogsReadOnlyAccess", "/", "v12", "2015-02-06T18:40:03Z", "2026-02-12T17:59:13Z",
		"Reading of CloudWatch Logs.",
	},
	{
		"CloudWatchReadOnlyAccess", "/", "v24", "2015-02-06T18:40:01Z", "2026-02-12T18:01:50Z",
		"Reading of CloudWatch.",
	},
	{
		"DatabaseAdministrator", "/job-function/", "v5", "2016-11-10T17:25:43Z", "2026-02-12T18:02:20Z",
		"What a database administrator needs to set up and run databases.",
	},
	{
		"ElasticLoadBalancingFullAccess", "/", "v9", "2018-09-20T20:42:07Z", "2026-02-23T18:57:07Z",
		"All actions of Elastic Load Balancing.",
	},
	{
		"ElasticLoadBalancingReadOnly", "/", "v3", "2018-09-20T20:17:09Z", "2023-11-26T18:15:46Z",
		"Reading of Elastic Load Balancing.",
	},
	{
		"IAMAccessAdvisorReadOnly", "/", "v1", "2019-06-21T19:33:45Z", "2019-06-21T19:33:45Z",
		"Reading of what IAM's access advisor shows.",
	},
	{
		"IAMFullAccess", "/", "v2", "2015-02-06T18:40:38Z", "2019-06-21T19:40:00Z",
		"All actions of IAM.",
	},
	{
		"IAMReadOnlyAccess", "/", "v4", "2015-02-06T18:40:39Z", "2018-01-25T19:11:27Z",
		"Reading of IAM.",
	},
	{
		"IAMSelfManageServiceSpecificCredentials", "/", "v1", "2016-12-22T17:25:18Z", "2016-12-22T17:25:18Z",
		"Lets a user manage the service-specific credentials that are the user's own.",
	},
	{
		"IAMUserChangePassword", "/", "v5", "2016-11-15T00:25:16Z", "2026-02-12T17:58:57Z",
		"Lets a user change the password that is the user's own.",
	},
	{
		"NetworkAdministrator", "/job-function/", "v16", "2016-11-10T17:31:35Z", "2026-07-09T14:42:15Z",
		"What a network administrator needs to set up and run networks.",
	},
	{
		"PowerUserAccess", "/", "v12", "2015-02-06T18:39:47Z", "2026-02-12T17:59:14Z",
		"All actions but the management of users, groups, roles and the organization.",
	},
	{
		"ReadOnlyAccess", "/", "v188", "2015-02-06T18:39:48Z", "2026-07-21T18:42:30Z",
		"Reading of all services and resources.",
	},
	{
		"ResourceGroupsandTagEditorFullAccess", "/", "v6", "2015-02-06T18:39:53Z", "2023-08-10T13:29:19Z",
		"All actions of Resource Groups and of the tag editor.",
	},
	{
		"ResourceGroupsandTagEditorReadOnlyAccess", "/", "v3", "2015-02-06T18:39:54Z", "2023-08-10T13:42:58Z",
		"Reading of Resource Groups and tags.",
	},
	{
		"SecretsManagerReadWrite", "/", "v6", "2018-04-04T18:05:29Z", "2026-08-25T23:37:10Z",
		"All actions of Secrets Manager but changes of IAM that rotation needs.",
	},
	{
		"SecurityAudit", "/", "v92", "2015-02-06T18:41:01Z", "2026-08-17T15:27:26Z",
		"Reading of the configuration that a security audit looks at.",
	},
	{
		"SupportUser", "/job-function/", "v11", "2016-11-10T17:21:53Z", "2026-02-12T18:03:12Z",
		"What a person in support needs to find and settle problems in an account.",
	},
	{
		"SystemAdministrator", "/job-function/", "v12", "2016-11-10T17:23:56Z", "2026-02-12T18:02:37Z",
		"What a system administrator needs to set up and run an application's resources.",
	},
	{
		"ViewOnlyAccess", "/job-function/", "v45", "2016-11-10T17:20:15Z", "2026-04-22T18:12:21Z",
		"Listing of resources and their metadata in all services, without their contents.",
	},
}
