// Package form reads shapes from the parameters of a query request, as the
// protocols awsquery and ec2query both have them: "A.B.1.C=x" is a tree.
//
// What it keeps true: memory and time follow the number of bytes received, not
// the numbers within them (List.999999999 is one element); the number of
// parameters and the depth are limited; it never panics. What is not in the
// schema is ignored.
//
// Pure: it starts nothing and keeps nothing.
package form
