// Package ec2query is the server side of EC2's own variant of the query
// protocol.
//
// What it keeps true: every list is flattened in requests and none in responses;
// parameters are named by queryName, or by locationName with a capital first
// letter; a response without members says <return>true</return>.
//
// Source: behaviour/api-conventions.md §4. Pure: it starts nothing and keeps
// nothing.
package ec2query
