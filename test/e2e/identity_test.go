package e2e_test

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudtrail"
	trailtypes "github.com/aws/aws-sdk-go-v2/service/cloudtrail/types"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	ssmtypes "github.com/aws/aws-sdk-go-v2/service/ssm/types"
	"github.com/aws/aws-sdk-go-v2/service/sts"
)

// sample is a container that answers with examples/sample-app on port 3000.
func sample() types.ContainerDefinition {
	return types.ContainerDefinition{
		Name: aws.String("app"), Image: aws.String(sampleImage), Essential: aws.Bool(true),
		PortMappings: []types.PortMapping{{ContainerPort: aws.Int32(3000)}},
	}
}

// env names a container's environment variable after a secret.
func env(name, from string) types.Secret { return types.Secret{Name: &name, ValueFrom: &from} }

// says asks the sample app until it answers, and returns what it says: its SDK is as it comes, and takes a moment.
func (k *task) says(t *testing.T, path string) string {
	t.Helper()
	var said string
	eventually(t, path, func() error {
		var err error
		said, err = k.ask(t.Context(), 3000, path)
		if err != nil && !strings.Contains(err.Error(), "StatusCode") { // an answer, but not 200
			return err
		}
		if err != nil {
			said = err.Error()
		}
		return nil
	})
	return strings.TrimSpace(said)
}

func hash(value string) string { return fmt.Sprintf("%x", sha256.Sum256([]byte(value))) }

// The first task definition of a new user, with its roles and secrets, works as it is: the execution role fetches the
// secrets, the task role's credentials reach the SDK inside the container, and what it may not do is denied and recorded.
func TestSeedRolesAndSecretsWorkUnchanged(t *testing.T) {
	t.Parallel()
	b := start(t, "--cpu-units", "12288", "--memory-mib", "65536")
	ctx := t.Context()
	password, token, apiKey := "pw-"+random(), "tok-"+random(), "key-"+random()
	plain := must(b.secrets.CreateSecret(ctx, &secretsmanager.CreateSecretInput{Name: aws.String("db-password"), SecretString: &password}))(t)
	creds, err := json.Marshal(map[string]string{"user": "app", "password": token})
	if err != nil {
		t.Fatal(err)
	}
	must(b.secrets.CreateSecret(ctx, &secretsmanager.CreateSecretInput{Name: aws.String("db-creds"), SecretString: aws.String(string(creds))}))(t)
	must(b.parameters.PutParameter(ctx, &ssm.PutParameterInput{Name: aws.String("/myapp/api-key"), Type: ssmtypes.ParameterTypeSecureString, Value: &apiKey}))(t)
	// The policies of the issue: ssm:GetParameters is what a parameter needs on AWS too.
	for name, policy := range map[string]string{
		"ecsTaskExecutionRole": allow("*", "ecr:GetAuthorizationToken", "ecr:BatchCheckLayerAvailability", "ecr:GetDownloadUrlForLayer", "ecr:BatchGetImage",
			"logs:CreateLogStream", "logs:PutLogEvents", "secretsmanager:GetSecretValue", "ssm:GetParameters", "logs:CreateLogGroup"),
		"ecsTaskRole": allow("*", "s3:GetObject", "s3:PutObject", "dynamodb:GetItem", "dynamodb:PutItem"),
	} {
		if err := b.ensureRole(ctx, name, taskTrust, policy); err != nil {
			t.Fatal(err)
		}
	}
	def := fargate(sample())
	def.Family, def.TaskRoleArn = aws.String("my-app"), aws.String("arn:aws:iam::123456789012:role/ecsTaskRole")
	app := &def.ContainerDefinitions[0]
	app.Environment = []types.KeyValuePair{{Name: aws.String("NODE_ENV"), Value: aws.String("production")}}
	app.Secrets = []types.Secret{
		env("DB_PASSWORD", "arn:aws:secretsmanager:us-east-1:123456789012:secret:db-password"),
		env("DB_PASSWORD_WHOLE_ARN", *plain.ARN),
		env("DB_CREDS_PASSWORD", "arn:aws:secretsmanager:us-east-1:123456789012:secret:db-creds:password::"),
		env("API_KEY", "arn:aws:ssm:us-east-1:123456789012:parameter/myapp/api-key"),
		env("API_KEY_BY_NAME", "/myapp/api-key"),
	}
	k := b.run(t, def)
	k.awaitStatus(t, "RUNNING")
	for name, want := range map[string]string{
		"DB_PASSWORD": password, "DB_PASSWORD_WHOLE_ARN": password, "DB_CREDS_PASSWORD": token, "API_KEY": apiKey, "API_KEY_BY_NAME": apiKey,
	} {
		if got := k.says(t, "/secret/"+name); got != hash(want) {
			t.Errorf("%s has hash %s, want that of the secret", name, got)
		}
	}
	if got, want := k.says(t, "/whoami"), "arn:aws:sts::123456789012:assumed-role/ecsTaskRole/"+k.id; got != want {
		t.Errorf("the task is %q, want %q", got, want)
	}
	denied := k.says(t, "/tasks")
	if want := "User: arn:aws:sts::123456789012:assumed-role/ecsTaskRole/" + k.id + " is not authorized to perform: ecs:ListTasks on resource: * because no identity-based policy allows the ecs:ListTasks action"; !strings.Contains(denied, want) || !strings.Contains(denied, "AccessDeniedException") {
		t.Errorf("the task hears %q, want %q", denied, want)
	}
	k.logged(t, "app", "listening on")
	auditedDenial(t, b, k)

	// The role may do more from now on, without a new task.
	must(b.iam.PutRolePolicy(ctx, &iam.PutRolePolicyInput{RoleName: aws.String("ecsTaskRole"), PolicyName: aws.String("list"), PolicyDocument: aws.String(allow("*", "ecs:ListTasks"))}))(t)
	if got := k.says(t, "/tasks"); got != k.arn {
		t.Errorf("the task sees %q, want %q", got, k.arn)
	}
	for _, said := range []string{described(t, b, k), whyOf(t, b, k)} {
		for _, secret := range []string{password, token, apiKey} {
			if strings.Contains(said, secret) {
				t.Errorf("a secret is told: %s", said)
			}
		}
	}
}

