// Command apigen writes the packages internal/wire/api/<service>api from AWS's
// service models.
//
//	go run . -models ../../../shared/models -scope scope -patches patches -out ../../internal/wire/api
//
// For each scope/<service>.txt it reads <models>/<service>.json (botocore's
// form, documentation removed), keeps what the operations in scope reach, and
// writes types, schemas, errors and the service interface. The output depends
// on nothing but its inputs, so that a run on unchanged models leaves no diff.
//
// What a model says wrongly, or in a way that Go cannot use, is corrected in
// patches/<service>.json and nowhere else.
package main
