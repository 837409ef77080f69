// Package registry is the door for image clients: the OCI distribution protocol,
// version 2, on the API's own address, in front of data/imagestore.
//
// What it keeps true:
//
//   - Every request is authorised as the ecr: action that it is on AWS, on the
//     repository that it names, before anything is said about that repository. A
//     decision holds for one request. Who asks has proved it by the password of
//     GetAuthorizationToken, by the signature in the URL of one layer, or is a
//     node whose task's execution role was asked before (ForRepository).
//   - What has arrived of a layer stays when a connection breaks, and is gone on
//     when the client comes back; a layer is in its repository when the client is
//     told so, and after any crash from then on.
//   - Bodies pass through: what a request holds in memory is a manifest at most,
//     and how many there are at a time is bounded. A client that neither sends
//     nor takes anything for a minute is left.
//   - A repository that a pull through cache rule covers has what its upstream
//     has: content is kept when its digest is right, once however many ask.
//
// Images are written by data/imagestore; the repositories that cache rules make
// are written here. Clients wake it; Run only keeps what was pulled through.
//
// Sources: the OCI distribution specification 1.1 and distribution's handlers
// for the protocol; behaviour/exec-and-more.md §8 for the words of AWS's errors.
package registry
