package server

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/bulkhead-cloud/bulkhead/drivers/host/cgroup"
	"github.com/bulkhead-cloud/bulkhead/drivers/host/record"
)

// GuestProcess finds the QEMU of a guest by its id, or one by anything else it was told. Mark is another one once it
// was started again.
func GuestProcess(told string) (pid int, mark string, err error) {
	processes, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		return 0, "", fmt.Errorf("reading the processes: %w", err)
	}
	for _, path := range processes {
		line, err := os.ReadFile(path)
		if err != nil || !bytes.HasPrefix(line, []byte("/")) || !bytes.Contains(line, []byte("qemu-system")) ||
			!bytes.Contains(line, []byte(told)) {
			continue
		}
		if pid, err = strconv.Atoi(filepath.Base(filepath.Dir(path))); err != nil {
			return 0, "", fmt.Errorf("reading the processes: %w", err)
		}
		mark, err = startOf(pid)
		return pid, mark, err
	}
	return 0, "", fmt.Errorf("no process of guest %s", told)
}

// startOf tells process and start time apart from all others.
func startOf(pid int) (string, error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return "", fmt.Errorf("reading when process %d was started: %w", pid, err)
	}
	fields := strings.Fields(string(data[bytes.LastIndexByte(data, ')')+1:]))
	const startTime = 22 - 3 // proc(5), counted behind the name
	return fmt.Sprintf("process %d, started at %s", pid, fields[startTime]), nil
}

// RemoveGroups removes the control groups that the server made, once it, its drivers and their guests are gone.
func (s *Server) RemoveGroups(ctx context.Context) error {
	var places cgroup.Places
	err := record.Load(filepath.Join(s.Dir, "host", "cgroups.json"), &places)
	if errors.Is(err, os.ErrNotExist) {
		return nil // it made none
	}
	if err != nil {
		return err
	}
	tree := cgroup.Open(filepath.Base(s.Dir), places)
	failed := poll(ctx, func(context.Context) bool { // what was killed may still be on its way out
		err = tree.Remove()
		return err == nil
	})
	if failed != nil {
		return err
	}
	return nil
}
