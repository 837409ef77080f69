package schedule_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"berth.dev/berth/internal/base/schedule"
)

const layout = "2006-01-02 15:04 Mon"

func TestCron(t *testing.T) {
	for _, tc := range []struct {
		cron, after string
		want        []string
	}{
		{"0 8 * * ? *", "2026-02-27 08:00 Fri", []string{"2026-02-28 08:00 Sat", "2026-03-01 08:00 Sun"}},
		{"15 12 * * ? *", "2026-02-27 12:14 Fri", []string{"2026-02-27 12:15 Fri"}},
		{"0 18 ? * MON-FRI *", "2026-02-27 18:00 Fri", []string{"2026-03-02 18:00 Mon", "2026-03-03 18:00 Tue"}},
		{"0 8 1 * ? *", "2026-12-01 08:00 Tue", []string{"2027-01-01 08:00 Fri"}},
		{"0/15 * * * ? *", "2026-02-27 23:50 Fri", []string{"2026-02-28 00:00 Sat", "2026-02-28 00:15 Sat"}},
		{"0/10 8-17 ? * mon-fri *", "2026-02-27 17:49 Fri", []string{"2026-02-27 17:50 Fri", "2026-03-02 08:00 Mon"}},
		{"0 */8 * * ? *", "2026-02-27 01:00 Fri", []string{"2026-02-27 08:00 Fri", "2026-02-27 16:00 Fri", "2026-02-28 00:00 Sat"}},
		{"0 /8 * * ? *", "", nil},
		{"0 0 L * ? *", "2028-02-01 00:00 Tue", []string{"2028-02-29 00:00 Tue", "2028-03-31 00:00 Fri"}},
		{"0 0 LW * ? *", "2026-01-01 00:00 Thu", []string{"2026-01-30 00:00 Fri", "2026-02-27 00:00 Fri", "2026-03-31 00:00 Tue"}},
		{"0 0 1W * ? *", "2026-07-15 00:00 Wed", []string{"2026-08-03 00:00 Mon", "2026-09-01 00:00 Tue"}},
		{"0 0 31W * ? *", "2026-04-30 00:00 Thu", []string{"2026-05-29 00:00 Fri", "2026-07-31 00:00 Fri"}},
		{"0 0 15W * ? *", "2026-02-01 00:00 Sun", []string{"2026-02-16 00:00 Mon"}},
		{"0 10 ? FEB,MAY,AUG,NOV TUE#2 *", "2026-02-11 00:00 Wed", []string{"2026-05-12 10:00 Tue"}},
		{"0 1 ? * 6L *", "2026-02-01 00:00 Sun", []string{"2026-02-27 01:00 Fri", "2026-03-27 01:00 Fri"}},
		{"0 1 ? * L *", "2026-02-01 00:00 Sun", []string{"2026-02-07 01:00 Sat"}},
		{"0 0 ? * FRI-MON *", "2026-02-26 00:00 Thu", []string{"2026-02-27 00:00 Fri", "2026-02-28 00:00 Sat", "2026-03-01 00:00 Sun", "2026-03-02 00:00 Mon", "2026-03-06 00:00 Fri"}},
		{"0 0 29 2 ? *", "2026-01-01 00:00 Thu", []string{"2028-02-29 00:00 Tue"}},
		{"0 0 1 1 ? 2027-2029/2", "2026-01-01 00:00 Thu", []string{"2027-01-01 00:00 Fri", "2029-01-01 00:00 Mon", ""}},
		{"0 0 30 2 ? *", "2026-01-01 00:00 Thu", []string{""}},
	} {
		c, err := schedule.ParseCron(tc.cron)
		if tc.want == nil {
			if err == nil {
				t.Errorf("%s was read", tc.cron)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", tc.cron, err)
			continue
		}
		at, err := time.Parse(layout, tc.after)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for range tc.want {
			next, found := c.Next(at)
			if !found {
				got = append(got, "")
				break
			}
			got, at = append(got, next.Format(layout)), next
		}
		if diff := cmp.Diff(tc.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tc.cron, diff)
		}
	}
}

