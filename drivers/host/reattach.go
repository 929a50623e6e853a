package host

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/bulkhead-cloud/bulkhead/drivers/host/process"
	"github.com/bulkhead-cloud/bulkhead/drivers/host/record"
	"github.com/bulkhead-cloud/bulkhead/drivers/host/sandbox"
)

// driverRecord is what is durable of a driver process: enough to find it again and to be sure that it is the one.
type driverRecord struct {
	Process process.Identity `json:"process"`
	Name    string           `json:"name"`
	Version string           `json:"version"`
	Socket  string           `json:"socket"`
	// Program is the digest of the executable, Manifest that of the manifest.
	Program  string  `json:"program"`
	Manifest string  `json:"manifest"`
	Grants   []Grant `json:"grants"`
	// Granted is what was at the paths of Grants at the start. The sandbox follows these, not the names: a directory
	// that is replaced needs a new process.
	Granted map[string]fileKey `json:"granted"`
	// Token is what the host proves itself with to this process.
	Token string `json:"token"`
	UID   uint32 `json:"uid"`
	// API is the contract version agreed on; 0 until the process was ready.
	API     uint32         `json:"api"`
	Report  sandbox.Report `json:"report"`
	Started time.Time      `json:"started"`
}

// foundProcess is a process of the server before.
type foundProcess struct {
	process *process.Process
	record  driverRecord
	path    string
}

// findProcesses looks up all recorded processes, in parallel. Only the identity is checked here, which takes no
// time; whether they still answer shows when they are claimed.
func (h *Host) findProcesses() {
	paths, err := filepath.Glob(h.layout.records())
	if err != nil {
		h.config.Log.Error("driver records can't be listed", slog.String("error", err.Error()))
		return
	}
	var finding sync.WaitGroup
	for _, path := range paths {
		finding.Go(func() { h.findProcess(path) })
	}
	finding.Wait()
}

func (h *Host) findProcess(path string) {
	log := h.config.Log.With(slog.String("record", path))
	found := &foundProcess{path: path}
	err := record.Load(path, &found.record)
	if err == nil {
		found.process, err = process.Find(found.record.Process)
	}
	if err != nil {
		log.Info("recorded driver process is gone", slog.String("error", err.Error()))
		if err := record.Remove(path); err != nil {
			log.Warn("record can't be removed", slog.String("error", err.Error()))
		}
		return
	}
	h.mutex.Lock()
	defer h.mutex.Unlock()
	h.found[InstanceName(found.record.Name, found.record.Version)] = found
	log.Info("driver process found running", slog.Int("pid", found.record.Process.PID))
}

// endFound shuts a process of the server before down.
func (h *Host) endFound(ctx context.Context, found *foundProcess) error {
	leftover := &run{process: found.process, record: found.record}
	group := h.cgroups.Find(groupName(InstanceName(found.record.Name, found.record.Version)))
	return errors.Join(leftover.dial(), leftover.shutDown(ctx, shutdownDefault, group), leftover.close(),
		group.Remove(), record.Remove(found.path))
}

// programDigests remembers the digests of executables by what identifies their content cheaply.
type programDigests struct {
	mutex sync.Mutex
	known map[programKey]string
}

type programKey struct {
	device, inode uint64
	size          int64
	changed       unix.Timespec
}

// of returns the digest of the executable at path.
func (d *programDigests) of(path string) (string, error) {
	file, err := os.Open(path)
	if err != nil {
		return "", fmt.Errorf("reading driver program: %w", err)
	}
	defer func() { _ = file.Close() }()
	var stat unix.Stat_t
	if err := unix.Fstat(int(file.Fd()), &stat); err != nil {
		return "", fmt.Errorf("reading driver program: %w", err)
	}
	key := programKey{device: stat.Dev, inode: stat.Ino, size: stat.Size, changed: stat.Ctim}
	d.mutex.Lock()
	defer d.mutex.Unlock()
	if digest, ok := d.known[key]; ok {
		return digest, nil
	}
	hash := sha256.New()
	if _, err := io.Copy(hash, file); err != nil {
		return "", fmt.Errorf("reading driver program %s: %w", path, err)
	}
	if d.known == nil {
		d.known = map[programKey]string{}
	}
	digest := "sha256:" + hex.EncodeToString(hash.Sum(nil))
	d.known[key] = digest
	return digest, nil
}
