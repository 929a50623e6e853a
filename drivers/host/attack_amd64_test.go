package host_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/bulkhead-cloud/bulkhead/drivers/host"
)

// TestForeignArchitectureIsFatal makes a system call by the 32-bit gate, whose numbers the filter does not know.
func TestForeignArchitectureIsFatal(t *testing.T) {
	h := open(t, quick(stateDir(t)))
	m := manifest(t, "test/one")
	program := gate(t)
	m.Permissions.Exec = []string{program}
	instance := started(t, h, m, host.Setup{})
	said, err := do(bounded(t), instance, "t1", "run", program)
	if err == nil {
		t.Errorf("a 32-bit system call was possible: %q", said)
	}
}

// gate writes a tiny program whose only call goes through int 0x80: exit(0) by 32-bit numbers.
func gate(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for _, path := range []string{dir, filepath.Dir(dir)} {
		if err := os.Chmod(path, 0o711); err != nil {
			t.Fatal(err)
		}
	}
	code := []byte{
		0xb8, 0x01, 0x00, 0x00, 0x00, // mov eax, 1 (exit)
		0x31, 0xdb, // xor ebx, ebx
		0xcd, 0x80, // int 0x80
		0x0f, 0x0b, // ud2
	}
	path := filepath.Join(dir, "gate")
	if err := os.WriteFile(path, tinyELF(code), 0o755); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(path).CombinedOutput(); err != nil {
		t.Fatalf("outside the sandbox: %v %s", err, out)
	}
	return path
}

// tinyELF wraps machine code into the smallest executable.
func tinyELF(code []byte) []byte {
	const base, headers = 0x400000, 64 + 56
	le := func(value uint64, size int) []byte {
		b := make([]byte, size)
		for i := range b {
			b[i] = byte(value >> (8 * i))
		}
		return b
	}
	var file []byte
	add := func(parts ...[]byte) {
		for _, part := range parts {
			file = append(file, part...)
		}
	}
	add([]byte{0x7f, 'E', 'L', 'F', 2, 1, 1, 0}, make([]byte, 8))
	add(le(2, 2), le(62, 2), le(1, 4), le(base+headers, 8), le(64, 8), le(0, 8), le(0, 4))
	add(le(64, 2), le(56, 2), le(1, 2), le(0, 2), le(0, 2), le(0, 2))
	size := uint64(headers + len(code))
	add(le(1, 4), le(5, 4), le(0, 8), le(base, 8), le(base, 8), le(size, 8), le(size, 8), le(0x1000, 8))
	add(code)
	return file
}