// auditedDenial finds the record of a call that the task was denied.
func auditedDenial(t *testing.T, b *berth, k *task) {
	t.Helper()
	eventually(t, "the audit's record", func() error {
		out, err := b.trail.LookupEvents(t.Context(), &cloudtrail.LookupEventsInput{LookupAttributes: []trailtypes.LookupAttribute{
			{AttributeKey: trailtypes.LookupAttributeKeyEventName, AttributeValue: aws.String("ListTasks")},
		}})
		if err != nil {
			return err
		}
		for _, e := range out.Events {
			var record struct {
				ErrorCode       string
				SourceIPAddress string
				UserIdentity    struct{ Type, ARN string }
			}
			if err := json.Unmarshal([]byte(*e.CloudTrailEvent), &record); err != nil {
				return err
			}
			if record.ErrorCode == "AccessDenied" || record.ErrorCode == "AccessDeniedException" {
				if record.UserIdentity.Type != "AssumedRole" || !strings.HasSuffix(record.UserIdentity.ARN, k.id) || record.SourceIPAddress != k.address {
					t.Errorf("the record is %s", *e.CloudTrailEvent)
				}
				return nil
			}
		}
		return fmt.Errorf("none of %d events is denied", len(out.Events))
	})
}

// described is everything that DescribeTaskDefinition and DescribeTasks say.
func described(t *testing.T, b *berth, k *task) string {
	t.Helper()
	def := must(b.ecs.DescribeTaskDefinition(t.Context(), &ecs.DescribeTaskDefinitionInput{TaskDefinition: &k.family}))(t)
	text, err := json.Marshal([]any{def.TaskDefinition, must(k.describe(t.Context()))(t)})
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func whyOf(t *testing.T, b *berth, k *task) string {
	t.Helper()
	return must(b.command(t.Context(), "why", k.id))(t) + must(b.command(t.Context(), "ps", "-a", "-o", "json"))(t)
}

// A missing permission, secret or role stops the task with the reason that AWS gives, and names what is missing.
func TestMissingPermissionsStopTheTaskAsOnAWS(t *testing.T) {
	t.Parallel()
	b, ctx := shared, t.Context()
	name := "e2e/" + random()
	secret := must(b.secrets.CreateSecret(ctx, &secretsmanager.CreateSecretInput{Name: &name, SecretString: aws.String(`{"user":"app"}`)}))(t)
	_, mayNothing := b.newRole(t, taskTrust, allow("*", "logs:CreateLogStream", "logs:CreateLogGroup", "logs:PutLogEvents"))
	_, mayNotLog := b.newRole(t, taskTrust, allow("*", "secretsmanager:GetSecretValue"))
	_, untrusting := b.newRole(t, strings.ReplaceAll(taskTrust, "ecs-tasks", "ec2"), executionPolicy)
	gone := "arn:aws:iam::123456789012:role/gone-" + random()
	const pulling = "ResourceInitializationError: unable to pull secrets or registry auth: "
	for _, test := range []struct {
		name   string
		change func(*ecs.RegisterTaskDefinitionInput)
		want   []string
	}{
		{"secret denied", func(d *ecs.RegisterTaskDefinitionInput) {
			d.ExecutionRoleArn, d.ContainerDefinitions[0].Secrets = &mayNothing, []types.Secret{env("A", *secret.ARN)}
		}, []string{pulling, "unable to retrieve secret from asm", "is not authorized to perform: secretsmanager:GetSecretValue on resource: " + *secret.ARN + " because no identity-based policy allows the secretsmanager:GetSecretValue action"}},
		{"secret missing", func(d *ecs.RegisterTaskDefinitionInput) {
			d.ContainerDefinitions[0].Secrets = []types.Secret{env("A", *secret.ARN+"gone")}
		}, []string{pulling, *secret.ARN + "gone", "ResourceNotFoundException: Secrets Manager can't find the specified secret."}},
		{"json key missing", func(d *ecs.RegisterTaskDefinitionInput) {
			d.ContainerDefinitions[0].Secrets = []types.Secret{env("A", *secret.ARN+":password::")}
		}, []string{pulling, "retrieved secret from Secrets Manager did not contain json key password"}},
		{"parameter missing", func(d *ecs.RegisterTaskDefinitionInput) {
			d.ContainerDefinitions[0].Secrets = []types.Secret{env("A", "/no/such")}
		}, []string{pulling, "unable to retrieve secrets from ssm", "invalid ssm parameters: /no/such"}},
		{"parameter denied", func(d *ecs.RegisterTaskDefinitionInput) {
			d.ExecutionRoleArn, d.ContainerDefinitions[0].Secrets = &mayNothing, []types.Secret{env("A", "/no/such")}
		}, []string{pulling, "is not authorized to perform: ssm:GetParameters on resource: arn:aws:ssm:us-east-1:123456789012:parameter/no/such"}},
		{
			"log stream denied", func(d *ecs.RegisterTaskDefinitionInput) { d.ExecutionRoleArn = &mayNotLog },
			[]string{"ResourceInitializationError: failed to validate logger args", "is not authorized to perform: logs:CreateLog"},
		},
		{
			"execution role gone", func(d *ecs.RegisterTaskDefinitionInput) { d.ExecutionRoleArn = &gone },
			[]string{"ECS was unable to assume the role '" + gone + "' that was provided for this task."},
		},
		{
			"task role not trusting", func(d *ecs.RegisterTaskDefinitionInput) { d.TaskRoleArn = &untrusting },
			[]string{"ECS was unable to assume the role '" + untrusting + "' that was provided for this task."},
		},
		{"registry not allowed", func(d *ecs.RegisterTaskDefinitionInput) {
			d.ExecutionRoleArn, d.ContainerDefinitions[0].Image = &mayNothing, aws.String("123456789012.dkr.ecr.us-east-1.amazonaws.com/e2e:1")
		}, []string{"is not authorized to perform: ecr:GetAuthorizationToken on resource: * because no identity-based policy allows the ecr:GetAuthorizationToken action"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			def := fargate(container("app", "wait"))
			test.change(def)
			got := b.run(t, def).awaitStatus(t, "STOPPED")
			if got.StopCode != types.TaskStopCodeTaskFailedToStart {
				t.Errorf("stopCode %s", got.StopCode)
			}
			for _, want := range test.want {
				if !strings.Contains(aws.ToString(got.StoppedReason), want) {
					t.Errorf("stoppedReason %q, want %q in it", aws.ToString(got.StoppedReason), want)
				}
			}
		})
	}
}

// A principal may do what its policies say, hand over only the roles that it may pass, and nothing once it is gone.
func TestPrincipalsMayWhatTheirPoliciesSay(t *testing.T) {
	t.Parallel()
	b, ctx := shared, t.Context()
	user := "e2e-" + random()
	must(b.iam.CreateUser(ctx, &iam.CreateUserInput{UserName: &user}))(t)
	key := must(b.iam.CreateAccessKey(ctx, &iam.CreateAccessKeyInput{UserName: &user}))(t).AccessKey
	put := func(policy string) {
		must(b.iam.PutUserPolicy(ctx, &iam.PutUserPolicyInput{UserName: &user, PolicyName: aws.String("p"), PolicyDocument: &policy}))(t)
	}
	as := b.as(t, *key.AccessKeyId, *key.SecretAccessKey, "")
	if _, err := as.ecs.ListClusters(ctx, &ecs.ListClustersInput{}); !hasCode(err, "AccessDeniedException") || !strings.Contains(err.Error(), ":user/"+user+" is not authorized to perform: ecs:ListClusters on resource: * because no identity-based policy allows the ecs:ListClusters action") {
		t.Errorf("without a policy: %v", err)
	}
	put(allow("*", "ecs:RegisterTaskDefinition", "ecs:ListClusters"))
	must(as.ecs.ListClusters(ctx, &ecs.ListClustersInput{}))(t)
	_, role := b.newRole(t, taskTrust, executionPolicy)
	def := fargate(container("app", "wait"))
	def.ExecutionRoleArn = &role
	if _, err := as.ecs.RegisterTaskDefinition(ctx, def); !hasCode(err, "AccessDeniedException") || !strings.Contains(err.Error(), "is not authorized to perform: iam:PassRole on resource: "+role+" because no identity-based policy allows the iam:PassRole action") {
		t.Errorf("a role that it may not pass: %v", err)
	}
	put(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"ecs:*","Resource":"*"},
		{"Effect":"Allow","Action":"iam:PassRole","Resource":"` + role + `","Condition":{"StringEquals":{"iam:PassedToService":"ecs-tasks.amazonaws.com"}}},
		{"Effect":"Deny","Action":"ecs:RunTask","Resource":"*","Condition":{"ArnNotEquals":{"ecs:cluster":"arn:aws:ecs:us-east-1:123456789012:cluster/other"}}}]}`)
	registered := must(as.ecs.RegisterTaskDefinition(ctx, def))(t).TaskDefinition
	_, err := as.ecs.RunTask(ctx, &ecs.RunTaskInput{TaskDefinition: registered.TaskDefinitionArn})
	if !hasCode(err, "AccessDeniedException") || !strings.Contains(err.Error(), "with an explicit deny in an identity-based policy") {
		t.Errorf("an explicit deny by cluster: %v", err)
	}
	must(b.iam.UpdateAccessKey(ctx, &iam.UpdateAccessKeyInput{UserName: &user, AccessKeyId: key.AccessKeyId, Status: "Inactive"}))(t)
	if _, err := as.ecs.ListClusters(ctx, &ecs.ListClustersInput{}); !hasCode(err, "UnrecognizedClientException") {
		t.Errorf("with an inactive key: %v", err)
	}
}

// A role is assumed with an external id, limited by a session policy, and worth nothing once it is gone.
func TestAssumedRolesAreLimitedAndEnd(t *testing.T) {
	t.Parallel()
	b, ctx := shared, t.Context()
	name, role := b.newRole(t, `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"123456789012"},"Action":"sts:AssumeRole","Condition":{"StringEquals":{"sts:ExternalId":"sesame"}}}]}`, allow("*", "ecs:*"))
	// Root needs the trust policy's word too.
	in := &sts.AssumeRoleInput{RoleArn: &role, RoleSessionName: aws.String("tester")}
	if _, err := b.sts.AssumeRole(ctx, in); !hasCode(err, "AccessDenied") || !strings.Contains(err.Error(), "is not authorized to perform: sts:AssumeRole on resource: "+role) {
		t.Errorf("without the external id: %v", err)
	}
	in.ExternalId, in.Policy = aws.String("sesame"), aws.String(allow("*", "ecs:ListClusters"))
	out := must(b.sts.AssumeRole(ctx, in))(t)
	as := b.as(t, *out.Credentials.AccessKeyId, *out.Credentials.SecretAccessKey, *out.Credentials.SessionToken)
	if who := must(as.sts.GetCallerIdentity(ctx, &sts.GetCallerIdentityInput{}))(t); *who.Arn != "arn:aws:sts::123456789012:assumed-role/"+name+"/tester" {
		t.Errorf("the session is %s", *who.Arn)
	}
	must(as.ecs.ListClusters(ctx, &ecs.ListClustersInput{}))(t)
	if _, err := as.ecs.ListServices(ctx, &ecs.ListServicesInput{}); !hasCode(err, "AccessDeniedException") || !strings.Contains(err.Error(), "because no session policy allows the ecs:ListServices action") {
		t.Errorf("beyond the session policy: %v", err)
	}
	must(b.iam.DeleteRolePolicy(ctx, &iam.DeleteRolePolicyInput{RoleName: &name, PolicyName: aws.String("allowed")}))(t)
	must(b.iam.DeleteRole(ctx, &iam.DeleteRoleInput{RoleName: &name}))(t)
	if _, err := as.ecs.ListClusters(ctx, &ecs.ListClustersInput{}); err == nil {
		t.Error("a session outlives its role")
	}
}

// Credentials of the task role reach containers in network modes bridge and host too, and nobody else's reach them.
func TestTaskRoleInOtherNetworkModes(t *testing.T) {
	t.Parallel()
	b := shared
	name, role := b.newRole(t, taskTrust, allow("*", "ecs:ListTasks"))
	run := func(mode types.NetworkMode, port, hostPort int32) inside {
		def := modeled(mode, port, hostPort)
		def.TaskRoleArn = &role
		k := b.runIn(t, def, func(in *ecs.RunTaskInput) { in.NetworkConfiguration = nil })
		described := k.awaitStatus(t, "RUNNING")
		if mode == types.NetworkModeBridge {
			port = *described.Containers[0].NetworkBindings[0].HostPort
		}
		answersAt(t, "127.0.0.1", port)
		k.address = "127.0.0.1"
		return inside{k, int(port)}
	}
	free := freePort(t)
	bridge, host := run(types.NetworkModeBridge, 8080, 0), run(types.NetworkModeHost, free, free)
	relative, full := bridge.ask(t, "/env", "name", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"), host.ask(t, "/env", "name", "AWS_CONTAINER_CREDENTIALS_FULL_URI")
	for url, in := range map[string]inside{"http://169.254.170.2" + relative: bridge, full: host} {
		var got struct{ RoleArn, AccessKeyId, SecretAccessKey, Token string } //nolint:revive,staticcheck // AWS's names
		if err := json.Unmarshal([]byte(in.ask(t, "/fetch", "url", url)), &got); err != nil || got.RoleArn != role {
			t.Fatalf("%s: %+v, %v", url, got.RoleArn, err)
		}
		who := must(b.as(t, got.AccessKeyId, got.SecretAccessKey, got.Token).sts.GetCallerIdentity(t.Context(), &sts.GetCallerIdentityInput{}))(t)
		if want := "arn:aws:sts::123456789012:assumed-role/" + name + "/" + in.k.id; *who.Arn != want {
			t.Errorf("the credentials are %s's, want %s's", *who.Arn, want)
		}
	}
	// With the other's id, at its own endpoint, a task hears that there are none.
	other := full[strings.LastIndexByte(full, '/')+1:]
	if got, err := bridge.k.ask(t.Context(), bridge.port, "/fetch", "url", "http://169.254.170.2/v2/credentials/"+other); err == nil && strings.Contains(got, "SecretAccessKey") {
		t.Error("a task has another task's credentials")
	}
}