func TestCronRefuses(t *testing.T) {
	for _, text := range []string{
		"", "* * * * *", "* * * * * *", "* * ? * ? *", "60 * * * ? *", "-1 * * * ? *", "* 24 * * ? *", "* * 0 * ? *", "* * 32 * ? *", "* * * 13 ? *", "* * * JANUARY ? *",
		"* * ? * 8 *", "* * ? * 0 *", "* * ? * MON#6 *", "* * ? * #1 *", "* * ? * XL *", "* * W * ? *", "* * 40W * ? *", "* * * * ? 1969", "* * * * ? 2200", "*/0 * * * ? *",
		"*/x * * * ? *", "1- * * * ? *", "1,,2 * * * ? *", "+1 * * * ? *", "0 0 * * ? * *",
	} {
		if _, err := schedule.ParseCron(text); err == nil {
			t.Errorf("%q was read", text)
		}
	}
}

func TestParse(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"rate(1 day)": 24 * time.Hour, "rate(10 days)": 240 * time.Hour, "rate(1 hour)": time.Hour, "rate(12 hours)": 12 * time.Hour, "rate(5 minutes)": 5 * time.Minute,
	} {
		if e, err := schedule.Parse(text); err != nil || e.Rate.Interval() != want {
			t.Errorf("%s: %v, %v", text, e.Rate, err)
		}
	}
	if e, err := schedule.Parse("cron(0 8 * * ? *)"); err != nil || e.Cron.Field(1) != "8" || len(e.Cron.Hours()) != 1 {
		t.Errorf("%+v, %v", e.Cron, err)
	}
	for _, text := range []string{"", "rate()", "rate(0 days)", "rate(1 days)", "rate(2 day)", "rate(2 weeks)", "rate(2days)", "rate(-1 day)", "rate(999999999 days)", "rate(1 day", "cron()", "0 8 * * ? *", "at(2026-01-01T00:00:00)"} {
		if _, err := schedule.Parse(text); err == nil {
			t.Errorf("%q was read", text)
		}
	}
}

// The next time is later, and nothing that matches lies between.
func TestNext_Property(t *testing.T) {
	begin := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	rapid.Check(t, func(t *rapid.T) {
		minutes := rapid.SampledFrom([]string{"0", "*/20", "5,50", "10-12", "*"}).Draw(t, "minutes")
		hours := rapid.SampledFrom([]string{"0", "*", "3-5", "22-2", "1/7"}).Draw(t, "hours")
		days := rapid.SampledFrom([]string{"* * ?", "1 * ?", "L * ?", "? * MON", "? * 2#1", "15W 1-6 ?", "? 3 1L", "LW,3 * ?"}).Draw(t, "days")
		c, err := schedule.ParseCron(minutes + " " + hours + " " + days + " *")
		if err != nil {
			t.Fatal(err)
		}
		after := begin.Add(time.Duration(rapid.Int64Range(0, int64(400*24*time.Hour)).Draw(t, "after")))
		next, found := c.Next(after)
		if !found || !next.After(after) {
			t.Fatalf("%v is not after %v", next, after)
		}
		if again, _ := c.Next(next.Add(-time.Nanosecond)); !again.Equal(next) {
			t.Fatalf("%v is not a time of its own: %v", next, again)
		}
		between := after.Add(time.Duration(rapid.Int64Range(0, int64(next.Sub(after))-1).Draw(t, "between")))
		if other, _ := c.Next(between); !other.Equal(next) {
			t.Fatalf("from %v it is %v, from %v %v", after, next, between, other)
		}
	})
}

func FuzzParse(f *testing.F) {
	for _, text := range []string{"rate(1 day)", "cron(0 8 ? FEB,MAY TUE#2 *)", "cron(0/15 1-5 LW * ? 2026-2030/2)", "cron(0/9223372036854775807 22-4/100 * * ? *)"} {
		f.Add(text)
	}
	after := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	f.Fuzz(func(t *testing.T, text string) {
		e, err := schedule.Parse(text)
		if err != nil || e.Cron == nil {
			return
		}
		if next, found := e.Cron.Next(after); found && !next.After(after) {
			t.Errorf("%s: %v", text, next)
		}
	})
}
