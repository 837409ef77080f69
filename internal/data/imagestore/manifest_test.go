package imagestore_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"berth.dev/berth/internal/data/imagestore"
)

const (
	oci    = "application/vnd.oci.image.manifest.v1+json"
	ocis   = "application/vnd.oci.image.index.v1+json"
	docker = "application/vnd.docker.distribution.manifest.v2+json"
	list   = "application/vnd.docker.distribution.manifest.list.v2+json"
)

var (
	someDigest = "sha256:" + strings.Repeat("0123456789abcdef", 4)
	some       = `{"mediaType":"x","digest":"` + someDigest + `","size":1}`
)

func TestParseManifest(t *testing.T) {
	for name, tc := range map[string]struct{ text, claimed, want string }{
		"oci":                  {`{"schemaVersion":2,"mediaType":"` + oci + `","config":` + some + `,"layers":[` + some + `]}`, "", oci},
		"oci, silent":          {`{"schemaVersion":2,"config":` + some + `,"layers":[]}`, "", oci},
		"index, silent":        {`{"schemaVersion":2,"manifests":[` + some + `]}`, "", ocis},
		"index, claimed":       {`{"schemaVersion":2,"manifests":[]}`, ocis + "; charset=utf-8", ocis},
		"its own counts":       {`{"schemaVersion":2,"mediaType":"` + docker + `","config":` + some + `,"layers":[]}`, oci, docker},
		"list":                 {`{"schemaVersion":2,"mediaType":"` + list + `","manifests":[` + some + `]}`, "", list},
		"unknown keys":         {`{"schemaVersion":2,"config":` + some + `,"layers":[],"more":{"a":[1,{"b":null}]}}`, "", oci},
		"annotations' case":    {`{"schemaVersion":2,"config":` + some + `,"layers":[],"annotations":{"Digest":"x","digest":"y"}}`, "", oci},
		"not JSON":             {`{"schemaVersion":2`, "", ""},
		"not an object":        {`[]`, "", ""},
		"empty":                {``, "", ""},
		"trailing":             {`{"schemaVersion":2,"config":` + some + `}{}`, "", ""},
		"twice":                {`{"schemaVersion":2,"config":` + some + `,"layers":[],"layers":[` + some + `]}`, "", ""},
		"twice, below":         {`{"schemaVersion":2,"config":{"digest":"` + someDigest + `","digest":"x","size":1}}`, "", ""},
		"disguised":            {`{"schemaVersion":2,"config":` + some + `,"Layers":[` + some + `]}`, "", ""},
		"disguised, Kelvin":    {`{"schemaVersion":2,"config":` + some + `,"layerſ":[` + some + `]}`, "", ""},
		"schema 1":             {`{"schemaVersion":1,"name":"x","fsLayers":[]}`, "", ""},
		"schema 3":             {`{"schemaVersion":3,"config":` + some + `}`, "", ""},
		"media type":           {`{"schemaVersion":2,"mediaType":"application/json","config":` + some + `}`, "", ""},
		"no config":            {`{"schemaVersion":2,"layers":[]}`, "", ""},
		"both":                 {`{"schemaVersion":2,"config":` + some + `,"layers":[],"manifests":[]}`, "", ""},
		"index with layers":    {`{"schemaVersion":2,"mediaType":"` + ocis + `","layers":[],"manifests":[]}`, "", ""},
		"digest":               {`{"schemaVersion":2,"config":{"digest":"sha256:../../x","size":1}}`, "", ""},
		"other algorithm":      {`{"schemaVersion":2,"config":{"digest":"sha512:` + strings.Repeat("0", 128) + `","size":1}}`, "", ""},
		"negative size":        {`{"schemaVersion":2,"config":{"digest":"` + someDigest + `","size":-1}}`, "", ""},
		"size of text":         {`{"schemaVersion":2,"config":{"digest":"` + someDigest + `","size":"1"}}`, "", ""},
		"subject":              {`{"schemaVersion":2,"config":` + some + `,"subject":{"digest":"x"}}`, "", ""},
		"deep":                 {`{"schemaVersion":2,"config":` + some + `,"x":` + strings.Repeat("[", 100) + strings.Repeat("]", 100) + `}`, "", ""},
		"more layers than fit": {`{"schemaVersion":2,"config":` + some + `,"layers":[` + some + strings.Repeat(","+some, 2000) + `]}`, "", ""},
		"more parts than fit":  {`{"schemaVersion":2,"manifests":[` + some + strings.Repeat(","+some, 100) + `]}`, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			got, _, err := imagestore.ParseManifest([]byte(tc.text), tc.claimed)
			if got != tc.want || (tc.want == "") != errors.Is(err, imagestore.ErrManifest) {
				t.Errorf("%q, %v; want %q", got, err, tc.want)
			}
		})
	}
}

// What is accepted names blobs by their digests only, and is understood in the
// same way again.
func FuzzManifest(f *testing.F) {
	for _, text := range []string{
		`{"schemaVersion":2,"mediaType":"` + oci + `","config":` + some + `,"layers":[` + some + `]}`,
		`{"schemaVersion":2,"mediaType":"` + list + `","manifests":[` + some + `]}`,
		`{"schemaVersion":2,"config":` + some + `,"subject":` + some + `,"annotations":{"A":"","a":""}}`,
		`{"schemaVersion":1,"fsLayers":[]}`,
		`{"schemaVersion":2,"layers":[],"LAYERS":[]}`,
	} {
		f.Add([]byte(text), "")
	}
	f.Fuzz(func(t *testing.T, data []byte, claimed string) {
		kind, refers, err := imagestore.ParseManifest(data, claimed)
		if err != nil {
			if !errors.Is(err, imagestore.ErrManifest) && !errors.Is(err, imagestore.ErrTooLarge) {
				t.Errorf("an error of no kind: %v", err)
			}
			return
		}
		for _, text := range refers {
			if d, err := digest.Parse(text); err != nil || d.Algorithm() != digest.SHA256 {
				t.Errorf("it refers to %q", text)
			}
		}
		if again, _, err := imagestore.ParseManifest(data, kind); err != nil || again != kind {
			t.Errorf("%q became %q, %v", kind, again, err)
		}
	})
}
