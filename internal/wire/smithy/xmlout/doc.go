// Package xmlout writes shapes as XML elements, as the responses of the query
// protocols have them: lists as <list><member>…, maps as
// <map><entry><key>…</key><value>…, all under their names in the schema.
//
// What it keeps true: the output is well-formed whatever the values hold;
// characters that XML cannot hold become U+FFFD.
//
// Pure: it starts nothing and keeps nothing.
package xmlout
