package settings

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
	"github.com/bulkhead-cloud/bulkhead/drivers/drivertest"
)

// writePlain and readPlain reach raw disks past the driver.
func writePlain(t drivertest.T, disk *driverpb.Disk, data []byte) {
	t.Helper()
	file, err := os.OpenFile(disk.GetPath(), os.O_WRONLY, 0)
	if err == nil {
		_, err = file.WriteAt(data, 0)
		err = errors.Join(err, file.Close())
	}
	if err != nil {
		t.Fatalf("writing to the disk past the driver: %v", err)
	}
}

func readPlain(t drivertest.T, disk *driverpb.Disk, n int) []byte {
	t.Helper()
	data := make([]byte, n)
	file, err := os.Open(disk.GetPath())
	if err == nil {
		_, err = io.ReadFull(file, data)
		err = errors.Join(err, file.Close())
	}
	if err != nil {
		t.Fatalf("reading the disk past the driver: %v", err)
	}
	return data
}

// writeBy and readBy do it by a command.
func writeBy(command []string) func(t drivertest.T, disk *driverpb.Disk, data []byte) {
	return func(t drivertest.T, disk *driverpb.Disk, data []byte) {
		t.Helper()
		file := filepath.Join(t.TempDir(), "data")
		if err := os.WriteFile(file, data, 0o600); err != nil {
			t.Fatal(err)
		}
		run(t, command, onDisk(disk, file, len(data)))
	}
}

func readBy(command []string) func(t drivertest.T, disk *driverpb.Disk, n int) []byte {
	return func(t drivertest.T, disk *driverpb.Disk, n int) []byte {
		t.Helper()
		file := filepath.Join(t.TempDir(), "data")
		run(t, command, onDisk(disk, file, n))
		data, err := os.ReadFile(file)
		if err != nil || len(data) < n {
			t.Fatalf("%s read %d bytes of %d: %v", command[0], len(data), n, err)
		}
		return data[:n]
	}
}

func onDisk(disk *driverpb.Disk, file string, n int) *strings.Replacer {
	return strings.NewReplacer("{protocol}", disk.GetProtocol(), "{path}", disk.GetPath(), "{format}", disk.GetFormat(),
		"{file}", file, "{bytes}", fmt.Sprint(n))
}

func run(t drivertest.T, command []string, with *strings.Replacer) {
	t.Helper()
	if err := execute(t, command, with); err != nil {
		t.Fatal(err)
	}
}

// execute runs a command of the settings.
func execute(t drivertest.T, command []string, with *strings.Replacer) error {
	args := make([]string, len(command))
	for i, word := range command {
		args[i] = with.Replace(word)
	}
	out, err := exec.CommandContext(t.Context(), args[0], args[1:]...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %w\n%s", strings.Join(args, " "), err, out)
	}
	return nil
}

// poweredBy asks a command whether the power is on.
func poweredBy(command []string) func(drivertest.T, *driverpb.Ref, drivertest.Properties) bool {
	return func(t drivertest.T, _ *driverpb.Ref, properties drivertest.Properties) bool {
		t.Helper()
		var pairs []string
		for key, value := range properties {
			pairs = append(pairs, "{"+key+"}", fmt.Sprint(value))
		}
		err := execute(t, command, strings.NewReplacer(pairs...))
		if ended, ok := errors.AsType[*exec.ExitError](err); err != nil && (!ok || ended.ExitCode() != 1) {
			t.Fatalf("asking past the driver whether the power is on: %v", err)
		}
		return err == nil
	}
}
