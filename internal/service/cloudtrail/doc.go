// Package cloudtrail answers CloudTrail's event history: who called what in the
// last 90 days.
//
// It keeps true that LookupEvents shows the records of the audit log group as
// they are there, newest first, and reads no more of them than an answer takes:
// backwards, day by day, and no more than a bounded number for one call. A
// call whose filter is rare may so answer with a token and no event, as
// CloudTrail's does too.
//
// It writes nothing, and nothing wakes it but requests. edge/audit writes the
// records: in a stream for each day, named 2006-01-02, by the time of the call.
//
// Behaviour: the API reference of CloudTrail 2013-11-01. Otherwise than there:
// LookupEvents has no rate of its own (AWS allows two calls a second), and
// there are no trails, because there is no S3 to deliver to.
package cloudtrail
