package drivertest

import (
	"path/filepath"
	"strings"

	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
)

// explain adds, to what failed, what the driver said and which permissions it may lack.
func (e *env) explain() {
	if !e.Failed() {
		return
	}
	said := ""
	if watched, ok := e.instance.(Watched); ok {
		said = watched.Said(e.T)
	}
	confined, ok := e.instance.(Confined)
	if !ok {
		return
	}
	if tail := lastLines(said, 20); tail != "" {
		e.Logf("the driver said last:\n%s", tail)
	}
	denied := false
	for _, answer := range e.journal.replies() {
		if fault, ok := answer.(*driverpb.Fault); ok {
			said += "\n" + fault.GetMessage()
			denied = denied || fault.GetClass() == driverpb.Class_CLASS_DENIED
		}
	}
	advice := confined.Advice(said)
	for _, one := range advice {
		e.Log(one)
	}
	if denied && len(advice) == 0 {
		e.Log("the driver answered DENIED: if it was not the backend that refused, the permissions in its manifest lack " +
			"what it needs: a path, a program, a device or a port")
	}
}

func lastLines(text string, n int) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return strings.Join(lines[max(len(lines)-n, 0):], "\n")
}

// grant lets the process reach what properties name that the driver declares as paths, as a host does.
func (e *env) grant(properties Properties) {
	e.Helper()
	if e.harness.about == nil {
		return
	}
	for _, p := range e.harness.about.properties {
		place, ok := properties[p.GetKey()].(string)
		if ok && p.GetPathAccess() != driverpb.Property_ACCESS_NONE && filepath.IsAbs(place) {
			e.reach(place, p.GetPathAccess() == driverpb.Property_ACCESS_READ_WRITE)
		}
	}
}

// reach grants a path, once.
func (e *env) reach(place string, write bool) {
	e.Helper()
	granting, ok := e.instance.(Granting)
	if !ok {
		return
	}
	e.mutex.Lock()
	known := e.granted[place]
	e.granted[place] = true
	e.mutex.Unlock()
	if known {
		return
	}
	if err := granting.Grant(e.T, place, write); err != nil {
		e.Logf("granting %s: %v", place, err)
	}
}
