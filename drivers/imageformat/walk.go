package imageformat

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
)

const (
	offsetMask     = 0x00fffffffffffe00
	compressedFlag = 1 << 62
	zeroFlag       = 1
)

// walk follows the active tables of a qcow2 and checks that all they point to lies in the file: an image that a broken
// download cut off is found without a checksum. No L2 table may be used twice, so the work is bounded by the size of
// the file.
func walk(ctx context.Context, file io.ReaderAt, fileBytes int64, header *qcow2Header) error {
	perL2 := uint64(header.entries() * header.clusterBytes())
	l1 := make([]byte, (header.size+perL2-1)/perL2*8)
	if err := readFull(file, l1, int64(header.l1Offset)); err != nil {
		return err
	}
	seen := map[uint64]bool{}
	table := make([]byte, header.clusterBytes())
	for at := 0; at < len(l1); at += 8 {
		offset := binary.BigEndian.Uint64(l1[at:]) & offsetMask
		if offset == 0 {
			continue
		}
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("inspecting image: %w", err)
		}
		if seen[offset] {
			return refuse(CodeMalformed, "repair it: qemu-img check -r all", "an L2 table is used twice")
		}
		seen[offset] = true
		if err := header.inside(offset, header.clusterBytes(), fileBytes, "L2 table"); err != nil {
			return err
		}
		if err := readFull(file, table, int64(offset)); err != nil {
			return err
		}
		if err := header.checkL2(table, fileBytes); err != nil {
			return err
		}
	}
	return nil
}

func (h *qcow2Header) checkL2(table []byte, fileBytes int64) error {
	for at := int64(0); at < int64(len(table)); at += h.entryBytes() {
		entry := binary.BigEndian.Uint64(table[at:])
		if entry&compressedFlag != 0 {
			if err := h.checkCompressed(entry, fileBytes); err != nil {
				return err
			}
			continue
		}
		offset := entry & offsetMask
		preallocatedZero := entry&zeroFlag != 0 && h.version >= 3 && h.incompatible&featureExtendedL2 == 0
		if offset == 0 || preallocatedZero {
			continue
		}
		if err := h.checkData(offset, fileBytes); err != nil {
			return err
		}
	}
	return nil
}

// checkData checks one data cluster. The last one of a file may be incomplete: what is missing reads as zeros, and
// some writers leave it out.
func (h *qcow2Header) checkData(offset uint64, fileBytes int64) error {
	if offset%uint64(h.clusterBytes()) != 0 {
		return refuse(CodeMalformed, "repair it: qemu-img check -r all", "a data cluster is not aligned")
	}
	if offset >= uint64(fileBytes) {
		return refuse(CodeTruncated, "get the file again and check its size",
			"data lies behind the end of the file")
	}
	return nil
}

// checkCompressed checks the place of a compressed cluster: the low bits are its byte offset, the bits above count the
// further sectors it touches. The last sector may be incomplete.
func (h *qcow2Header) checkCompressed(entry uint64, fileBytes int64) error {
	split := 62 - (h.clusterBits - 8)
	offset := entry & (1<<split - 1)
	sectors := (entry &^ (3 << 62)) >> split
	last := (offset/SectorBytes + sectors) * SectorBytes
	if offset >= uint64(fileBytes) || last > uint64(fileBytes) {
		return refuse(CodeTruncated, "get the file again and check its size",
			"compressed data lies behind the end of the file")
	}
	return nil
}
