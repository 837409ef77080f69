package routing

import (
	"regexp"
	"strconv"
	"strings"
)

// codeList is what matchers look like: codes and ranges of them.
var codeList = regexp.MustCompile(`^ *[0-9]{1,3} *(- *[0-9]{1,3} *)?(, *[0-9]{1,3} *(- *[0-9]{1,3} *)?)*$`)

// Matches reports whether a matcher such as "200,300-399" names code.
func Matches(matcher string, code int) bool {
	for part := range strings.SplitSeq(matcher, ",") {
		from, to, isRange := strings.Cut(strings.TrimSpace(part), "-")
		first, err := strconv.Atoi(strings.TrimSpace(from))
		if err != nil {
			continue
		}
		last := first
		if isRange {
			if last, err = strconv.Atoi(strings.TrimSpace(to)); err != nil {
				continue
			}
		}
		if first <= code && code <= last {
			return true
		}
	}
	return false
}

// grpcExpectation tests a gRPC target's answer. HAProxy sees the status when it comes in the headers, as it does when
// the method is not implemented (12, AWS's default), but not in the trailers behind a message: where 0 is accepted, an
// answer without a status in its headers passes.
func grpcExpectation(codes string) string {
	if !codeList.MatchString(codes) {
		codes = "12"
	}
	var alternatives []string
	for code := range 100 {
		if Matches(codes, code) {
			alternatives = append(alternatives, strconv.Itoa(code))
		}
	}
	if Matches(codes, 0) {
		return "rstatus ^200$"
	}
	return "hdr name grpc-status value -m reg " + quote("^("+strings.Join(alternatives, "|")+")$")
}
