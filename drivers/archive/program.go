package archive

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
)

// headerBytes are those of a program that say for which machine it is.
const headerBytes = 20

// beginning keeps the first bytes that are written.
type beginning struct {
	text []byte
}

// Write implements io.Writer.
func (b *beginning) Write(text []byte) (int, error) {
	if missing := headerBytes - len(b.text); missing > 0 {
		b.text = append(b.text, text[:min(missing, len(text))]...)
	}
	return len(text), nil
}

// platform says for which platform a program was made; empty when it is none, or for one that no driver runs on.
func (b *beginning) platform() string {
	if len(b.text) < headerBytes || !bytes.HasPrefix(b.text, []byte(elf.ELFMAG)) ||
		b.text[elf.EI_DATA] != byte(elf.ELFDATA2LSB) {
		return ""
	}
	switch elf.Machine(binary.LittleEndian.Uint16(b.text[18:])) {
	case elf.EM_X86_64:
		return "linux/amd64"
	case elf.EM_AARCH64:
		return "linux/arm64"
	default:
		return ""
	}
}
