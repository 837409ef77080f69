// Package logs answers the API of Amazon CloudWatch Logs: log groups, streams,
// retention, tags, and putting, getting and filtering events.
//
// It keeps true that limits, tokens, orders and error texts are AWS's
// (behaviour/secrets-logs.md §5); the memory behind it is data/logstore, whose
// groups and streams it writes on behalf of users. Nothing wakes it but calls.
// What the model of the API says about a single member (lengths, patterns,
// ranges) has been checked by the gateway before; rules between members are
// checked here.
//
// Members whose effect Berth does not have are refused with an
// InvalidParameterException that says so: kmsKeyId, the DELIVERY class, other
// accounts. An entity of PutLogEvents is rejected in the way the API has for
// it, rejectedEntityInfo, and the events are stored.
package logs
