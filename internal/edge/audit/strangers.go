package audit

import (
	"crypto/rand"
	"maps"
	"slices"
	"strconv"
	"sync"
	"time"

	"berth.dev/berth/internal/edge/gateway"
)

const (
	strangersBurst  = 100 // records that come at once
	strangersRate   = 10  // records a second after that
	strangerSources = 16  // addresses that a summary names
	summaryEvery    = time.Minute
)

// strangers limits what is recorded of requests that do not authenticate, and
// counts the rest. The zero value is ready.
type strangers struct {
	mu       sync.Mutex
	allowed  float64 // records that may be made now, less strangersBurst
	at       time.Time
	count    int64 // not recorded since the last summary
	bySource map[string]int64
}

// stranger reports whether a call was turned away without anybody knowing whose
// it was. (Who shows a token of a trusted issuer has no credentials yet either,
// and succeeds.)
func stranger(call *gateway.AuditRecord) bool {
	return call.Caller.ARN == "" && call.Caller.Service == "" && call.ErrorCode != ""
}

// admit reports whether one more is recorded.
func (s *strangers) admit(now time.Time, source string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.at.IsZero() {
		s.allowed = min(0, s.allowed+now.Sub(s.at).Seconds()*strangersRate)
	}
	s.at = now
	if s.allowed > -strangersBurst+0.5 {
		s.allowed--
		return true
	}
	s.count++
	if s.bySource == nil {
		s.bySource = map[string]int64{}
	}
	if _, known := s.bySource[source]; !known && len(s.bySource) >= strangerSources {
		source = "others"
	}
	s.bySource[source]++
	return false
}

// take returns the counts and begins anew.
func (s *strangers) take() (int64, map[string]int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	count, bySource := s.count, s.bySource
	s.count, s.bySource = 0, nil
	return count, bySource
}

// summary is a record of what was not recorded; there is none when there was
// nothing.
func (r *Recorder) summary() (string, bool) {
	count, sources := r.strangers.take()
	lost := r.lost.Swap(0)
	if count == 0 && lost == 0 {
		return "", false
	}
	buf := append([]byte(nil), `{"eventVersion":"1.11","userIdentity":{"type":"AWSService","invokedBy":"berth"},"eventTime":"`...)
	buf = append(r.cfg.Now().UTC().AppendFormat(buf, time.RFC3339), `","eventSource":"cloudtrail.amazonaws.com","eventName":"UnrecordedRequests"`...)
	buf = appendMember(buf, "awsRegion", r.cfg.Region)
	buf = append(buf, `,"sourceIPAddress":"berth","userAgent":"berth","requestParameters":null,"responseElements":null,"additionalEventData":{"unauthenticated":`...)
	buf = strconv.AppendInt(buf, count, 10)
	buf = strconv.AppendInt(append(buf, `,"lost":`...), lost, 10)
	buf = append(buf, `,"sources":{`...)
	for i, source := range slices.Sorted(maps.Keys(sources)) {
		if i > 0 {
			buf = append(buf, ',')
		}
		buf = strconv.AppendInt(append(appendString(buf, source, wordBytes), ':'), sources[source], 10)
	}
	var id [16]byte
	rand.Read(id[:]) //nolint:errcheck // crypto/rand.Read never fails since Go 1.24
	buf = appendUUID(append(buf, `}},"eventID":`...), id)
	buf = append(buf, `,"readOnly":true,"eventType":"AwsServiceEvent","managementEvent":true`...)
	buf = appendMember(buf, "recipientAccountId", r.cfg.AccountID)
	return string(append(buf, `,"eventCategory":"Management"}`...)), true
}
