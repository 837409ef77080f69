package secretsmanager_test

import (
	"crypto/sha256"
	"encoding/hex"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	sm "github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"
	"github.com/google/go-cmp/cmp"

	"berth.dev/berth/internal/base/ident"
)

var update = flag.Bool("update", false, "write the golden file")

// raw calls without what AWS's client adds by itself, and returns the answer's
// body.
func (w *world) raw(operation, body string) string {
	w.Helper()
	req, err := http.NewRequestWithContext(w.Context(), http.MethodPost, w.url, strings.NewReader(body))
	if err != nil {
		w.Fatal(err)
	}
	req.Header.Set("X-Amz-Target", "secretsmanager."+operation)
	req.Header.Set("Content-Type", "application/x-amz-json-1.1")
	sum := sha256.Sum256([]byte(body))
	if err := v4.NewSigner().SignHTTP(w.Context(), aws.Credentials{AccessKeyID: "AKIAROOT", SecretAccessKey: "secret"}, req, hex.EncodeToString(sum[:]), "secretsmanager", scope.Region, time.Now()); err != nil {
		w.Fatal(err)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		w.Fatal(err)
	}
	defer res.Body.Close()
	answer, err := io.ReadAll(res.Body)
	if err != nil {
		w.Fatal(err)
	}
	return fmt.Sprintf("%d %s", res.StatusCode, answer)
}

