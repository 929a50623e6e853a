// Package sandbox confines a process to what it declared, just before it becomes the driver or the data-path program:
// user, capabilities, resource limits, no_new_privs, Landlock and seccomp; and it reports in words what holds and
// what is missing. It works in the stage, a fresh copy of this program between the host and the driver; it knows
// nothing of drivers, contracts or who asked.
//
// # What it does not give
//
// Landlock restricts TCP by port and not by host. A program that may execute a dynamic loader can execute any ELF
// file it may read. Memory is limited by RLIMIT_DATA where no cgroup can do it, which counts private memory only.
package sandbox
