package registry_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"berth.dev/berth/internal/data/records"
	"berth.dev/berth/internal/edge/registry"
	"berth.dev/berth/internal/model"
)

func TestWhoAsks(t *testing.T) {
	w := newWorld(t, "app")
	w.push("app", "v1", "layer")
	request := func(user, password string) answer {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, w.server.URL+"/v2/app/manifests/v1", nil)
		if err != nil {
			t.Fatal(err)
		}
		if user != "" {
			r.SetBasicAuth(user, password)
		}
		return w.send(r)
	}
	a := request("", "").want(t, http.StatusUnauthorized)
	if got, want := a.Header.Get("WWW-Authenticate"), `Basic realm="`+w.server.URL+`/",service="ecr.amazonaws.com"`; got != want {
		t.Errorf("challenge %s, want %s", got, want)
	}
	request("AWS", "wrong").want(t, http.StatusUnauthorized)
	request("root", "secret").want(t, http.StatusUnauthorized)
	request("AWS", "old").want(t, http.StatusForbidden, "DENIED", "Your authorization token has expired")
	broken := request("AWS", "broken").want(t, http.StatusInternalServerError, "UNKNOWN")
	if strings.Contains(broken.body, "stopped") {
		t.Errorf("the client hears %s", broken.body)
	}
	request("AWS", "secret").want(t, http.StatusOK)
	w.do("GET", "/v2/", "").want(t, http.StatusOK, "{}")
}

func TestEachRequestIsAuthorised(t *testing.T) {
	w := newWorld(t, "app", "other")
	m := w.push("app", "v1", "layer")
	layer, image := sum("layer"), sum(m)
	begun := w.do("POST", "/v2/app/blobs/uploads/", "").want(t, http.StatusAccepted).Header.Get("Location")
	for _, tc := range []struct{ method, path, action string }{
		{"GET", "/v2/app/blobs/" + layer, "ecr:GetDownloadUrlForLayer"},
		{"HEAD", "/v2/app/blobs/" + layer, "ecr:BatchCheckLayerAvailability"},
		{"POST", "/v2/app/blobs/uploads/", "ecr:InitiateLayerUpload"},
		{"GET", begun, "ecr:UploadLayerPart"},
		{"PATCH", begun, "ecr:UploadLayerPart"},
		{"PUT", begun + "?digest=" + sum(""), "ecr:CompleteLayerUpload"},
		{"GET", "/v2/app/manifests/v1", "ecr:BatchGetImage"},
		{"HEAD", "/v2/app/manifests/v1", "ecr:BatchGetImage"},
		{"PUT", "/v2/app/manifests/v1", "ecr:PutImage"},
		{"GET", "/v2/app/tags/list", "ecr:ListImages"},
		{"GET", "/v2/app/referrers/" + image, "ecr:BatchGetImage"},
		{"DELETE", "/v2/app/manifests/v1", "ecr:BatchDeleteImage"},
	} {
		t.Run(tc.method+" "+tc.action, func(t *testing.T) {
			body := ""
			if tc.action == "ecr:PutImage" {
				body = m
			}
			w.deny(tc.action)
			if a := w.do(tc.method, tc.path, body).want(t, http.StatusForbidden); tc.method != "HEAD" {
				a.want(t, http.StatusForbidden, `"code":"DENIED"`, "arn:aws:iam::"+account+":user/dev is not authorized to perform: "+tc.action+" on resource: arn:aws:ecr:us-east-1:"+account+":repository/app because")
			}
			if n := len(w.records); n != 1 || w.records[0].ErrorCode != "AccessDeniedException" || w.records[0].Operation == nil {
				t.Errorf("the audit has %+v", w.records)
			}
			// A repository that is not there is not told from one that is.
			w.do(tc.method, strings.Replace(tc.path, "/app/", "/none/", 1), body).want(t, http.StatusForbidden)
			w.deny()
			if a := w.do(tc.method, tc.path, body); a.StatusCode >= 400 {
				t.Errorf("allowed: %s %s", a.Status, a.body)
			}
			if want := tc.action + " app"; !slices.Contains(w.asked, want) {
				t.Errorf("asked for %v, want %s", w.asked, want)
			}
		})
	}
	w.deny("ecr:GetDownloadUrlForLayer app")
	w.do("POST", "/v2/other/blobs/uploads/?mount="+layer+"&from=app", "").want(t, http.StatusAccepted)
	w.do("HEAD", "/v2/other/blobs/"+layer, "").want(t, http.StatusNotFound)
	w.deny()
	w.do("POST", "/v2/other/blobs/uploads/?mount="+layer+"&from=app", "").want(t, http.StatusCreated)
	w.do("GET", "/v2/other/blobs/"+layer, "").want(t, http.StatusOK, "layer")
}

