// Package imagestore keeps the registry's images: layers and manifests as
// files on disk, what they are called in the store.
//
// It keeps true that
//
//   - a blob is on disk whole and with the content that its digest names, or
//     not at all: it is moved into place after it was checked and synced;
//   - an image whose record exists has all of its blobs, and an acknowledged
//     push survives the end of the process at any instant;
//   - garbage collection never takes a blob that an image needs, that was
//     promised to a client a while ago (Layer, Commit), or that is being read;
//   - a tag of an immutable repository is moved by nobody, whichever door the
//     image comes through: the registry's protocol or the API.
//
// It writes model.Image and model.ImageTag. Content is kept by
// distribution/distribution's storage in its own layout, so that its drivers
// and tools fit.
package imagestore
