package sigv4_test

import (
	"bufio"
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"berth.dev/berth/internal/wire/sigv4"
)

func hash(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:])
}

// byHand signs a canonical request as the specification says, without the SDK.
func byHand(canonical, date, region, service string) string {
	key := []byte("AWS4" + secret)
	for _, part := range []string{date, region, service, "aws4_request"} {
		key = mac(key, part)
	}
	scope := date + "/" + region + "/" + service + "/aws4_request"
	return hex.EncodeToString(mac(key, "AWS4-HMAC-SHA256\n"+now.Format("20060102T150405Z")+"\n"+scope+"\n"+hash(canonical)))
}

func mac(key []byte, data string) []byte {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(data))
	return h.Sum(nil)
}

// meaning is everything of a request that a server could act on and that a
// signature must cover, in a form where equal means equal on AWS too: spaces
// around and runs of them inside header values do not count, nor the order and
// escaping of query parameters.
func meaning(r *http.Request, body []byte) string {
	var b strings.Builder
	b.WriteString(r.Method + "\n" + r.Host + "\n" + r.URL.EscapedPath() + "\n")
	query := r.URL.Query()
	for _, name := range slices.Sorted(maps.Keys(query)) {
		values := slices.Sorted(slices.Values(query[name]))
		b.WriteString(url.QueryEscape(name) + "=" + strings.Join(values, "\x00") + "\n")
	}
	for _, name := range []string{"Authorization", "Content-Type", "X-Amz-Date", "X-Amz-Target"} {
		for _, value := range r.Header.Values(name) {
			b.WriteString(name + ":" + strings.Join(strings.Fields(value), " ") + "\n")
		}
	}
	return b.String() + string(body)
}

// Property: change any byte of a signed request on the wire, and it is refused,
// or it was a byte that changes nothing that was signed.
func TestEveryByteCounts(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		c := plain()
		if rapid.Bool().Draw(rt, "presigned") {
			c = presigned()
		}
		c.target = "http://ecs.example:8080/" + rapid.StringMatching(`[a-z/]{0,8}`).Draw(rt, "path") +
			"?Action=" + rapid.StringMatching(`[A-Za-z]{1,8}`).Draw(rt, "action") + "&" + rapid.StringMatching(`([a-z]{1,3}=[a-z0-9%]{0,0}[a-z]{0,3}&?){0,3}`).Draw(rt, "query")
		if c.method == "POST" {
			c.body = rapid.StringN(0, 20, 40).Draw(rt, "body")
		}
		r, body := c.sign(t)
		if _, err := sigv4.Verify(now, r, body, expect, lookup); err != nil {
			rt.Fatalf("untouched, refused: %v", err)
		}
		before := meaning(r, body)

		var wire bytes.Buffer
		r.Body = io.NopCloser(bytes.NewReader(body))
		if len(body) == 0 {
			r.Body = http.NoBody // else it would be written in chunks
		}
		if err := r.Write(&wire); err != nil {
			rt.Fatal(err)
		}
		raw := wire.Bytes()
		at := rapid.IntRange(0, len(raw)-1).Draw(rt, "at")
		with := rapid.Byte().Filter(func(b byte) bool { return b != raw[at] }).Draw(rt, "with")
		raw[at] = with

		changed, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(raw)))
		if err != nil {
			return // not HTTP any more
		}
		read, err := io.ReadAll(changed.Body)
		if err != nil {
			return
		}
		if meaning(changed, read) == before {
			return
		}
		if _, err := sigv4.Verify(now, changed, read, expect, lookup); err == nil {
			rt.Fatalf("byte %d made %q was accepted:\n%s", at, with, raw)
		}
	})
}

// Property: what the specification computes by hand is accepted, for queries
// and paths of any bytes.
func TestAgreesWithTheSpecification(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		text := rapid.StringN(0, 6, 24)
		values := url.Values{}
		for range rapid.IntRange(0, 4).Draw(rt, "pairs") {
			values.Add(text.Draw(rt, "name"), text.Draw(rt, "value"))
		}
		var pairs []string
		for name, all := range values {
			for _, value := range all {
				pairs = append(pairs, escape(name)+"="+escape(value))
			}
		}
		// Sorted by name, then by value: '=' must not take part in the order.
		slices.SortFunc(pairs, func(a, b string) int {
			an, av, _ := strings.Cut(a, "=")
			bn, bv, _ := strings.Cut(b, "=")
			if an != bn {
				return strings.Compare(an, bn)
			}
			return strings.Compare(av, bv)
		})
		segment := escape(text.Draw(rt, "segment"))
		body := text.Draw(rt, "body")
		canonical := "POST\n/" + escape(segment) + "\n" + strings.Join(pairs, "&") +
			"\nhost:h:1\nx-amz-date:20261122T120000Z\n\nhost;x-amz-date\n" + hash(body)

		r, err := http.NewRequest("POST", "http://h:1/"+segment+"?"+strings.Join(pairs, "&"), strings.NewReader(body))
		if err != nil {
			rt.Fatal(err)
		}
		r.Header.Set("X-Amz-Date", "20261122T120000Z")
		r.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential="+keyID+"/20261122/us-east-1/ecs/aws4_request, SignedHeaders=host;x-amz-date, Signature="+
			byHand(canonical, "20261122", "us-east-1", "ecs"))
		if _, err := sigv4.Verify(now, arrive(t, r), []byte(body), expect, lookup); err != nil {
			rt.Fatalf("refused: %v\n%s", err, canonical)
		}
	})
}

// escape is UriEncode of the specification: everything but unreserved
// characters becomes %XX.
func escape(s string) string {
	const unreserved = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.~"
	var b strings.Builder
	for _, c := range []byte(s) {
		if strings.IndexByte(unreserved, c) >= 0 {
			b.WriteByte(c)
		} else {
			b.WriteString("%" + strings.ToUpper(hex.EncodeToString([]byte{c})))
		}
	}
	return b.String()
}

func FuzzParse(f *testing.F) {
	for _, c := range []call{plain(), presigned()} {
		r, _ := c.sign(f)
		f.Add(r.Header.Get("Authorization"), r.Header.Get("X-Amz-Date"), r.URL.RawQuery)
	}
	f.Add("AWS4-HMAC-SHA256 ,,=,Credential=/////,SignedHeaders=;,Signature=", "20261122T120000Z", "X-Amz-Algorithm=&X-Amz-Date")
	f.Add("AWS4-HMAC-SHA256", "", "%zz;")
	f.Fuzz(func(t *testing.T, authorization, date, query string) {
		r := &http.Request{
			Method: "POST", Host: "h", URL: &url.URL{Path: "/", RawQuery: query},
			Header: http.Header{"Authorization": {authorization}, "X-Amz-Date": {date}},
		}
		for range 2 { // header form, then the query alone
			claim, err := sigv4.Verify(now, r, nil, sigv4.Expect{}, lookup)
			if err == nil {
				t.Fatalf("accepted %+v from %q %q %q", claim, authorization, date, query)
			}
			if reasonOf(err) == -1 && !strings.Contains(err.Error(), "store is away") {
				t.Fatalf("not a refusal: %v", err)
			}
			r.Header.Del("Authorization")
		}
	})
}
