package process

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
)

// ErrGone says that a process is not there any more, or that its pid belongs to another one now.
var ErrGone = errors.New("the process is gone")

// Identity names one process for all time.
type Identity struct {
	PID int `json:"pid"`
	// StartTime is in clock ticks since boot (proc(5), stat field 22).
	StartTime uint64 `json:"start_time"`
	BootID    string `json:"boot_id"`
}

// Identify reads the identity of the process that has pid now. It wraps ErrGone when there is none, or one that has
// ended and only waits to be reaped.
func Identify(pid int) (Identity, error) {
	now, err := readStat(pid)
	if err != nil {
		return Identity{}, err
	}
	if now.ended {
		return Identity{}, fmt.Errorf("identifying process %d: %w", pid, ErrGone)
	}
	boot, err := bootID()
	if err != nil {
		return Identity{}, err
	}
	return Identity{PID: pid, StartTime: now.start, BootID: boot}, nil
}

// stat is what is of interest in proc(5)'s stat file.
type stat struct {
	ended bool
	start uint64
	// status is the wait status of a process that ended; 0 also when we may not know.
	status uint32
}

// Fields of the stat file, counted from the third: the second is the program's name in parentheses and may hold
// anything, parentheses and blanks included.
const (
	fieldState  = 0
	fieldStart  = 19
	fieldStatus = 49
)

func readStat(pid int) (stat, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ESRCH) {
		return stat{}, fmt.Errorf("identifying process %d: %w", pid, ErrGone)
	}
	if err != nil {
		return stat{}, fmt.Errorf("identifying process %d: %w", pid, err)
	}
	parsed, err := parseStat(text)
	if err != nil {
		return stat{}, fmt.Errorf("identifying process %d: %w", pid, err)
	}
	return parsed, nil
}

func parseStat(text []byte) (stat, error) {
	_, rest, found := cutLast(text, ')')
	fields := strings.Fields(string(rest))
	if !found || len(fields) <= fieldStatus {
		return stat{}, errors.New("unexpected format of its stat file")
	}
	start, err := strconv.ParseUint(fields[fieldStart], 10, 64)
	if err != nil {
		return stat{}, fmt.Errorf("reading its start time: %w", err)
	}
	status, err := strconv.ParseUint(fields[fieldStatus], 10, 32)
	if err != nil {
		return stat{}, fmt.Errorf("reading its exit status: %w", err)
	}
	state := fields[fieldState]
	return stat{ended: state == "Z" || state == "X", start: start, status: uint32(status)}, nil
}

func cutLast(text []byte, separator byte) (before, after []byte, found bool) {
	at := bytes.LastIndexByte(text, separator)
	if at < 0 {
		return text, nil, false
	}
	return text[:at], text[at+1:], true
}

func bootID() (string, error) {
	id, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "", fmt.Errorf("reading the boot id: %w", err)
	}
	return strings.TrimSpace(string(id)), nil
}
