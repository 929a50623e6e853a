package host

import (
	"slices"
	"strings"
)

// forbiddenTrees may not be granted, nor anything in them.
var forbiddenTrees = []string{
	"/bin", "/boot", "/dev", "/etc", "/lib", "/lib32", "/lib64", "/libx32", "/proc", "/sbin", "/sys", "/usr",
}

// forbiddenDirs may not be granted as a whole; what is in them may.
var forbiddenDirs = []string{
	"/", "/home", "/media", "/mnt", "/opt", "/root", "/run", "/srv", "/tmp", "/var", "/var/cache", "/var/lib",
	"/var/log", "/var/run", "/var/spool", "/var/tmp",
}

// SystemPath tells whether a clean absolute path belongs to the system, so that no driver may write to it.
func SystemPath(path string) bool { return forbidden(path) }

// forbidden tells whether a clean absolute path belongs to the system, so that no driver may have it.
func forbidden(path string) bool {
	return slices.Contains(forbiddenDirs, path) ||
		slices.ContainsFunc(forbiddenTrees, func(tree string) bool { return within(path, tree) })
}

// within tells whether path is dir or below it; both are clean and absolute.
func within(path, dir string) bool {
	return path == dir || dir == "/" || strings.HasPrefix(path, dir+"/")
}
