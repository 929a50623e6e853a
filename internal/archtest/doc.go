// Package archtest keeps the architecture: which folder may import which, which folder owns each outside library, and
// a few rules that a compiler does not know. Its tables (in rules.go) are the architecture, in the one form that cannot
// go out of date, because a test holds the whole repository to them. It reads source files only, so that nothing has
// to be built, and must never import anything of this project.
package archtest
