// Package smithy is the runtime of the generated API packages: schemas of
// shapes, operation tables, the two interfaces by which shapes describe
// themselves, constraint validation, and the errors that clients may see. It is
// the server direction of what Smithy SDKs do on the client.
//
// What it keeps true:
//
//   - A protocol is written once, against Schema and the two interfaces, and
//     knows no service. A service is data, and knows no protocol.
//   - Nothing here uses reflection; a shape is walked by its own generated
//     methods, and validation is one more ShapeSerializer.
//   - A constraint is refused in AWS's words with the service's own code (Codes).
//
// Pure values and functions: it starts nothing and nothing wakes it. DESIGN.md
// says why it is shaped so.
package smithy