func TestAWSsWords(t *testing.T) {
	w := newWorld(t, "app")
	w.make(&model.Repository{Name: "fixed", TagMutability: model.TagsImmutable})
	w.push("fixed", "v1", "one")
	m := w.push("app", "v1", "two")
	for name, tc := range map[string]struct {
		method, path, body string
		status             int
		says               string
	}{
		"no repository, push": {"POST", "/v2/none/blobs/uploads/", "", 404, `{"code":"NAME_UNKNOWN","message":"The repository with name 'none' does not exist in the registry with id '123456789012'"}`},
		"no repository, pull": {"GET", "/v2/none/manifests/v1", "", 404, `"NAME_UNKNOWN"`},
		"no image":            {"GET", "/v2/app/manifests/v2", "", 404, `{"code":"MANIFEST_UNKNOWN","message":"Requested image not found"}`},
		"no layer":            {"GET", "/v2/app/blobs/" + sum("one"), "", 404, `"BLOB_UNKNOWN"`},
		"immutable":           {"PUT", "/v2/fixed/manifests/v1", "", 400, `{"code":"TAG_INVALID","message":"The image tag 'v1' already exists in the 'fixed' repository and cannot be overwritten because the repository is immutable."}`},
		"catalog":             {"GET", "/v2/_catalog", "", 405, `"UNSUPPORTED"`},
		"no such thing":       {"GET", "/v2/app/things", "", 404, `"UNSUPPORTED"`},
		"deleting a layer":    {"DELETE", "/v2/app/blobs/" + sum("two"), "", 405, `"UNSUPPORTED"`},
		"name":                {"GET", "/v2/App/tags/list", "", 400, `"NAME_INVALID"`},
		"path as name":        {"GET", "/v2/app/_layers/tags/list", "", 400, `"NAME_INVALID"`},
		"manifest":            {"PUT", "/v2/app/manifests/v2", "{}", 400, `"MANIFEST_INVALID"`},
		"large manifest":      {"PUT", "/v2/app/manifests/v2", strings.Repeat(" ", 4<<20+1), 413, `"MANIFEST_INVALID"`},
		"tag":                 {"PUT", "/v2/app/manifests/-v2", m, 400, `"TAG_INVALID"`},
		"manifest's digest":   {"PUT", "/v2/app/manifests/" + sum("x"), m, 400, `"DIGEST_INVALID"`},
		"missing layers":      {"PUT", "/v2/fixed/manifests/v2", m, 400, `"MANIFEST_BLOB_UNKNOWN"`},
		"page":                {"GET", "/v2/app/tags/list?n=x", "", 400, `"PAGINATION_NUMBER_INVALID"`},
		"referrers":           {"GET", "/v2/app/referrers/v1", "", 400, `"DIGEST_INVALID"`},
		"upload":              {"PATCH", "/v2/app/blobs/uploads/x", "", 404, `"BLOB_UPLOAD_UNKNOWN"`},
	} {
		t.Run(name, func(t *testing.T) {
			body := tc.body
			if name == "immutable" {
				w.do("POST", "/v2/fixed/blobs/uploads/?mount="+sum("two")+"&from=app", "").want(t, 201)
				w.do("POST", "/v2/fixed/blobs/uploads/?mount="+sum(`{"of":"two"}`)+"&from=app", "").want(t, 201)
				body = m
			}
			if name == "missing layers" {
				body = strings.ReplaceAll(m, sum("two"), sum("three"))
			}
			w.do(tc.method, tc.path, body).want(t, tc.status, tc.says)
		})
	}
}

