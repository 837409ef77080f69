package gateway_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"strings"
	"testing"
	"time"

	"berth.dev/berth/internal/edge/gateway"
	"berth.dev/berth/internal/wire/smithy"
)

// TestConformance derives requests from the model of every operation that is
// served, valid ones and ones with a single thing wrong, and sends them signed
// through the whole gateway. Nothing may fail on our side, hang, or answer
// anything but a well-formed envelope with the code that the operation has for
// what is wrong.
func TestConformance(t *testing.T) {
	total := 0
	unimplemented := open(t, quiet)
	empty := open(t, func(cfg *gateway.Config) {
		quiet(cfg)
		for i := range cfg.Services {
			cfg.Services[i].API = answeringEmpty(cfg.Services[i].API)
		}
	})
	for _, api := range tables(t) {
		for _, op := range api.Operations {
			t.Run(api.Name+"/"+op.Name, func(t *testing.T) {
				c := &conformance{t: t, api: api, op: op, empty: empty, unimplemented: unimplemented}
				c.valid()
				c.constraints()
				c.missing()
				c.types()
				c.garbage()
				c.contentTypes()
				c.oversized()
				if c.cases < 15 {
					t.Errorf("only %d cases: the derivation has lost something", c.cases)
				}
				total += c.cases
			})
		}
	}
	t.Logf("%d requests derived from the models", total)
}

func quiet(cfg *gateway.Config) {
	cfg.Logger = slog.New(slog.DiscardHandler)
	for i := range cfg.Services {
		cfg.Services[i].MaxBody = conformanceBody
	}
}

const conformanceBody = 1 << 20

// tables returns the tables that open serves.
func tables(t *testing.T) []*smithy.Service {
	var all []*smithy.Service
	open(t, func(cfg *gateway.Config) {
		for _, s := range cfg.Services {
			all = append(all, s.API)
		}
	})
	return all
}

// answeringEmpty is api with operations that succeed with an empty output.
func answeringEmpty(api *smithy.Service) *smithy.Service {
	changed := *api
	changed.Operations = nil
	for _, op := range api.Operations {
		operation := *op
		operation.Invoke = func(context.Context, any, smithy.Shape) (smithy.Shape, error) { return op.NewOutput(), nil }
		changed.Operations = append(changed.Operations, &operation)
	}
	return &changed
}

// conformance is the run for one operation.
type conformance struct {
	t                    *testing.T
	api                  *smithy.Service
	op                   *smithy.Operation
	empty, unimplemented *door
	cases                int
}

func (c *conformance) isJSON() bool { return c.api.Protocol == "json" }

func (c *conformance) full() *value    { return (&deriver{full: true}).derive(c.op.Input, c.op.Name) }
func (c *conformance) minimal() *value { return (&deriver{}).derive(c.op.Input, c.op.Name) }

// with writes v as a request.
func (c *conformance) with(v *value) request {
	if c.isJSON() {
		return c.body(string(v.json()))
	}
	return c.body(v.form(c.api.Protocol == "ec2"))
}

// body makes a request of an encoded input.
func (c *conformance) body(text string) request {
	if c.isJSON() {
		return jsonCall(c.api, c.op.Name, text)
	}
	return formCall(c.api, c.op.Name, text)
}

func (c *conformance) send(d *door, q request) reply {
	return c.do(d, q.build(c.t))
}

func (c *conformance) do(d *door, r *http.Request) reply {
	c.t.Helper()
	c.cases++
	ctx, cancel := context.WithTimeout(c.t.Context(), 20*time.Second)
	defer cancel()
	got := d.do(c.t, r.WithContext(ctx))
	if ctx.Err() != nil {
		c.t.Errorf("hangs")
	}
	return got
}

// accepted sends q and expects that a provider sees it: the empty one's answer
// is well formed, the unimplemented one says so.
func (c *conformance) accepted(name string, q request) {
	c.t.Helper()
	got := c.send(c.empty, q)
	if err := c.success(got); err != nil {
		c.t.Errorf("%s: %v\n%s", name, err, clip(q.body))
		return
	}
	got = c.send(c.unimplemented, q)
	if code, _, err := got.failure(c.api.Protocol); err != nil || got.status != http.StatusNotImplemented || code != "NotImplemented" {
		c.t.Errorf("%s: %s, %v; want 501 NotImplemented\n%s", name, got, err, clip(q.body))
	}
}