// The refusals with their texts. A mark says where each text is from: [OBS]
// observed of AWS, [MOTO] as moto has it, [DOC] the API reference, [GK] general
// knowledge or uncertain, [own] Berth's.
func TestErrors(t *testing.T) {
	w := withRotator(t)
	ctx := t.Context()
	first := w.secret("s").Stages["AWSCURRENT"]
	second := w.put("s", "2", "AWSPENDING")
	var lines strings.Builder
	say := func(mark string, err error) {
		text := said(err)
		for name, id := range map[string]string{"FIRST": first, "SECOND": second, "ARN": w.secret("s").ARN} {
			text = strings.ReplaceAll(text, id, name)
		}
		fmt.Fprintf(&lines, "%-6s %s\n", "["+mark+"]", text)
	}
	part := func(name string) { fmt.Fprintf(&lines, "\n# %s\n", name) }
	s, none := aws.String("s"), aws.String("none")

	part("CreateSecret")
	create := func(mark string, edit func(*sm.CreateSecretInput)) {
		in := &sm.CreateSecretInput{Name: aws.String("new"), SecretString: aws.String("canary")}
		edit(in)
		_, err := w.CreateSecret(ctx, in)
		say(mark, err)
	}
	create("OBS", func(in *sm.CreateSecretInput) { in.Name = aws.String("Inv *?!]Name\\-") })
	create("OBS", func(in *sm.CreateSecretInput) { in.Name = s })
	create("GK", func(in *sm.CreateSecretInput) { in.Name = aws.String(strings.Repeat("x", 513)) })
	create("DOC", func(in *sm.CreateSecretInput) { in.SecretBinary = []byte("canary") })
	create("GK", func(in *sm.CreateSecretInput) { in.SecretString = aws.String(strings.Repeat("canary", 11000)) })
	create("GK", func(in *sm.CreateSecretInput) { in.SecretString = aws.String(strings.Repeat("ü", 40000)) })
	create("GK", func(in *sm.CreateSecretInput) { in.ClientRequestToken = aws.String("short") })
	create("GK", func(in *sm.CreateSecretInput) { in.Tags = []types.Tag{{Key: aws.String("aws:x")}} })
	create("DOC", func(in *sm.CreateSecretInput) { in.KmsKeyId = aws.String("alias/none") })
	create("own", func(in *sm.CreateSecretInput) {
		in.AddReplicaRegions = []types.ReplicaRegionType{{Region: aws.String("eu-west-1")}}
	})
	create("own", func(in *sm.CreateSecretInput) { in.Type = aws.String("SalesforceClientSecret") })

	part("GetSecretValue")
	get := func(mark string, id *string, version, stage string) {
		in := &sm.GetSecretValueInput{SecretId: id}
		if version != "" {
			in.VersionId = &version
		}
		if stage != "" {
			in.VersionStage = &stage
		}
		_, err := w.GetSecretValue(ctx, in)
		say(mark, err)
	}
	get("OBS", none, "", "")
	get("OBS", aws.String("Inv *?!]Name\\-"), "", "")
	get("OBS", aws.String("arn:aws:secretsmanager:eu-west-1:123456789012:secret:s"), "", "")
	get("OBS", s, "", "AWSPREVIOUS")
	get("MOTO", s, "00000000-0000-0000-0000-000000000000", "")
	get("MOTO", s, first, "AWSPENDING")

	part("PutSecretValue")
	put := func(mark string, edit func(*sm.PutSecretValueInput)) {
		in := &sm.PutSecretValueInput{SecretId: s, SecretString: aws.String("canary")}
		edit(in)
		_, err := w.PutSecretValue(ctx, in)
		say(mark, err)
	}
	put("OBS", func(in *sm.PutSecretValueInput) { in.SecretId = none })
	put("MOTO", func(in *sm.PutSecretValueInput) { in.SecretString = nil })
	put("GK", func(in *sm.PutSecretValueInput) { in.ClientRequestToken = &first })
	put("own", func(in *sm.PutSecretValueInput) { in.RotationToken = aws.String(ident.UUID()) })

	part("UpdateSecret")
	upd := func(mark string, edit func(*sm.UpdateSecretInput)) {
		in := &sm.UpdateSecretInput{SecretId: s, SecretString: aws.String("canary")}
		edit(in)
		_, err := w.UpdateSecret(ctx, in)
		say(mark, err)
	}
	upd("OBS", func(in *sm.UpdateSecretInput) { in.SecretId = none })
	upd("GK", func(in *sm.UpdateSecretInput) { in.ClientRequestToken = &first })
	upd("DOC", func(in *sm.UpdateSecretInput) { in.SecretBinary = []byte("canary") })
	upd("DOC", func(in *sm.UpdateSecretInput) { in.SecretString, in.KmsKeyId = nil, aws.String("alias/none") })
	upd("own", func(in *sm.UpdateSecretInput) { in.Type = aws.String("x") })

	part("UpdateSecretVersionStage")
	move := func(mark, label, from, to string) {
		in := &sm.UpdateSecretVersionStageInput{SecretId: s, VersionStage: &label}
		if from != "" {
			in.RemoveFromVersionId = &from
		}
		if to != "" {
			in.MoveToVersionId = &to
		}
		_, err := w.UpdateSecretVersionStage(ctx, in)
		say(mark, err)
	}
	move("OBS", "AWSCURRENT", "", second)
	move("OBS", "AWSCURRENT", first, "")
	move("GK", "AWSCURRENT", second, first)
	move("GK", "AWSCURRENT", "", "")
	move("GK", "blue", "", "00000000-0000-0000-0000-000000000000")
	move("GK", "AWSPREVIOUS", "", first)
	for i := range 19 {
		if _, err := w.UpdateSecretVersionStage(ctx, &sm.UpdateSecretVersionStageInput{SecretId: s, VersionStage: aws.String(fmt.Sprint("label", i)), MoveToVersionId: &first}); err != nil {
			t.Fatal(err)
		}
	}
	move("GK", "blue", "", first)

	part("RotateSecret")
	rotate := func(mark string, edit func(*sm.RotateSecretInput)) {
		_, err := w.rotate(edit)
		say(mark, err)
	}
	rotate("OBS", func(*sm.RotateSecretInput) {})
	if _, err := w.UpdateSecretVersionStage(ctx, &sm.UpdateSecretVersionStageInput{SecretId: s, VersionStage: aws.String("AWSPENDING"), RemoveFromVersionId: &second}); err != nil {
		t.Fatal(err)
	}
	rotate("OBS", func(in *sm.RotateSecretInput) { in.RotationLambdaARN = nil })
	rotate("OBS", func(in *sm.RotateSecretInput) { in.RotationRules.ScheduleExpression = aws.String("rate(10 days)") })
	rotate("GK", func(in *sm.RotateSecretInput) {
		in.RotationRules = &types.RotationRulesType{ScheduleExpression: aws.String("rate(10 weeks)")}
	})
	rotate("GK", func(in *sm.RotateSecretInput) {
		in.RotationRules = &types.RotationRulesType{ScheduleExpression: aws.String("cron(15 * * * ? *)")}
	})
	rotate("GK", func(in *sm.RotateSecretInput) { in.RotationRules.Duration = aws.String("30h") })
	rotate("own", func(in *sm.RotateSecretInput) {
		in.RotationLambdaARN = aws.String("arn:aws:lambda:us-east-1:123456789012:function:rotate")
	})
	rotate("own", func(in *sm.RotateSecretInput) { in.RotationLambdaARN = aws.String("rotate") })
	rotate("own", func(in *sm.RotateSecretInput) { in.RotationLambdaARN = aws.String(rotator + "-none") })
	rotate("own", func(in *sm.RotateSecretInput) { in.RotationLambdaARN = aws.String(rotator + ":2") })
	rotate("own", func(in *sm.RotateSecretInput) {
		in.ExternalSecretRotationRoleArn = aws.String("arn:aws:iam::123456789012:role/x")
	})
	_, err := w.CancelRotateSecret(ctx, &sm.CancelRotateSecretInput{SecretId: s})
	say("GK", err)

	part("Policies")
	putPolicy := func(mark, text string) {
		_, err := w.PutResourcePolicy(ctx, &sm.PutResourcePolicyInput{SecretId: s, ResourcePolicy: &text, BlockPublicPolicy: aws.Bool(true)})
		say(mark, err)
	}
	putPolicy("OBS", "{")
	putPolicy("DOC", `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Principal":"*","Action":"*","Resource":"*"}}`)
	_, err = w.ValidateResourcePolicy(ctx, &sm.ValidateResourcePolicyInput{ResourcePolicy: aws.String("{")})
	say("OBS", err)

	part("Others")
	_, err = w.BatchGetSecretValue(ctx, &sm.BatchGetSecretValueInput{})
	say("GK", err)
	_, err = w.BatchGetSecretValue(ctx, &sm.BatchGetSecretValueInput{SecretIdList: []string{"s"}, Filters: []types.Filter{filter("name", "s")}})
	say("MOTO", err)
	_, err = w.BatchGetSecretValue(ctx, &sm.BatchGetSecretValueInput{SecretIdList: []string{"s"}, MaxResults: aws.Int32(1)})
	say("MOTO", err)
	_, err = w.ListSecrets(ctx, &sm.ListSecretsInput{NextToken: aws.String("?")})
	say("GK", err)
	_, err = w.GetRandomPassword(ctx, &sm.GetRandomPasswordInput{PasswordLength: aws.Int64(3)})
	say("MOTO", err)
	_, err = w.GetRandomPassword(ctx, &sm.GetRandomPasswordInput{ExcludeLowercase: aws.Bool(true), ExcludeUppercase: aws.Bool(true), ExcludeNumbers: aws.Bool(true), ExcludePunctuation: aws.Bool(true)})
	say("GK", err)
	_, err = w.DeleteSecret(ctx, &sm.DeleteSecretInput{SecretId: none})
	say("OBS", err)
	_, err = w.DeleteSecret(ctx, &sm.DeleteSecretInput{SecretId: s, RecoveryWindowInDays: aws.Int64(6)})
	say("MOTO", err)
	_, err = w.DeleteSecret(ctx, &sm.DeleteSecretInput{SecretId: s, RecoveryWindowInDays: aws.Int64(7), ForceDeleteWithoutRecovery: aws.Bool(true)})
	say("MOTO", err)

	part("Of a secret that waits for deletion")
	if _, err := w.DeleteSecret(ctx, &sm.DeleteSecretInput{SecretId: s}); err != nil {
		t.Fatal(err)
	}
	get("OBS", s, "", "")
	put("OBS", func(*sm.PutSecretValueInput) {})
	rotate("OBS", func(*sm.RotateSecretInput) {})
	_, err = w.TagResource(ctx, &sm.TagResourceInput{SecretId: s, Tags: []types.Tag{{Key: aws.String("a")}}})
	say("OBS", err)
	_, err = w.DeleteSecret(ctx, &sm.DeleteSecretInput{SecretId: s})
	say("GK", err)
	create("OBS", func(in *sm.CreateSecretInput) { in.Name = s })

	part("Without a ClientRequestToken, which AWS's clients add")
	fmt.Fprintf(&lines, "%-6s CreateSecret: %s\n", "[OBS]", w.raw("CreateSecret", `{"Name":"x","SecretString":"canary"}`))
	for _, operation := range []string{"PutSecretValue", "UpdateSecret", "RotateSecret"} {
		fmt.Fprintf(&lines, "%-6s %s: %s\n", "[OBS]", operation, w.raw(operation, `{"SecretId":"s"}`))
	}

	if strings.Contains(lines.String(), "canary") {
		t.Error("a refusal repeats a value")
	}
	const path = "testdata/errors.golden"
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(lines.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), lines.String()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
