package diskdir

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"golang.org/x/sys/unix"

	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
	"github.com/bulkhead-cloud/bulkhead/drivers/sdk"
)

// The codes of the faults that a directory gives.
const (
	CodePathInvalid      = "path-invalid"
	CodePathMissing      = "path-missing"
	CodePathNotDirectory = "path-not-directory"
	CodePathNotReadable  = "path-not-readable"
	CodePathNotWritable  = "path-not-writable"
	CodePathNotEmpty     = "path-not-empty"
	CodePathTaken        = "path-taken"
	CodePathNotOurs      = "path-not-ours"
	CodeNotMounted       = "not-mounted"
	CodeNotOpen          = "not-open"
	CodeNotEmpty         = "not-empty"
	CodeNoSpace          = "no-space"
	CodeInputOutput      = "io-error"
)

// claimFault says what is wrong with a path that an operator asks for, naming the property.
func claimFault(err error, path, property string) error {
	if sdk.FaultOf(err) != nil {
		return err
	}
	invalid := func(code, message, remedy string) error {
		return sdk.Invalid(code, property, message, remedy)
	}
	if owned, ok := errors.AsType[*ownedError](err); ok {
		return invalid(CodePathTaken,
			fmt.Sprintf("%s belongs to %s %s already", path, owned.owner.Kind, owned.owner.ID),
			"choose another directory, or delete what uses this one")
	}
	switch {
	case errors.Is(err, errNotAbsolute):
		return invalid(CodePathInvalid, "the path must be absolute, without . or .. or double slashes",
			"give a path such as /srv/bulkhead/pool")
	case errors.Is(err, fs.ErrNotExist):
		return invalid(CodePathMissing, path+" does not exist on this host", "create the directory and mount what "+
			"belongs there")
	case errors.Is(err, unix.ENOTDIR), errors.Is(err, unix.ELOOP):
		return invalid(CodePathNotDirectory, path+" is not a directory, or one of its folders is not",
			"choose a directory that is empty")
	case errors.Is(err, errNotEmpty):
		return invalid(CodePathNotEmpty, path+" is not empty", "choose a directory that is empty")
	case errors.Is(err, errBadMark):
		return invalid(CodePathNotOurs, path+" carries a mark that can't be read",
			"choose another directory, or remove "+markName+" if nothing uses this one")
	case errors.Is(err, fs.ErrPermission), errors.Is(err, unix.EROFS):
		return invalid(accessCode(err), "the driver may not work in "+path, accessRemedy(err))
	}
	return Fault(err, "claiming "+path)
}

// accessCode tells a directory that can't be entered from one that can't be written: only opening the root asks for
// no write access.
func accessCode(err error) string {
	if pathErr, ok := errors.AsType[*fs.PathError](err); ok && pathErr.Op == "open" {
		return CodePathNotReadable
	}
	return CodePathNotWritable
}

func accessRemedy(err error) string {
	if errors.Is(err, unix.EROFS) {
		return "mount the file system for writing"
	}
	return "make the directory writable for the data group: chgrp it and set mode 2770"
}

// openFault says what is wrong with a directory that was in order once.
func openFault(err error, path string) error {
	if owned, ok := errors.AsType[*ownedError](err); ok {
		return sdk.FromFault(&driverpb.Fault{
			Class: driverpb.Class_CLASS_CONFLICT, Code: CodePathTaken,
			Message: fmt.Sprintf("%s belongs to %s %s now", path, owned.owner.Kind, owned.owner.ID),
			Remedy:  "mount the right file system at " + path,
		})
	}
	if errors.Is(err, errNotAbsolute) || errors.Is(err, errNoMark) || errors.Is(err, errBadMark) ||
		errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTDIR) {
		return sdk.FromFault(&driverpb.Fault{
			Class: driverpb.Class_CLASS_TRANSIENT, Code: CodeNotMounted,
			Message: path + " is not there, or does not carry the mark it was given",
			Remedy:  "mount the file system that belongs at " + path,
		})
	}
	return Fault(err, "opening "+path)
}

// NotOpenFault says that an owner has not opened its directory yet.
func NotOpenFault(owner Owner) error {
	return sdk.NotFound(CodeNotOpen, fmt.Sprintf("%s %s is not open", owner.Kind, owner.ID), "open it first")
}

func notEmptyFault(path, folder string, files int) error {
	return sdk.Conflict(CodeNotEmpty, fmt.Sprintf("%d files are left in %s/%s", files, path, folder),
		"delete what is in it first")
}

// NoSpaceFault says that the file system is too full.
func NoSpaceFault(message string) error {
	return sdk.Exhausted(CodeNoSpace, message, "free space on the file system or choose another place")
}

// Fault makes of what the operating system says the fault that the engine can act on. It keeps faults, and errors of
// contexts; nil for nil.
func Fault(err error, doing string) error {
	switch {
	case err == nil:
		return nil
	case sdk.FaultOf(err) != nil:
		return err
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("%s: %w", doing, err)
	case NoSpace(err):
		return NoSpaceFault(doing + ": the file system is full")
	case errors.Is(err, unix.EFBIG), errors.Is(err, unix.EOVERFLOW):
		return sdk.Invalid("size-too-large", "/sizeBytes",
			doing+": the file system can't hold a file of that size", "choose a smaller size or another pool")
	case errors.Is(err, fs.ErrPermission), errors.Is(err, unix.EROFS):
		return sdk.Denied(CodePathNotWritable, doing+": the operating system refuses it", accessRemedy(err))
	case errors.Is(err, unix.EIO), errors.Is(err, unix.ESTALE), errors.Is(err, unix.ENODEV):
		return sdk.Transient(CodeInputOutput, doing+": the file system fails: "+err.Error())
	case errors.Is(err, unix.EMFILE), errors.Is(err, unix.ENFILE), errors.Is(err, unix.ENOMEM),
		errors.Is(err, unix.EAGAIN), errors.Is(err, unix.EBUSY):
		return sdk.Transient("host-busy", doing+": "+err.Error())
	}
	return sdk.Internal("unexpected-error", fmt.Errorf("%s: %w", doing, err))
}