func (c *conformance) success(got reply) error {
	if got.status != http.StatusOK {
		return fmt.Errorf("refused: %s", got)
	}
	if c.isJSON() {
		var object map[string]any
		if err := json.Unmarshal([]byte(got.body), &object); err != nil {
			return fmt.Errorf("%w: %s", err, got)
		}
		return nil
	}
	id := "<RequestId>" + got.header.Get("x-amzn-RequestId") + "</RequestId>"
	if c.api.Protocol == "ec2" {
		id = strings.ReplaceAll(id, "RequestId", "requestId")
	}
	var any struct{}
	if err := oneDocument(got.body, &any); err != nil {
		return fmt.Errorf("%w: %s", err, got)
	}
	if !strings.Contains(got.body, "<"+c.op.Name+"Response xmlns=\""+c.api.XMLNamespace+"\">") || !strings.Contains(got.body, id) {
		return fmt.Errorf("root or request id: %s", got)
	}
	return nil
}

// refused sends q and expects status and code in a well-formed envelope.
func (c *conformance) refused(name string, q request, status int, code string) {
	c.t.Helper()
	c.check(name, c.send(c.empty, q), status, code, q.body)
}

func (c *conformance) check(name string, got reply, status int, code string, body []byte) {
	c.t.Helper()
	gotCode, message, err := got.failure(c.api.Protocol)
	if err != nil || got.status != status || gotCode != code {
		c.t.Errorf("%s: %d %s %q (%v), want %d %s\n%s", name, got.status, gotCode, clip([]byte(message)), err, status, code, clip(body))
	}
}

func clip(b []byte) string {
	if len(b) > 600 {
		return string(b[:600]) + "…"
	}
	return string(b)
}

func (c *conformance) valid() {
	c.accepted("minimal", c.with(c.minimal()))
	c.accepted("full", c.with(c.full()))
	if !c.isJSON() {
		c.accepted("unknown parameters", c.body(c.minimal().form(c.api.Protocol == "ec2")+"&Nobody.Knows.1=x&=y&.=z&Nobody..=1"))
		return
	}
	body := string(c.minimal().json())
	unknown := `"nobodyKnows":{"a":[1,null,{"b":"c"}]}`
	if body != "{}" {
		unknown += ","
	}
	c.accepted("unknown member", c.body("{"+unknown+body[1:]))
	c.accepted("spaces", c.body(" \n\t"+body+"\r\n "))
	full := c.full()
	for _, f := range full.fields {
		if !f.member.Required {
			f.value.raw = null{}
		}
	}
	c.accepted("null for every optional member", c.with(full))
}

// constraints breaks every constraint of the full document once.
func (c *conformance) constraints() {
	v := c.full()
	v.each(func(at *value) {
		for _, way := range at.ways() {
			intact := *at
			way.spoil(at)
			// A query request cannot say that a list is empty at a place where
			// nothing but its elements would tell of it.
			if inexpressible := !c.isJSON() && at.schema.Kind == smithy.KindList && len(at.elems) == 0; !inexpressible {
				c.refused(at.path+" "+way.how, c.with(v), http.StatusBadRequest, c.op.Codes.Violation)
			}
			*at = intact
		}
	})
}

// missing leaves out every required member once, and sends null for it.
func (c *conformance) missing() {
	v := c.full()
	v.each(func(at *value) {
		for _, f := range at.fields {
			if !f.member.Required {
				continue
			}
			f.absent = true
			// Without its only member, an element of a query request is not there.
			if c.isJSON() || at == v || len(at.fields) > 1 {
				c.refused(f.value.path+" missing", c.with(v), http.StatusBadRequest, c.op.Codes.Missing)
			}
			f.absent = false
			if c.isJSON() {
				f.value.raw = null{}
				c.refused(f.value.path+" null", c.with(v), http.StatusBadRequest, c.op.Codes.Missing)
				f.value.raw = nil
			}
		}
	})
}

