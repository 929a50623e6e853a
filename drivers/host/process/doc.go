// Package process starts processes through the sandbox stage, identifies them beyond doubt, and follows them whether
// they are children of this process or not. A process is known by pid, start time and boot; it is signalled only
// through a pidfd that was opened before this was compared, so that a reused pid is never hit. It knows nothing of
// drivers or units.
package process
