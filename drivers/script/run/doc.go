// Package run executes a program once and sees it through: input to stdin, output up to a limit, lines of stderr, an
// end in time, and nothing left behind, also of what went into a session of its own. It knows processes only; it must
// never know what programs are asked and what they answer.
package run