func TestTagsList(t *testing.T) {
	w := newWorld(t, "app", "app/sub")
	m := w.push("app", "t0", "layer")
	for i := 1; i < 5; i++ {
		w.do("PUT", fmt.Sprintf("/v2/app/manifests/t%d", i), m).want(t, 201)
	}
	w.push("app/sub", "other", "layer")
	w.do("GET", "/v2/app/tags/list", "").want(t, 200, `{"name":"app","tags":["t0","t1","t2","t3","t4"]}`)
	var got []string
	for path := "/v2/app/tags/list?n=2"; path != ""; {
		a := w.do("GET", path, "").want(t, 200)
		got = append(got, a.body)
		link := a.Header.Get("Link")
		path = strings.TrimSuffix(strings.TrimPrefix(link, "<"), `>; rel="next"`)
	}
	if len(got) != 3 || !strings.Contains(got[2], `["t4"]`) {
		t.Errorf("pages: %v", got)
	}
	w.do("GET", "/v2/app/tags/list?last=t3", "").want(t, 200, `["t4"]`)
	w.do("GET", "/v2/app/tags/list?n=0", "").want(t, 200, `"tags":[]`)
}

func TestReferrers(t *testing.T) {
	w := newWorld(t, "app")
	subject := sum(w.push("app", "v1", "layer"))
	w.do("POST", "/v2/app/blobs/uploads/?digest="+sum("{}"), "{}").want(t, 201)
	say := func(artifact string) string {
		m := fmt.Sprintf(`{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","artifactType":%q,"config":{"mediaType":"application/vnd.oci.empty.v1+json","digest":%q,"size":2},"layers":[],"subject":{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":%q,"size":7},"annotations":{"by":"me"}}`, artifact, sum("{}"), subject)
		a := w.do("PUT", "/v2/app/manifests/"+sum(m), m).want(t, 201)
		if a.Header.Get("OCI-Subject") != subject {
			t.Errorf("OCI-Subject %q", a.Header.Get("OCI-Subject"))
		}
		return sum(m)
	}
	signature, bom := say("application/signature"), say("application/bom")
	a := w.do("GET", "/v2/app/referrers/"+subject, "").want(t, 200, signature, bom, `"annotations":{"by":"me"}`)
	if got := a.Header.Get("Content-Type"); got != "application/vnd.oci.image.index.v1+json" {
		t.Errorf("content type %s", got)
	}
	a = w.do("GET", "/v2/app/referrers/"+subject+"?artifactType=application/bom", "").want(t, 200, bom)
	if strings.Contains(a.body, signature) || a.Header.Get("OCI-Filters-Applied") != "artifactType" {
		t.Errorf("not filtered: %s", a.body)
	}
	w.do("GET", "/v2/app/referrers/"+sum("none"), "").want(t, 200, `"manifests":[]`)
}

func TestDelete(t *testing.T) {
	w := newWorld(t, "app")
	m := w.push("app", "a", "layer")
	w.do("PUT", "/v2/app/manifests/b", m).want(t, 201)
	w.do("DELETE", "/v2/app/manifests/a", "").want(t, 202)
	w.do("GET", "/v2/app/manifests/b", "").want(t, 200)
	index := fmt.Sprintf(`{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":%q,"size":%d}]}`, sum(m), len(m))
	w.do("PUT", "/v2/app/manifests/all", index).want(t, 201)
	w.do("DELETE", "/v2/app/manifests/"+sum(m), "").want(t, 409, "Requested image referenced by manifest list")
	w.do("DELETE", "/v2/app/manifests/all", "").want(t, 202)
	w.do("DELETE", "/v2/app/manifests/"+sum(m), "").want(t, 202)
	w.do("DELETE", "/v2/app/manifests/"+sum(m), "").want(t, 404, "MANIFEST_UNKNOWN")
	if n := records.ImageTags.Len(w.db.Snapshot()); n != 0 {
		t.Errorf("%d tags are left", n)
	}
}

