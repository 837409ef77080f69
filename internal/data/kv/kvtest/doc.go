// Package kvtest is the contract of package kv as a test suite. [Run] checks one implementation against tables of what must
// happen; [Differential] plays one random history against two implementations and compares every answer and every event,
// which is what makes tests on memkv mean something for etcd.
//
// It is test code, imported by tests only.
package kvtest
