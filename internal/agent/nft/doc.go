// Package nft has the words that Berth's nftables rules are made of, for the packages that write tables: each word is a
// condition or a verdict, a rule is words in a row, and a Table is written as a whole in one transaction.
//
// It keeps two things true of every write. A packet meets either all of the old rules or all of the new ones: rules are
// exchanged in one transaction, inside chains that stay on their hooks. And no connection notices: the kernel's record of
// connections is never touched.
//
// A table that is right already is left alone; it is recognised by the comments of its rules. The kernel sends no notice then.
package nft
