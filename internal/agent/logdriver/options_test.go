package logdriver

import (
	"maps"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseOptions(t *testing.T) {
	minimal := Options{Group: "/ecs/app", Region: "us-east-1", Mode: NonBlocking, MaxBufferBytes: 10 << 20}
	with := func(change func(*Options)) Options { o := minimal; change(&o); return o }
	tests := []struct {
		name        string
		options     map[string]string // besides group and region
		defaultMode Mode
		want        Options
		err         string
	}{
		{name: "the required ones", want: minimal},
		{name: "the account's mode", defaultMode: Blocking, want: with(func(o *Options) { o.Mode, o.MaxBufferBytes = Blocking, 0 })},
		{name: "mode before the account's", defaultMode: Blocking, options: map[string]string{"mode": "non-blocking"}, want: minimal},
		{name: "blocking", options: map[string]string{"mode": "blocking"}, want: with(func(o *Options) { o.Mode, o.MaxBufferBytes = Blocking, 0 })},
		{name: "buffer", options: map[string]string{"max-buffer-size": "1500k"}, want: with(func(o *Options) { o.MaxBufferBytes = 1500 << 10 })},
		{name: "prefix", options: map[string]string{"awslogs-stream-prefix": "ecs"}, want: with(func(o *Options) { o.StreamPrefix = "ecs" })},
		{name: "create group", options: map[string]string{"awslogs-create-group": "true"}, want: with(func(o *Options) { o.CreateGroup = true })},
		{name: "do not create group", options: map[string]string{"awslogs-create-group": "false"}, want: minimal},
		{name: "multiline", options: map[string]string{"awslogs-multiline-pattern": "^INFO"}, want: with(func(o *Options) { o.Multiline = "^INFO" })},
		{
			name:    "datetime takes precedence",
			options: map[string]string{"awslogs-multiline-pattern": "^INFO", "awslogs-datetime-format": `\[%Y-%m`},
			want:    with(func(o *Options) { o.Multiline = `\[\d{4}-(?:0[1-9]|1[0-2])` }),
		},
		{name: "no group", options: map[string]string{"awslogs-group": ""}, err: "must specify a value for log opt 'awslogs-group'"},
		{name: "no region", options: map[string]string{"awslogs-region": ""}, err: "unable to get awslogs driver arguments: awslogs-region is required"},
		{name: "unknown", options: map[string]string{"awslogs-grup": "x"}, err: "unknown log opt 'awslogs-grup' for awslogs log driver"},
		{name: "not yet", options: map[string]string{"awslogs-endpoint": "x"}, err: "log opt 'awslogs-endpoint' is not supported for awslogs log driver by Berth yet"},
		{name: "no boolean", options: map[string]string{"awslogs-create-group": "maybe"}, err: "must specify valid value for log opt 'awslogs-create-group'"},
		{name: "no mode", options: map[string]string{"mode": "fast"}, err: "logger: log mode not supported: fast"},
		{
			name:    "buffer when blocking",
			options: map[string]string{"mode": "blocking", "max-buffer-size": "1m"},
			err:     "logger: max-buffer-size option is only supported with 'mode=non-blocking'",
		},
		{name: "no size", options: map[string]string{"max-buffer-size": "much"}, err: "error parsing option max-buffer-size"},
		{name: "size of nothing", options: map[string]string{"max-buffer-size": "0"}, err: "error parsing option max-buffer-size"},
		{name: "no expression", options: map[string]string{"awslogs-multiline-pattern": "("}, err: `awslogs could not parse multiline pattern key "("`},
		{name: "no directive", options: map[string]string{"awslogs-datetime-format": "%Q"}, err: "unknown directive %Q"},
		{name: "half a directive", options: map[string]string{"awslogs-datetime-format": "%Y%"}, err: "it ends in %"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			options := map[string]string{"awslogs-group": "/ecs/app", "awslogs-region": "us-east-1"}
			maps.Copy(options, test.options)
			got, err := ParseOptions(options, test.defaultMode)
			if test.err != "" {
				if err == nil || !strings.Contains(err.Error(), test.err) {
					t.Errorf("error %v, want %q", err, test.err)
				}
				return
			}
			if diff := cmp.Diff(test.want, got); err != nil || diff != "" {
				t.Errorf("error %v, options (-want +got):\n%s", err, diff)
			}
		})
	}
}

func TestStreamName(t *testing.T) {
	if got := (Options{StreamPrefix: "ecs"}).StreamName("app", "0123", "cid"); got != "ecs/app/0123" {
		t.Errorf("with a prefix: %q", got)
	}
	if got := (Options{}).StreamName("app", "0123", "cid"); got != "cid" {
		t.Errorf("without: %q", got)
	}
}

func TestDatetimePattern(t *testing.T) {
	tests := []struct {
		format    string
		match, no []string
	}{
		{`%Y-%m-%d %H:%M:%S`, []string{"2026-11-22 10:46:47 x", "at 1999-01-31 00:00:00"}, []string{"2026-13-22 10:46:47", "2026-11-32 10:46:47", "2026-11-22 24:00:00", "  at main.go"}},
		{`^%b %d, %y %I:%M:%S %p`, []string{"Nov 02, 26 12:00:00 AM"}, []string{"November 02, 26 12:00:00 AM", "Nov 02, 26 13:00:00 PM", "Nov 02, 26 12:00:00 ,M"}},
		{`%A %B %w`, []string{"Wednesday May 3"}, []string{"Wed May 3", "Wednesday May 7"}},
		{`^%a %j$`, []string{"Thu 001", "Thu 099", "Thu 100", "Thu 366"}, []string{"Thu 000", "Thu 367", "Thu 12"}},
		{`%S%L %z`, []string{"59.123 +0100", "00.000 -1130"}, []string{"59 +0100", "59.12 +0100"}},
		{`%f %Z`, []string{"123456 CET", "000000 EST"}, []string{"12345 CET", "123456 cet"}},
		{`^%c`, []string{"Sun Nov 22 10:46:47 2026", "Sun Nov  2 10:46:47 2026"}, []string{"Nov 22 10:46:47 2026"}},
		{`^100%% %d`, []string{"100% 07"}, []string{"100 07"}},
	}
	for _, test := range tests {
		pattern, err := datetimePattern(test.format)
		if err != nil {
			t.Errorf("%s: %v", test.format, err)
			continue
		}
		re, err := regexp.Compile(pattern)
		if err != nil {
			t.Errorf("%s: %v", test.format, err)
			continue
		}
		for _, text := range test.match {
			if !re.MatchString(text) {
				t.Errorf("%s does not match %q", test.format, text)
			}
		}
		for _, text := range test.no {
			if re.MatchString(text) {
				t.Errorf("%s matches %q", test.format, text)
			}
		}
	}
}
