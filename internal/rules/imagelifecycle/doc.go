// Package imagelifecycle reads the lifecycle policies of repositories and says
// which images they expire. It has no clock and no store: images and the time
// are handed in.
//
// What it keeps true:
//
//   - a rule never expires an image whose tags a rule of higher priority asks
//     for, and counts images as if none had been expired by another rule;
//   - an image that an index in the repository refers to is not expired while
//     the index is there;
//   - what is attached to an image, such as its signature, is not expired while
//     the image is there, and goes with it;
//   - the images of a plan are all that repeated runs would take, so that a
//     preview promises no less than a run does.
//
// Sources: the ECR user guide, "Lifecycle policy evaluation rules", "Lifecycle
// policy properties" and its examples, which are tests here; the texts of
// refusals have their sources in testdata/refusals.golden. There is no archive
// storage class: rules that move images into it, or select those in it, are
// refused. Berth lets sinceImagePulled expire images, which AWS only lets it
// archive.
package imagelifecycle
