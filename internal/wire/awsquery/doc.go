// Package awsquery is the server side of AWS's query protocol: form parameters
// in, XML out.
//
// What it keeps true: both POST and GET are read; lists are List.member.N, maps
// Map.entry.N.key and .value, flattened ones List.N; an error's Code is the
// model's error code, which is often not the shape's name.
//
// Source: behaviour/api-conventions.md §3. Pure: it starts nothing and keeps
// nothing.
package awsquery
