// Package caller carries who is asking through a request's context.
//
// The gateway puts an Identity there after it has verified the signature and
// before anything else runs; authorizers and providers read it with From. The
// value never changes during a request, and nothing but the gateway writes it.
package caller
