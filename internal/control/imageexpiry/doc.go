// Package imageexpiry runs the lifecycle policies of repositories.
//
// It keeps true that, of a repository with a lifecycle policy, the images that
// the policy expires are gone: shortly after they were pushed, tagged or lost
// their tags or the policy was made, and when they reach an age. AWS promises it
// within a day; here changes are collected for a few seconds, so that a push of
// many images is looked at once. What rules/imagelifecycle keeps stays, an image
// that an index needs above all.
//
// It deletes images and their tags through data/imagestore, which also frees
// their content, and writes Repository.LifecycleEvaluatedAt. It is woken by
// changes of repositories, images and tags, and by the next date that an image
// reaches an age. Every image that goes is in the log, with the rule that took
// it.
//
// Behaviour: the ECR user guide, "Automate the cleanup of images by using
// lifecycle policies".
package imageexpiry