func TestLayerParts(t *testing.T) {
	w := newWorld(t, "app")
	w.push("app", "v1", "0123456789")
	a := w.do("GET", "/v2/app/blobs/"+sum("0123456789"), "", "Range", "bytes=3-5").want(t, http.StatusPartialContent, "345")
	if a.body != "345" || a.Header.Get("Content-Range") != "bytes 3-5/10" {
		t.Errorf("%q, %s", a.body, a.Header.Get("Content-Range"))
	}
	w.do("GET", "/v2/app/blobs/"+sum("0123456789"), "", "Range", "bytes=20-").want(t, http.StatusRequestedRangeNotSatisfiable)
	if h := w.do("HEAD", "/v2/app/blobs/"+sum("0123456789"), "").want(t, 200); h.ContentLength != 10 || h.Header.Get("Docker-Content-Digest") != sum("0123456789") {
		t.Errorf("%v", h.Header)
	}
}

func TestForRepository(t *testing.T) {
	w := newWorld(t, "app", "other")
	w.push("app", "v1", "layer")
	w.push("other", "v1", "secret of others")
	w.deny("ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer")
	w.server.Config.Handler = w.door.ForRepository("app")
	w.do("GET", "/v2/", "").want(t, 200)
	w.do("GET", "/v2/app/manifests/v1", "").want(t, 200)
	w.do("GET", "/v2/app/blobs/"+sum("layer"), "").want(t, 200, "layer")
	for _, path := range []string{"/v2/other/manifests/v1", "/v2/other/blobs/" + sum("secret of others"), "/v2/_catalog", "/v2/app/../other/manifests/v1"} {
		w.do("GET", path, "").want(t, http.StatusForbidden, "DENIED")
	}
	w.do("POST", "/v2/app/blobs/uploads/", "").want(t, http.StatusForbidden)
	w.do("DELETE", "/v2/app/manifests/v1", "").want(t, http.StatusForbidden)
	if len(w.asked) != 0 {
		t.Errorf("asked for %v", w.asked)
	}
}

func TestSignLayerURL(t *testing.T) {
	w := newWorld(t, "app", "other")
	w.push("app", "v1", "layer")
	w.push("app", "v2", "another")
	url, err := registry.SignLayerURL(w.ring, w.server.URL, "app", sum("layer"), w.now.Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	get := func(method, url string) answer {
		r, err := http.NewRequestWithContext(t.Context(), method, url, nil)
		if err != nil {
			t.Fatal(err)
		}
		return w.send(r)
	}
	get("GET", url).want(t, 200, "layer")
	get("GET", strings.Replace(url, sum("layer"), sum("another"), 1)).want(t, http.StatusForbidden)
	get("GET", strings.Replace(url, "/app/", "/other/", 1)).want(t, http.StatusForbidden)
	get("GET", url+"x").want(t, http.StatusForbidden)
	get("PUT", url).want(t, http.StatusForbidden)
	w.advance(time.Hour)
	get("GET", url).want(t, http.StatusForbidden, "expired")
}

func TestAudit(t *testing.T) {
	w := newWorld(t, "app")
	w.deny()
	m := w.push("app", "v1", "layer")
	w.do("GET", "/v2/app/manifests/v1", "").want(t, 200)
	w.do("DELETE", "/v2/app/manifests/"+sum(m), "").want(t, 202)
	var got []string
	for _, r := range w.records {
		got = append(got, fmt.Sprintf("%s %t %s", r.Operation.Name, r.ReadOnly, r.Caller.UserName))
	}
	if want := []string{"PutImage false dev", "BatchGetImage false dev", "BatchDeleteImage false dev"}; !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}