// types puts values of wrong types at every place of the full document.
func (c *conformance) types() {
	v := c.full()
	v.each(func(at *value) {
		if c.isJSON() {
			for _, wrong := range wrongTypes(at.schema) {
				at.raw = wrong
				c.refused(fmt.Sprintf("%s is %T %v", at.path, wrong, wrong), c.with(v), http.StatusBadRequest, c.op.Codes.Malformed)
			}
		} else if at != v && at.schema.Kind != smithy.KindString {
			at.raw = "text!"
			c.refused(at.path+" is text", c.with(v), http.StatusBadRequest, c.op.Codes.Malformed)
		}
		at.raw = nil
	})
}

// garbage sends what is not a document at all.
func (c *conformance) garbage() {
	random := rand.New(rand.NewPCG(1, uint64(len(c.op.Name))))
	for i := range 20 {
		b := make([]byte, 1+random.IntN(300))
		for j := range b {
			b[j] = byte(random.UintN(256))
		}
		if c.isJSON() {
			if !json.Valid(b) && len(bytes.TrimSpace(b)) > 0 { // nothing at all is an empty object
				c.refused(fmt.Sprintf("garbage %q", b), c.body(string(b)), http.StatusBadRequest, c.op.Codes.Malformed)
			}
			continue
		}
		// Garbage may happen to be parameters that nobody knows.
		got := c.send(c.empty, c.body("&"+string(b)))
		if err := c.success(got); err != nil {
			code, _, err := got.failure(c.api.Protocol)
			if err != nil || got.status >= 500 {
				c.t.Errorf("garbage %d %q: %s %v", i, b, code, err)
			}
		}
	}
	full := c.with(c.full())
	if !c.isJSON() {
		c.refused("bad escape", c.body("&A=%zz"), http.StatusBadRequest, c.op.Codes.Malformed)
		c.refused("semicolon", c.body("&A=1;B=2"), http.StatusBadRequest, c.op.Codes.Malformed)
		return
	}
	for _, text := range []string{
		`{`, `}`, `{"a"`, `{"a":`, `{"a":1,`, `{"a":1}{}`, `{"a":1} x`, "\xff\xfe", "{'a':1}", "{\"a\":\"\n\"}", `{"a":01}`, `{"a":NaN}`,
		strings.Repeat("[", 200_000), strings.Repeat(`{"a":`, 100_000), `{"a":` + strings.Repeat("[", 200_000) + strings.Repeat("]", 200_000) + "}",
	} {
		c.refused("not JSON", c.body(text), http.StatusBadRequest, c.op.Codes.Malformed)
	}
	step := max(1, len(full.body)/40)
	for n := 1; n < len(full.body); n += step {
		c.refused(fmt.Sprintf("cut after %d bytes", n), c.body(string(full.body[:n])), http.StatusBadRequest, c.op.Codes.Malformed)
	}
}

// contentTypes sends a good body under wrong names.
func (c *conformance) contentTypes() {
	code, types := "UnknownOperationException", []string{"", "text/plain", "application/json", formType, "application/x-amz-json", ";;"}
	if !c.isJSON() {
		code, types = "MissingAction", []string{"", "text/plain", "application/json", "application/x-amz-json-1.1", "multipart/form-data; boundary=x", ";;"}
	}
	for _, kind := range types {
		q := c.with(c.full())
		q.contentType = kind
		c.refused("content type "+kind, q, http.StatusBadRequest, code)
	}
}

// oversized sends bodies beyond the limit, announced and not.
func (c *conformance) oversized() {
	code := "RequestEntityTooLarge"
	if c.isJSON() {
		code += "Exception"
	}
	r := c.with(c.minimal()).build(c.t)
	r.ContentLength = conformanceBody + 1
	c.check("announced as too long", c.do(c.empty, r), http.StatusRequestEntityTooLarge, code, nil)

	r = c.with(c.minimal()).build(c.t)
	r.ContentLength, r.Body = -1, io.NopCloser(io.LimitReader(spaces{}, conformanceBody+1))
	c.check("too long", c.do(c.empty, r), http.StatusRequestEntityTooLarge, code, nil)
}

type spaces struct{}

func (spaces) Read(b []byte) (int, error) {
	for i := range b {
		b[i] = ' '
	}
	return len(b), nil
}
