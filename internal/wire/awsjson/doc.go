// Package awsjson is the server side of AWS's JSON protocols 1.0 and 1.1: an
// X-Amz-Target header, a JSON object each way.
//
// What it keeps true: it never panics, and depth and number of values are
// limited, whatever the bytes; unknown members are ignored and null is absent, as
// AWS does; a value of the wrong JSON type is refused with SerializationException
// in AWS's words; the last of duplicate keys wins. An absent scalar or nil list
// is not written, an empty list is.
//
// Sources: behaviour/api-conventions.md §2; the sentences of refusal as clients
// of AWS quote them. Pure: it starts nothing and keeps nothing.
package awsjson
