// Package arn builds and reads Amazon Resource Names.
//
// It keeps true that every ARN Berth prints has the long format that AWS has
// used for all accounts since 2021 (behaviour/api-conventions.md §7), and that
// a name and an ARN given by a user mean the same thing everywhere.
package arn
