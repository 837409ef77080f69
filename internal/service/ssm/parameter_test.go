package ssm_test

import (
	"encoding/base64"
	"encoding/json"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsssm "github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/aws/aws-sdk-go-v2/service/ssm/types"

	"berth.dev/berth/internal/data/records"
	"berth.dev/berth/internal/data/store"
)

// A parameter's life: made, read in every form, changed, deleted.
func TestLife(t *testing.T) {
	w := newWorld(t)
	made := w.put("/app/db/host", types.ParameterTypeString, "one", func(in *awsssm.PutParameterInput) {
		in.Description, in.AllowedPattern = aws.String("where it is"), aws.String("^[a-z]+$")
		in.Tags = []types.Tag{{Key: aws.String("env"), Value: aws.String("dev")}}
	})
	if made.Version != 1 || made.Tier != types.ParameterTierStandard {
		t.Errorf("made version %d, tier %s", made.Version, made.Tier)
	}
	if second := w.put("/app/db/host", "", "two", overwrite); second.Version != 2 {
		t.Errorf("the second version is %d", second.Version)
	}
	const name = "arn:aws:ssm:us-east-1:123456789012:parameter/app/db/host"
	for text, want := range map[string]string{
		"/app/db/host": "two", "/app/db/host:1": "one", "/app/db/host:2": "two", name: "two", name + ":1": "one",
	} {
		got := w.get(text)
		_, selector, selected := strings.Cut(strings.TrimPrefix(text, "arn:aws:ssm:us-east-1:123456789012:"), ":")
		if *got.Value != want || *got.Name != "/app/db/host" || *got.ARN != name || *got.DataType != "text" || got.LastModifiedDate == nil || got.Type != types.ParameterTypeString {
			t.Errorf("%s: %+v", text, got)
		}
		if selected != (got.Selector != nil) || selected && *got.Selector != ":"+selector {
			t.Errorf("%s: selector is %v", text, aws.ToString(got.Selector))
		}
	}
	described := must[awsssm.DescribeParametersOutput](w)(w.ssm.DescribeParameters(t.Context(), &awsssm.DescribeParametersInput{})).Parameters
	if len(described) != 1 {
		t.Fatalf("%d parameters", len(described))
	}
	d := described[0]
	if *d.Description != "where it is" || *d.AllowedPattern != "^[a-z]+$" || d.Version != 2 || *d.LastModifiedUser != rootARN || d.KeyId != nil || *d.ARN != name || d.Tier != types.ParameterTierStandard {
		t.Errorf("described as %+v", d)
	}
	must[awsssm.DeleteParameterOutput](w)(w.ssm.DeleteParameter(t.Context(), &awsssm.DeleteParameterInput{Name: aws.String("/app/db/host")}))
	snap := w.store.Snapshot()
	if records.Parameters.Len(snap)+records.ParameterVersions.Len(snap) != 0 {
		t.Error("something is left of a deleted parameter")
	}
	// A new one of its name begins again.
	if again := w.put("/app/db/host", types.ParameterTypeStringList, "a,b"); again.Version != 1 {
		t.Errorf("the version after deletion is %d", again.Version)
	}
}

// A name without a slash has an ARN with one.
func TestBareNames(t *testing.T) {
	w := newWorld(t)
	w.put("plain", types.ParameterTypeString, "v")
	if got := w.get("arn:aws:ssm:us-east-1:123456789012:parameter/plain"); *got.Name != "plain" || *got.ARN != "arn:aws:ssm:us-east-1:123456789012:parameter/plain" {
		t.Errorf("%s is %s", *got.Name, *got.ARN)
	}
	out := must[awsssm.GetParametersByPathOutput](w)(w.ssm.GetParametersByPath(t.Context(), &awsssm.GetParametersByPathInput{Path: aws.String("/")}))
	if len(out.Parameters) != 1 {
		t.Errorf("%d parameters next to the root", len(out.Parameters))
	}
}

