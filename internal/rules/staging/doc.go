// Package staging moves the labels of a secret's versions: which version is
// current, which was before, and which are forgotten
// (behaviour/secrets-logs.md §2).
//
// What it keeps true of every secret: a label is on one version at most; as
// soon as there is a value, one version has AWSCURRENT; AWSPREVIOUS is never
// on the version that has AWSCURRENT.
package staging
