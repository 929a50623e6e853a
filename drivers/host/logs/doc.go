// Package logs keeps what a process prints, in rotated files of bounded size, without ever making the keeper's own
// process wait and without ever dying with it.
//
// The process writes to a named pipe that it holds open for reading as well, so that it gets no SIGPIPE when the
// keeper is gone; the keeper opens the same pipe by name, again after its own restart. What nobody reads stays in the
// pipe, whose size the kernel bounds; nothing can fill the disk while the keeper is away. The keeper takes so many
// bytes a second and no more: who floods waits, itself (Block), or loses what does not fit (Drop, for data-path
// processes that must never wait for their log). A file with RLIMIT_FSIZE would have killed the process or failed
// its other files, a pipe of the server would have ended with the server.
package logs