// A SecureString is stored sealed, shown sealed, and in clear on demand.
func TestSecureString(t *testing.T) {
	w := newWorld(t)
	const canary = "canary-4711-value"
	w.put("/s", types.ParameterTypeSecureString, canary)
	sealed := must[awsssm.GetParameterOutput](w)(w.ssm.GetParameter(t.Context(), &awsssm.GetParameterInput{Name: aws.String("/s")})).Parameter
	blob, err := base64.StdEncoding.DecodeString(*sealed.Value)
	if err != nil || strings.Contains(string(blob), canary) || strings.Contains(*sealed.Value, canary) {
		t.Errorf("without decryption: %q, %v", *sealed.Value, err)
	}
	if got := w.get("/s"); *got.Value != canary || got.Type != types.ParameterTypeSecureString {
		t.Errorf("with decryption: %+v", got)
	}
	for v := range records.ParameterVersions.All(w.store.Snapshot()) {
		if text, err := json.Marshal(v); err != nil || strings.Contains(string(text), canary) || strings.Contains(string(v.Sealed), canary) {
			t.Errorf("stored as %s (%v)", text, err)
		}
	}
	history := func(decrypt bool) types.ParameterHistory {
		t.Helper()
		out := must[awsssm.GetParameterHistoryOutput](w)(w.ssm.GetParameterHistory(t.Context(), &awsssm.GetParameterHistoryInput{Name: aws.String("/s"), WithDecryption: &decrypt}))
		return out.Parameters[0]
	}
	if h := history(true); *h.Value != canary || *h.KeyId != "alias/aws/ssm" {
		t.Errorf("history with decryption: %+v", h)
	}
	if h := history(false); strings.Contains(*h.Value, canary) {
		t.Error("history shows the value without decryption")
	}
	// The value of another parameter's ciphertext cannot be had by moving it.
	if _, err := w.store.Update(t.Context(), func(tx *store.Tx) error {
		v, _ := records.ParameterVersions.Get(tx, "/s|0000000000000000001")
		moved := *v
		moved.ParameterName = "/t"
		p, _ := records.Parameters.Get(tx, "/s")
		other := *p
		other.Name, other.ARN = "/t", strings.Replace(p.ARN, "/s", "/t", 1)
		records.Parameters.Put(tx, &other)
		records.ParameterVersions.Put(tx, &moved)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.ssm.GetParameter(t.Context(), &awsssm.GetParameterInput{Name: aws.String("/t"), WithDecryption: aws.Bool(true)}); err == nil || strings.Contains(err.Error(), canary) {
		t.Errorf("a moved ciphertext: %v", err)
	}
	// From secure to clear and back.
	w.put("/s", types.ParameterTypeString, "clear", overwrite)
	if got := w.get("/s"); *got.Value != "clear" || got.Type != types.ParameterTypeString {
		t.Errorf("%+v", got)
	}
}

func TestGetParameters(t *testing.T) {
	w := newWorld(t)
	w.put("/a", types.ParameterTypeString, "1")
	w.put("/b", types.ParameterTypeSecureString, "2")
	names := []string{"/b", "/none", "/a", "/a:1", "/a:9", "/a:x:y", "/a", "arn:aws:ssm:us-east-1:999999999999:parameter/a", "/aws/service/ecs/optimized-ami/amazon-linux-2023/recommended"}
	out := must[awsssm.GetParametersOutput](w)(w.ssm.GetParameters(t.Context(), &awsssm.GetParametersInput{Names: names, WithDecryption: aws.Bool(true)}))
	var got []string
	for _, p := range out.Parameters {
		got = append(got, *p.Name+aws.ToString(p.Selector)+"="+*p.Value)
	}
	if want := []string{"/b=2", "/a=1", "/a:1=1"}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if want := []string{"/none", "/a:9", "/a:x:y", names[7], names[8]}; !slices.Equal(out.InvalidParameters, want) {
		t.Errorf("invalid are %v, want %v", out.InvalidParameters, want)
	}
}

func TestGetParametersByPath(t *testing.T) {
	w := newWorld(t)
	for _, name := range []string{"/app/a", "/app/b", "/app/deep/c", "/application", "/other"} {
		w.put(name, types.ParameterTypeString, "v")
	}
	w.put("/app/s", types.ParameterTypeSecureString, "v")
	list := func(path string, recursive bool, filters ...types.ParameterStringFilter) string {
		t.Helper()
		var names []string
		pages := awsssm.NewGetParametersByPathPaginator(w.ssm, &awsssm.GetParametersByPathInput{
			Path: &path, Recursive: &recursive, WithDecryption: aws.Bool(true), MaxResults: aws.Int32(2), ParameterFilters: filters,
		})
		for pages.HasMorePages() {
			page := must[awsssm.GetParametersByPathOutput](w)(pages.NextPage(t.Context()))
			if len(page.Parameters) > 2 {
				t.Errorf("a page of %d", len(page.Parameters))
			}
			for _, p := range page.Parameters {
				names = append(names, *p.Name+aws.ToString(p.Selector))
			}
		}
		return strings.Join(names, " ")
	}
	w.put("/app/a", "", "v2", overwrite)
	w.label("/app/a", 1, "good")
	filter := func(key, option string, values ...string) types.ParameterStringFilter {
		f := types.ParameterStringFilter{Key: &key, Values: values}
		if option != "" {
			f.Option = &option
		}
		return f
	}
	for _, tt := range []struct {
		got, want string
	}{
		{list("/app", false), "/app/a /app/b /app/s"},
		{list("/app/", true), "/app/a /app/b /app/deep/c /app/s"},
		{list("/", false), "/application /other"},
		{list("/", true), "/app/a /app/b /app/deep/c /app/s /application /other"},
		{list("/none", true), ""},
		{list("/aws/service/ecs", true), ""},
		{list("/app", true, filter("Type", "", "SecureString")), "/app/s"},
		{list("/app", true, filter("KeyId", "BeginsWith", "alias/")), "/app/s"},
		{list("/app", true, filter("Label", "Equals", "good")), "/app/a:good"},
	} {
		if tt.got != tt.want {
			t.Errorf("got %q, want %q", tt.got, tt.want)
		}
	}
}

func TestDescribeParameters_Filters(t *testing.T) {
	w := newWorld(t)
	w.put("/app/a", types.ParameterTypeString, "v", func(in *awsssm.PutParameterInput) {
		in.Tags = []types.Tag{{Key: aws.String("env"), Value: aws.String("prod")}}
	})
	w.put("/app/x/b", types.ParameterTypeStringList, "v,w")
	w.put("c", types.ParameterTypeSecureString, "v", func(in *awsssm.PutParameterInput) { in.Tier = types.ParameterTierAdvanced })
	describe := func(in *awsssm.DescribeParametersInput) string {
		t.Helper()
		var names []string
		in.MaxResults = aws.Int32(1)
		pages := awsssm.NewDescribeParametersPaginator(w.ssm, in)
		for pages.HasMorePages() {
			for _, p := range must[awsssm.DescribeParametersOutput](w)(pages.NextPage(t.Context())).Parameters {
				names = append(names, *p.Name)
			}
		}
		return strings.Join(names, " ")
	}
	filter := func(key, option string, values ...string) *awsssm.DescribeParametersInput {
		f := types.ParameterStringFilter{Key: &key, Values: values}
		if option != "" {
			f.Option = &option
		}
		return &awsssm.DescribeParametersInput{ParameterFilters: []types.ParameterStringFilter{f}}
	}
	old := func(key types.ParametersFilterKey, values ...string) *awsssm.DescribeParametersInput {
		return &awsssm.DescribeParametersInput{Filters: []types.ParametersFilter{{Key: key, Values: values}}}
	}
	for _, tt := range []struct {
		in   *awsssm.DescribeParametersInput
		want string
	}{
		{&awsssm.DescribeParametersInput{}, "/app/a /app/x/b c"},
		{&awsssm.DescribeParametersInput{Shared: aws.Bool(true)}, ""},
		{filter("Name", "", "/app/a", "c"), "/app/a c"},
		{filter("Name", "Equals", "app/a"), "/app/a"},
		{filter("Name", "BeginsWith", "/app"), "/app/a /app/x/b"},
		{filter("Name", "Contains", "x"), "/app/x/b"},
		{filter("Path", "", "/app"), "/app/a"},
		{filter("Path", "Recursive", "/app/"), "/app/a /app/x/b"},
		{filter("Type", "", "StringList"), "/app/x/b"},
		{filter("Type", "BeginsWith", "String"), "/app/a /app/x/b"},
		{filter("KeyId", "", "alias/aws/ssm"), "c"},
		{filter("Tier", "", "Advanced"), "c"},
		{filter("DataType", "", "text"), "/app/a /app/x/b c"},
		{filter("tag:env", ""), "/app/a"},
		{filter("tag:env", "BeginsWith", "pr"), "/app/a"},
		{filter("tag:env", "Equals", "dev"), ""},
		{old(types.ParametersFilterKeyName, "/app/x"), "/app/x/b"},
		{old(types.ParametersFilterKeyType, "String"), "/app/a /app/x/b"},
		{old(types.ParametersFilterKeyKeyId, "alias/aws/ssm"), "c"},
	} {
		if got := describe(tt.in); got != tt.want {
			t.Errorf("%+v %+v: got %q, want %q", tt.in.ParameterFilters, tt.in.Filters, got, tt.want)
		}
	}
}

// Of more than a hundred versions the oldest goes, unless it has a label.
func TestVersions(t *testing.T) {
	w := newWorld(t)
	w.put("/v", types.ParameterTypeString, "1")
	for i := 2; i <= 101; i++ {
		w.put("/v", "", strconv.Itoa(i), overwrite)
	}
	var versions []int64
	pages := awsssm.NewGetParameterHistoryPaginator(w.ssm, &awsssm.GetParameterHistoryInput{Name: aws.String("/v"), MaxResults: aws.Int32(50)})
	for pages.HasMorePages() {
		for _, h := range must[awsssm.GetParameterHistoryOutput](w)(pages.NextPage(t.Context())).Parameters {
			versions = append(versions, h.Version)
		}
	}
	if len(versions) != 100 || versions[0] != 2 || versions[99] != 101 || !slices.IsSorted(versions) {
		t.Fatalf("%d versions: %v", len(versions), versions)
	}
	w.label("/v", 2, "keep")
	if _, err := w.tryPut("/v", "", "102", overwrite); !strings.Contains(w.refusal(err), "ParameterMaxVersionLimitExceeded: You attempted to create a new version of /v") {
		t.Errorf("a labelled oldest version: %v", err)
	}
	w.label("/v", 101, "keep")
	if out := w.put("/v", "", "102", overwrite); out.Version != 102 {
		t.Errorf("version %d", out.Version)
	}
	must[awsssm.DeleteParameterOutput](w)(w.ssm.DeleteParameter(t.Context(), &awsssm.DeleteParameterInput{Name: aws.String("/v")})) // in one transaction
}

func TestLabels(t *testing.T) {
	w := newWorld(t)
	w.put("/l", types.ParameterTypeString, "one")
	w.put("/l", "", "two", overwrite)
	if out := w.label("/l", 1, "prod", "1st", "aws-x", "SSMy", "a b", "prod"); out.ParameterVersion != 1 || !slices.Equal(out.InvalidLabels, []string{"1st", "aws-x", "SSMy", "a b"}) {
		t.Errorf("%+v", out)
	}
	if got := w.get("/l:prod"); *got.Value != "one" || *got.Selector != ":prod" {
		t.Errorf("%+v", got)
	}
	out := must[awsssm.LabelParameterVersionOutput](w)(w.ssm.LabelParameterVersion(t.Context(), &awsssm.LabelParameterVersionInput{Name: aws.String("/l"), Labels: []string{"prod"}}))
	if out.ParameterVersion != 2 || *w.get("/l:prod").Value != "two" {
		t.Errorf("a label did not move to the newest version: %+v", out)
	}
	history := must[awsssm.GetParameterHistoryOutput](w)(w.ssm.GetParameterHistory(t.Context(), &awsssm.GetParameterHistoryInput{Name: aws.String("/l")})).Parameters
	if len(history[0].Labels) != 0 || !slices.Equal(history[1].Labels, []string{"prod"}) {
		t.Errorf("labels %v and %v", history[0].Labels, history[1].Labels)
	}
	gone := must[awsssm.UnlabelParameterVersionOutput](w)(w.ssm.UnlabelParameterVersion(t.Context(), &awsssm.UnlabelParameterVersionInput{
		Name: aws.String("/l"), ParameterVersion: aws.Int64(2), Labels: []string{"prod", "other"},
	}))
	if !slices.Equal(gone.RemovedLabels, []string{"prod"}) || !slices.Equal(gone.InvalidLabels, []string{"other"}) {
		t.Errorf("%+v", gone)
	}
	many := []string{"a", "b", "c", "d", "e", "f", "g", "h", "i", "j"}
	w.label("/l", 1, many...)
	w.label("/l", 2, many...)
	if _, err := w.ssm.LabelParameterVersion(t.Context(), &awsssm.LabelParameterVersionInput{Name: aws.String("/l"), Labels: []string{"k"}}); err == nil {
		t.Error("an eleventh label was accepted")
	}
}

func TestTiersAndPolicies(t *testing.T) {
	w := newWorld(t)
	long, longest := strings.Repeat("x", 4097), strings.Repeat("x", 8192)
	tier := func(tier types.ParameterTier) func(*awsssm.PutParameterInput) {
		return func(in *awsssm.PutParameterInput) { in.Tier = tier }
	}
	if out := w.put("/t", types.ParameterTypeString, "small", tier(types.ParameterTierIntelligentTiering)); out.Tier != types.ParameterTierStandard {
		t.Errorf("small: %s", out.Tier)
	}
	if out := w.put("/t", "", long, overwrite, tier(types.ParameterTierIntelligentTiering)); out.Tier != types.ParameterTierAdvanced {
		t.Errorf("long: %s", out.Tier)
	}
	if out := w.put("/t", "", longest, overwrite); out.Tier != types.ParameterTierAdvanced {
		t.Errorf("an advanced parameter became %s", out.Tier)
	}
	const expiration = `[{"Type":"Expiration","Version":"1.0","Attributes":{"Timestamp":"2099-12-02T21:34:33.000Z"}}]`
	policies := func(text string) func(*awsssm.PutParameterInput) {
		return func(in *awsssm.PutParameterInput) { in.Policies = &text }
	}
	w.put("/t", "", "x", overwrite, policies(expiration))
	w.put("/t", "", "y", overwrite) // keeps them
	p, _ := records.Parameters.Get(w.store.Snapshot(), "/t")
	if p.ExpiresAt == nil || p.ExpiresAt.Format("2006-01-02T15:04:05.000Z") != "2099-12-02T21:34:33.000Z" {
		t.Errorf("expires %v", p.ExpiresAt)
	}
	described := must[awsssm.DescribeParametersOutput](w)(w.ssm.DescribeParameters(t.Context(), &awsssm.DescribeParametersInput{})).Parameters[0]
	if len(described.Policies) != 1 || *described.Policies[0].PolicyType != "Expiration" || *described.Policies[0].PolicyStatus != "Pending" || *described.Policies[0].PolicyText != expiration[1:len(expiration)-1] {
		t.Errorf("%+v", described.Policies)
	}
	w.put("/t", "", "z", overwrite, policies("[{}]"))
	if p, _ := records.Parameters.Get(w.store.Snapshot(), "/t"); p.ExpiresAt != nil {
		t.Error("expires without a policy")
	}
}

func TestTags(t *testing.T) {
	w := newWorld(t)
	w.put("/g", types.ParameterTypeString, "v", func(in *awsssm.PutParameterInput) {
		in.Tags = []types.Tag{{Key: aws.String("a"), Value: aws.String("1")}}
	})
	id := aws.String("/g")
	must[awsssm.AddTagsToResourceOutput](w)(w.ssm.AddTagsToResource(t.Context(), &awsssm.AddTagsToResourceInput{
		ResourceType: types.ResourceTypeForTaggingParameter, ResourceId: id,
		Tags: []types.Tag{{Key: aws.String("a"), Value: aws.String("2")}, {Key: aws.String("b"), Value: aws.String("")}},
	}))
	must[awsssm.RemoveTagsFromResourceOutput](w)(w.ssm.RemoveTagsFromResource(t.Context(), &awsssm.RemoveTagsFromResourceInput{
		ResourceType: types.ResourceTypeForTaggingParameter, ResourceId: id, TagKeys: []string{"b", "none"},
	}))
	w.put("/g", "", "v2", overwrite) // keeps them
	out := must[awsssm.ListTagsForResourceOutput](w)(w.ssm.ListTagsForResource(t.Context(), &awsssm.ListTagsForResourceInput{ResourceType: types.ResourceTypeForTaggingParameter, ResourceId: id}))
	if len(out.TagList) != 1 || *out.TagList[0].Key != "a" || *out.TagList[0].Value != "2" {
		t.Errorf("%+v", out.TagList)
	}
}

func TestDeleteParameters(t *testing.T) {
	w := newWorld(t)
	w.put("/a", types.ParameterTypeString, "v")
	out := must[awsssm.DeleteParametersOutput](w)(w.ssm.DeleteParameters(t.Context(), &awsssm.DeleteParametersInput{Names: []string{"/none", "/a"}}))
	if !slices.Equal(out.DeletedParameters, []string{"/a"}) || !slices.Equal(out.InvalidParameters, []string{"/none"}) {
		t.Errorf("%+v", out)
	}
}

// Secrets are read through Parameter Store as AWS answered on 2026-09-28
// (another server's tests measured it).
func TestSecretReference(t *testing.T) {
	w := newWorld(t)
	const prefix = "/aws/reference/secretsmanager/"
	secret := w.secret("db/password", false, "first", "second")
	got := w.get(prefix + "db/password")
	if *got.Value != "second" || *got.Name != prefix+"db/password" || got.Type != types.ParameterTypeSecureString || got.Version != 0 || *got.ARN != secret.ARN || got.DataType != nil || got.Selector != nil {
		t.Errorf("%+v", got)
	}
	if !strings.HasPrefix(*got.SourceResult, `{"ARN":"`+secret.ARN+`","name":"db/password","versionId":"`) || !strings.Contains(*got.SourceResult, `"secretString":"second","versionStages":["AWSCURRENT"],"createdDate":"`) {
		t.Error(*got.SourceResult)
	}
	if previous := w.get(prefix + "db/password:AWSPREVIOUS"); *previous.Value != "first" || *previous.Selector != ":AWSPREVIOUS" {
		t.Errorf("%+v", previous)
	}
	if byID := w.get(prefix + "db/password:" + secret.Stages["AWSPREVIOUS"]); *byID.Value != "first" {
		t.Errorf("%+v", byID)
	}
	w.secret("blob", true, "abc")
	if binary := w.get(prefix + "blob"); binary.Value != nil {
		t.Errorf("%+v", binary)
	}
	names := []string{prefix + "db/password", prefix + "none", prefix + "db/password:NOSUCH", prefix + "db/password:a:b"}
	out := must[awsssm.GetParametersOutput](w)(w.ssm.GetParameters(t.Context(), &awsssm.GetParametersInput{Names: names, WithDecryption: aws.Bool(true)}))
	if len(out.Parameters) != 1 || !slices.Equal(out.InvalidParameters, names[1:]) {
		t.Errorf("%+v", out)
	}
	w.guard.refused.Store(aws.String("secretsmanager:GetSecretValue"))
	_, err := w.ssm.GetParameters(t.Context(), &awsssm.GetParametersInput{Names: names, WithDecryption: aws.Bool(true)})
	if want := "AccessDeniedException: User: " + rootARN + " is not authorized to perform: secretsmanager:GetSecretValue on resource: " + secret.ARN; w.refusal(err) != want {
		t.Errorf("got %s, want %s", w.refusal(err), want)
	}
}
