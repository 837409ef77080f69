package audit

import "berth.dev/berth/internal/edge/gateway"

// Encode is the record of a call.
func Encode(account, region string, call *gateway.AuditRecord) string {
	return New(Config{AccountID: account, Region: region}).encode(call)
}

// Queued is how many records may wait.
const Queued = queued
