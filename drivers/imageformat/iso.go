package imageformat

import (
	"encoding/binary"
	"io"
)

const (
	isoSectorBytes  = 2048
	isoDescriptorAt = 16 * isoSectorBytes
	isoIdentifier   = "CD001"
	isoVolumeSize   = 80
	isoBlockSize    = 128
	isoMaxScan      = 64
	isoPrimary      = 1
	isoTerminator   = 255
)

// inspectISO checks for an ISO 9660 primary volume descriptor. The 32 KiB before it belong to nobody (hybrid images
// keep a partition table there), so nothing else that has a signature may be there.
func inspectISO(file io.ReaderAt, fileBytes int64, seen sighting) (int64, error) {
	if seen.name != string(ISO) {
		if seen.name != "" {
			return 0, seen.mismatch(ISO)
		}
		return 0, refuse(CodeNotAnImage, "", "declared iso, but the ISO 9660 identifier is missing")
	}
	volume, err := isoVolumeBytes(file, fileBytes)
	if err != nil {
		return 0, err
	}
	if volume > fileBytes {
		return 0, refuse(CodeTruncated, "get the file again and check its size",
			"the volume has %d bytes, the file %d", volume, fileBytes)
	}
	return roundUp(fileBytes), nil
}

// isoVolumeBytes reads the volume's size from the primary descriptor, which is the first in practice and among the
// first by the standard.
func isoVolumeBytes(file io.ReaderAt, fileBytes int64) (int64, error) {
	sector := make([]byte, isoSectorBytes)
	for i := range int64(isoMaxScan) {
		at := isoDescriptorAt + i*isoSectorBytes
		if at+isoSectorBytes > fileBytes {
			break
		}
		if err := readFull(file, sector, at); err != nil {
			return 0, err
		}
		if string(sector[1:1+len(isoIdentifier)]) != isoIdentifier || sector[0] == isoTerminator {
			break
		}
		if sector[0] != isoPrimary {
			continue
		}
		blocks := int64(binary.LittleEndian.Uint32(sector[isoVolumeSize:]))
		block := int64(binary.LittleEndian.Uint16(sector[isoBlockSize:]))
		if blocks == 0 || (block != 512 && block != 1024 && block != isoSectorBytes) {
			return 0, refuse(CodeMalformed, "", "the primary volume descriptor has no valid size")
		}
		return blocks * block, nil
	}
	return 0, refuse(CodeMalformed, "", "there is no primary volume descriptor")
}
