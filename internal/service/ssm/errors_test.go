package ssm_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsssm "github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/aws/aws-sdk-go-v2/service/ssm/types"

	"berth.dev/berth/internal/data/records"
	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/model"
)

// What is refused, and in which words. [OBS] was seen in real AWS or measured
// against it by others, [BM] is the API reference's sentence; lines marked [GK]
// have a code that AWS documents and a text that was not seen.
func TestRefusals(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	var lines []string
	refuse := func(name, mark string, err error) {
		t.Helper()
		if err == nil {
			t.Errorf("%s: not refused", name)
		}
		lines = append(lines, name+": "+w.refusal(err)+" ["+mark+"]")
	}
	put := func(name, value string, edit ...func(*awsssm.PutParameterInput)) error {
		_, err := w.tryPut(name, types.ParameterTypeString, value, edit...)
		return err
	}
	type edit = func(*awsssm.PutParameterInput)
	secure := edit(func(in *awsssm.PutParameterInput) { in.Type = types.ParameterTypeSecureString })
	tags := func(n int, prefix string) edit {
		return func(in *awsssm.PutParameterInput) {
			for i := range n {
				in.Tags = append(in.Tags, types.Tag{Key: aws.String(fmt.Sprint(prefix, i)), Value: aws.String("")})
			}
		}
	}
	advanced := edit(func(in *awsssm.PutParameterInput) { in.Tier = types.ParameterTierAdvanced })
	policies := func(text string) edit {
		return func(in *awsssm.PutParameterInput) { in.Policies, in.Tier = &text, types.ParameterTierAdvanced }
	}

	// PutParameter
	refuse("empty value", "OBS", put("/x", ""))
	refuse("tags with overwrite", "OBS", put("/x", "v", overwrite, tags(1, "k")))
	for _, name := range []string{"awsTest", "/SSM-test", "/aws/test", "/ssm/test", "a/b", "/a b", "/a//b", "/a/", "a:b", "/" + strings.Repeat("x/", 15) + "x", "/" + strings.Repeat("x", 1000)} {
		mark := "OBS"
		if len(name) > 15 {
			mark = "GK"
		}
		refuse("name "+name[:min(len(name), 12)], mark, put(name, "v"))
	}
	refuse("no type", "OBS", put("/x", "v", func(in *awsssm.PutParameterInput) { in.Type = "" }))
	refuse("key without need", "OBS", put("/x", "v", func(in *awsssm.PutParameterInput) { in.KeyId = aws.String("alias/k") }))
	refuse("no such key", "GK", put("/x", "v", secure, func(in *awsssm.PutParameterInput) { in.KeyId = aws.String("alias/none") }))
	refuse("image", "GK", put("/x", "v", func(in *awsssm.PutParameterInput) { in.DataType = aws.String("aws:ec2:image") }))
	refuse("data type", "OBS", put("/x", "v", func(in *awsssm.PutParameterInput) { in.DataType = aws.String("Text") }))
	refuse("bad pattern", "GK", put("/x", "v", func(in *awsssm.PutParameterInput) { in.AllowedPattern = aws.String("(?=x)") }))
	mismatch := put("/x", "canary", func(in *awsssm.PutParameterInput) { in.AllowedPattern = aws.String(`^\d+$`) })
	refuse("pattern mismatch", "OBS", mismatch)
	if strings.Contains(w.refusal(mismatch), "canary") {
		t.Error("a refusal repeats the value")
	}
	refuse("too long for standard", "OBS", put("/x", strings.Repeat("x", 4097)))
	refuse("too long for advanced", "GK", put("/x", strings.Repeat("x", 8193), advanced))
	refuse("too many tags", "GK", put("/x", "v", tags(51, "k")))
	refuse("tag of AWS", "GK", put("/x", "v", tags(1, "aws:")))
	w.put("/old", types.ParameterTypeString, "v", advanced)
	refuse("exists", "OBS", put("/old", "v"))
	refuse("downgrade", "OBS", put("/old", "v", overwrite, func(in *awsssm.PutParameterInput) { in.Tier = types.ParameterTierStandard }))

	// Policies
	const expiration = `{"Type":"Expiration","Version":"1.0","Attributes":{"Timestamp":"2099-12-02T21:34:33.000Z"}}`
	refuse("policies of a standard parameter", "GK", put("/x", "v", policies("["+expiration+"]"), func(in *awsssm.PutParameterInput) { in.Tier = types.ParameterTierStandard }))
	refuse("policies that are no list", "GK", put("/x", "v", policies("{}")))
	refuse("policy that is no object", "GK", put("/x", "v", policies("[1]")))
	refuse("two expirations", "BM", put("/x", "v", policies("["+expiration+","+expiration+"]")))
	refuse("eleven policies", "BM", put("/x", "v", policies("["+strings.TrimSuffix(strings.Repeat("{},", 11), ",")+"]")))
	refuse("expiration's version", "GK", put("/x", "v", policies(strings.Replace("["+expiration+"]", "1.0", "2", 1))))
	refuse("expiration's time", "GK", put("/x", "v", policies(strings.Replace("["+expiration+"]", "2099-12", "2099", 1))))
	refuse("expiration in the past", "GK", put("/x", "v", policies(strings.Replace("["+expiration+"]", "2099", "1999", 1))))
	refuse("notification", "GK", put("/x", "v", policies(`[{"Type":"ExpirationNotification","Version":"1.0","Attributes":{"Before":"15","Unit":"Days"}}]`)))
	refuse("no change notification", "GK", put("/x", "v", policies(`[{"Type":"NoChangeNotification","Version":"1.0","Attributes":{"After":"20","Unit":"Days"}}]`)))
	refuse("unknown policy", "BM", put("/x", "v", policies(`[{"Type":"Other","Version":"1.0"}]`)))

	// Reading
	get := func(name string, decrypt bool) error {
		_, err := w.ssm.GetParameter(ctx, &awsssm.GetParameterInput{Name: &name, WithDecryption: &decrypt})
		return err
	}
	refuse("not there", "OBS", get("/none", false))
	refuse("public parameter", "GK", get("/aws/service/ecs/optimized-ami/amazon-linux-2023/recommended/image_id", false))
	refuse("another region's", "GK", get("arn:aws:ssm:eu-west-1:123456789012:parameter/old", false))
	refuse("version not there", "OBS", get("/old:7", false))
	refuse("label not there", "GK", get("/old:prod", false))
	refuse("two selectors", "OBS", get("/old:1:2", false))
	refuse("empty selector", "OBS", get("/old:", false))
	_, err := w.ssm.GetParameterHistory(ctx, &awsssm.GetParameterHistoryInput{Name: aws.String("/none")})
	refuse("history of none", "OBS", err)
	_, err = w.ssm.GetParameterHistory(ctx, &awsssm.GetParameterHistoryInput{Name: aws.String("/old"), NextToken: aws.String("?")})
	refuse("history with a bad token", "BM", err)
	_, err = w.ssm.GetParametersByPath(ctx, &awsssm.GetParametersByPathInput{Path: aws.String("old")})
	refuse("path without a slash", "OBS", err)
	_, err = w.ssm.GetParametersByPath(ctx, &awsssm.GetParametersByPathInput{Path: aws.String("/ssm")})
	refuse("reserved path", "OBS", err)

	// Secrets
	const prefix = "/aws/reference/secretsmanager/"
	refuse("secret without decryption", "OBS", get(prefix+"s", false))
	refuse("secret with a bad selector", "OBS", get(prefix+"s:a:b", false))
	refuse("secret by its ARN", "OBS", get(prefix+"arn:aws:secretsmanager:us-east-1:123456789012:secret:s", false))
	refuse("no secret", "OBS", get(prefix+"none", true))
	s := w.secret("s", false, "v")
	refuse("no stage", "OBS", get(prefix+"s:NOSUCHSTAGE", true))
	if _, err := w.store.Update(ctx, func(tx *store.Tx) error {
		return records.Secrets.Edit(tx, s.Name, func(s *model.Secret) error { s.DeletedAt = new(tx.Now()); return nil })
	}); err != nil {
		t.Fatal(err)
	}
	refuse("deleted secret", "OBS", get(prefix+"s", true))

	// Filters
	describe := func(filters ...types.ParameterStringFilter) error {
		_, err := w.ssm.DescribeParameters(ctx, &awsssm.DescribeParametersInput{ParameterFilters: filters})
		return err
	}
	filter := func(key, option string, values ...string) types.ParameterStringFilter {
		f := types.ParameterStringFilter{Key: &key, Values: values}
		if option != "" {
			f.Option = &option
		}
		return f
	}
	refuse("both filters", "BM", func() error {
		_, err := w.ssm.DescribeParameters(ctx, &awsssm.DescribeParametersInput{
			Filters: []types.ParametersFilter{{Key: "Name", Values: []string{"a"}}}, ParameterFilters: []types.ParameterStringFilter{filter("Name", "", "a")},
		})
		return err
	}())
	refuse("filter by label", "OBS", describe(filter("Label", "", "x")))
	refuse("filter without values", "OBS", describe(filter("Name", "")))
	refuse("filter twice", "OBS", describe(filter("Name", "", "a"), filter("Name", "", "b")))
	refuse("filter's option", "OBS", describe(filter("Type", "Contains", "String")))
	refuse("path's option", "OBS", describe(filter("Path", "Equals", "/x")))
	refuse("type's value", "OBS", describe(filter("Type", "", "Text")))
	refuse("tier's value", "OBS", describe(filter("Tier", "", "test")))
	refuse("path's value", "OBS", describe(filter("Path", "", "x")))
	refuse("reserved path's value", "OBS", describe(filter("Path", "", "/aws")))
	_, err = w.ssm.DescribeParameters(ctx, &awsssm.DescribeParametersInput{NextToken: aws.String("x")})
	refuse("describe with a bad token", "BM", err)
	_, err = w.ssm.GetParametersByPath(ctx, &awsssm.GetParametersByPathInput{Path: aws.String("/"), ParameterFilters: []types.ParameterStringFilter{filter("Name", "", "x")}})
	refuse("by path, filter by name", "OBS", err)

	// The rest
	_, err = w.ssm.DeleteParameter(ctx, &awsssm.DeleteParameterInput{Name: aws.String("/none")})
	refuse("delete none", "OBS", err)
	_, err = w.ssm.LabelParameterVersion(ctx, &awsssm.LabelParameterVersionInput{Name: aws.String("/none"), Labels: []string{"x"}})
	refuse("label none", "OBS", err)
	_, err = w.ssm.LabelParameterVersion(ctx, &awsssm.LabelParameterVersionInput{Name: aws.String("/old"), ParameterVersion: aws.Int64(9), Labels: []string{"x"}})
	refuse("label no version", "OBS", err)
	w.label("/old", 1, "a", "b", "c", "d", "e", "f", "g", "h", "i", "j")
	_, err = w.ssm.LabelParameterVersion(ctx, &awsssm.LabelParameterVersionInput{Name: aws.String("/old"), Labels: []string{"k"}})
	refuse("eleventh label", "OBS", err)
	_, err = w.ssm.UnlabelParameterVersion(ctx, &awsssm.UnlabelParameterVersionInput{Name: aws.String("/none"), ParameterVersion: aws.Int64(1), Labels: []string{"x"}})
	refuse("unlabel none", "OBS", err)
	_, err = w.ssm.ListTagsForResource(ctx, &awsssm.ListTagsForResourceInput{ResourceType: types.ResourceTypeForTaggingDocument, ResourceId: aws.String("x")})
	refuse("tags of a document", "GK", err)
	_, err = w.ssm.ListTagsForResource(ctx, &awsssm.ListTagsForResourceInput{ResourceType: types.ResourceTypeForTaggingParameter, ResourceId: aws.String("/none")})
	refuse("tags of none", "BM", err)

	compareGolden(t, "testdata/errors.golden", lines)
}
