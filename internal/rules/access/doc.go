// Package access says what a request needs permission for: a table of every
// operation that is served, its IAM action, the resources that it touches, the
// condition keys that it carries and what else its caller must be allowed, such
// as iam:PassRole for a role that is handed over.
//
// What it keeps true: the table is data, one file for each service; no operation
// is served without a row (a test compares it with the generated tables, another
// checks that every member a row speaks of exists). It decides nothing:
// edge/authority evaluates the caller's policies for what Checks returns.
//
// Names are resolved before they are checked, as AWS does: RunTask of a family is
// a request for its latest revision. What cannot be resolved is checked under the
// ARN that the name would have, so that an answer does not tell a caller without
// permission what exists.
//
// Sources: AWS's Service Authorization Reference and
// behaviour/iam-credentials-metadata.md §2 and §8. What the reference leaves open
// is marked (uncertain) in the tables.
package access
