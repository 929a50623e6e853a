// Package directoryimages is the image driver "bulkhead/directoryimages": an image store is a directory, a template a
// file in it that nobody writes to again. Content comes from a file the operator allows, from an upload or from a URL.
// Whatever its way in, it is copied first and then verified and inspected where it lies, so that what was checked is
// what is kept; it becomes a template when all of that is done, and not before. It keeps no state but the directory.
// It must never open an image as anything but what it was declared to be, decode or unpack content, run a program on
// it, or connect to where the egress policy does not allow.
package directoryimages
