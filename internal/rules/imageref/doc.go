// Package imageref reads the names of images in task definitions: which
// registry a name means, and what in it.
//
// A name is read as Docker does it: "nginx" is docker.io/library/nginx:latest.
// A name of ECR, <account>.dkr.ecr.<region>.amazonaws.com/<repository>, means
// Berth's own registry when account and region are its own.
package imageref
