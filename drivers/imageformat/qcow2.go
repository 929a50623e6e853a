package imageformat

import (
	"context"
	"encoding/binary"
	"io"
)

// Layout of a qcow2 header, from the format's specification (docs/interop/qcow2 in QEMU). All numbers are big endian.
const (
	qcow2MinHeader      = 72
	qcow2V3Header       = 104
	qcow2ShortHeader    = 112
	qcow2MinClusterBits = 9
	qcow2MaxClusterBits = 21
	qcow2MaxL1Bytes     = 32 << 20
	qcow2MaxRefcount    = 8 << 20
	qcow2MaxExtensions  = 64
	qcow2MaxRefOrder    = 6

	featureDirty       = 1 << 0
	featureCorrupt     = 1 << 1
	featureDataFile    = 1 << 2
	featureCompression = 1 << 3
	featureExtendedL2  = 1 << 4
	featuresKnown      = featureDirty | featureCorrupt | featureDataFile | featureCompression | featureExtendedL2

	autoclearRawExternal = 1 << 1

	extensionEnd        = 0
	extensionDataFile   = 0x44415441
	extensionEncryption = 0x0537be77

	compressionZstd = 1
)

// qcow2Header is the part of the header that matters here.
type qcow2Header struct {
	version         uint32
	backingOffset   uint64
	backingBytes    uint32
	clusterBits     uint32
	size            uint64
	crypt           uint32
	l1Entries       uint32
	l1Offset        uint64
	refcountOffset  uint64
	refcountCluster uint32
	snapshots       uint32
	incompatible    uint64
	autoclear       uint64
	refcountOrder   uint32
	headerBytes     uint32
	compression     byte
}

func (h *qcow2Header) clusterBytes() int64 { return 1 << h.clusterBits }

// entryBytes is the size of an entry of an L2 table.
func (h *qcow2Header) entryBytes() int64 {
	if h.incompatible&featureExtendedL2 != 0 {
		return 16
	}
	return 8
}

// entries is how many clusters one L2 table maps.
func (h *qcow2Header) entries() int64 { return h.clusterBytes() / h.entryBytes() }

func inspectQCOW2(
	ctx context.Context, file io.ReaderAt, fileBytes int64, seen sighting, limits Limits,
) (int64, error) {
	if seen.name != string(QCOW2) {
		if seen.name != "" {
			return 0, seen.mismatch(QCOW2)
		}
		return 0, refuse(CodeNotAnImage, "", "declared qcow2, but the signature is missing")
	}
	header, err := parseQCOW2(seen.head)
	if err != nil {
		return 0, err
	}
	for _, check := range []func() error{
		header.checkVersion, header.checkIsolation, header.checkFeatures, header.checkGeometry,
		func() error { return header.checkExtensions(file) },
		func() error { return header.checkSize(limits) },
		func() error { return header.checkTables(fileBytes) },
	} {
		if err := check(); err != nil {
			return 0, err
		}
	}
	if !limits.HeaderOnly {
		if err := walk(ctx, file, fileBytes, header); err != nil {
			return 0, err
		}
	}
	return int64(header.size), nil
}

func parseQCOW2(head []byte) (*qcow2Header, error) {
	if len(head) < qcow2MinHeader {
		return nil, refuse(CodeTruncated, "", "the file ends inside the qcow2 header")
	}
	be := binary.BigEndian
	header := &qcow2Header{
		version:         be.Uint32(head[4:]),
		backingOffset:   be.Uint64(head[8:]),
		backingBytes:    be.Uint32(head[16:]),
		clusterBits:     be.Uint32(head[20:]),
		size:            be.Uint64(head[24:]),
		crypt:           be.Uint32(head[32:]),
		l1Entries:       be.Uint32(head[36:]),
		l1Offset:        be.Uint64(head[40:]),
		refcountOffset:  be.Uint64(head[48:]),
		refcountCluster: be.Uint32(head[56:]),
		snapshots:       be.Uint32(head[60:]),
		refcountOrder:   4,
		headerBytes:     qcow2MinHeader,
	}
	if header.version < 3 {
		return header, nil
	}
	if len(head) < qcow2V3Header {
		return nil, refuse(CodeTruncated, "", "the file ends inside the qcow2 header")
	}
	header.incompatible = be.Uint64(head[72:])
	header.autoclear = be.Uint64(head[88:])
	header.refcountOrder = be.Uint32(head[96:])
	header.headerBytes = be.Uint32(head[100:])
	if header.headerBytes >= qcow2ShortHeader && len(head) >= qcow2ShortHeader {
		header.compression = head[104]
	}
	return header, nil
}

func (h *qcow2Header) checkVersion() error {
	if h.version != 2 && h.version != 3 {
		return refuse(CodeFeature, "convert it with a current qemu-img", "qcow2 version %d is not supported", h.version)
	}
	return nil
}

// checkIsolation refuses whatever makes a program that opens the image open something else.
func (h *qcow2Header) checkIsolation() error {
	switch {
	case h.backingOffset != 0 || h.backingBytes != 0:
		return refuse(CodeExternal, "flatten it: qemu-img convert -O qcow2", "the image has a backing file")
	case h.incompatible&featureDataFile != 0 || h.autoclear&autoclearRawExternal != 0:
		return refuse(CodeExternal, "flatten it: qemu-img convert -O qcow2", "the image keeps its data in another file")
	case h.crypt != 0:
		return refuse(CodeEncrypted, "decrypt it: qemu-img convert", "the image is encrypted")
	case h.snapshots != 0:
		return refuse(CodeSnapshots, "flatten it: qemu-img convert -O qcow2", "the image carries %d internal snapshots",
			h.snapshots)
	}
	return nil
}

func (h *qcow2Header) checkFeatures() error {
	switch {
	case h.incompatible&^uint64(featuresKnown) != 0:
		return refuse(CodeFeature, "convert it: qemu-img convert -O qcow2",
			"the image needs unknown features (bits %#x)", h.incompatible&^uint64(featuresKnown))
	case h.incompatible&(featureDirty|featureCorrupt) != 0:
		return refuse(CodeUnclean, "repair it: qemu-img check -r all", "the image was not closed cleanly")
	case (h.compression != 0) != (h.incompatible&featureCompression != 0) || h.compression > compressionZstd:
		return refuse(CodeFeature, "convert it: qemu-img convert -O qcow2", "the compression type is unknown")
	}
	return nil
}

func (h *qcow2Header) checkGeometry() error {
	switch {
	case h.clusterBits < qcow2MinClusterBits || h.clusterBits > qcow2MaxClusterBits:
		return refuse(CodeMalformed, "", "clusters of 2^%d bytes are not allowed", h.clusterBits)
	case h.incompatible&featureExtendedL2 != 0 && h.clusterBits < 14:
		return refuse(CodeMalformed, "", "extended L2 entries need clusters of 16 KiB or more")
	case h.version >= 3 && h.headerBytes < qcow2V3Header:
		return refuse(CodeMalformed, "", "the header claims to have %d bytes", h.headerBytes)
	case int64(h.headerBytes) > h.clusterBytes() || h.headerBytes%8 != 0:
		return refuse(CodeMalformed, "", "the header claims to have %d bytes", h.headerBytes)
	case h.refcountOrder > qcow2MaxRefOrder:
		return refuse(CodeMalformed, "", "reference counts of 2^%d bits are not allowed", h.refcountOrder)
	}
	return nil
}

// checkExtensions walks the header extensions, which end with the first cluster at the latest. Unknown ones may be
// ignored by the specification; those that lead out of the file or encrypt are refused whatever the feature bits say.
func (h *qcow2Header) checkExtensions(file io.ReaderAt) error {
	at, end := int64(h.headerBytes), h.clusterBytes()
	var entry [8]byte
	for range qcow2MaxExtensions {
		if at+int64(len(entry)) > end {
			return nil
		}
		if err := readFull(file, entry[:], at); err != nil {
			return err
		}
		kind, length := binary.BigEndian.Uint32(entry[:]), int64(binary.BigEndian.Uint32(entry[4:]))
		at += int64(len(entry))
		switch {
		case kind == extensionEnd:
			return nil
		case kind == extensionDataFile:
			return refuse(CodeExternal, "flatten it: qemu-img convert -O qcow2", "the image names a data file")
		case kind == extensionEncryption:
			return refuse(CodeEncrypted, "decrypt it: qemu-img convert", "the image has an encryption header")
		case length > end-at:
			return refuse(CodeMalformed, "", "a header extension is longer than the header's cluster")
		}
		at += (length + 7) / 8 * 8
	}
	return refuse(CodeMalformed, "", "the image has more than %d header extensions", qcow2MaxExtensions)
}

func (h *qcow2Header) checkSize(limits Limits) error {
	switch {
	case h.size > uint64(limits.maxVirtual()):
		return tooLarge(h.size, limits)
	case h.size == 0 || h.size%SectorBytes != 0:
		return refuse(CodeMalformed, "", "a disk of %d bytes is not a whole number of sectors", h.size)
	}
	perL2 := uint64(h.entries() * h.clusterBytes())
	if needed := (h.size + perL2 - 1) / perL2; uint64(h.l1Entries) < needed {
		return refuse(CodeMalformed, "", "the L1 table has %d entries, the disk needs %d", h.l1Entries, needed)
	}
	return nil
}

// checkTables refuses tables that are absurdly large or do not lie in the file.
func (h *qcow2Header) checkTables(fileBytes int64) error {
	l1Bytes := int64(h.l1Entries) * 8
	refcountBytes := int64(h.refcountCluster) * h.clusterBytes()
	switch {
	case l1Bytes > qcow2MaxL1Bytes:
		return refuse(CodeTooLarge, "", "the L1 table has %d bytes, the limit is %d", l1Bytes, qcow2MaxL1Bytes)
	case refcountBytes == 0:
		return refuse(CodeMalformed, "", "there is no refcount table")
	case refcountBytes > qcow2MaxRefcount:
		return refuse(CodeTooLarge, "", "the refcount table has %d bytes, the limit is %d", refcountBytes,
			qcow2MaxRefcount)
	}
	if err := h.inside(h.l1Offset, l1Bytes, fileBytes, "L1 table"); err != nil {
		return err
	}
	return h.inside(h.refcountOffset, refcountBytes, fileBytes, "refcount table")
}

// inside checks that a table begins at a cluster other than the header's and ends within the file.
func (h *qcow2Header) inside(offset uint64, length, fileBytes int64, what string) error {
	cluster := uint64(h.clusterBytes())
	switch {
	case offset < cluster || offset%cluster != 0:
		return refuse(CodeMalformed, "", "the %s begins at byte %d, which is no cluster of its own", what, offset)
	case offset > uint64(fileBytes) || length > fileBytes-int64(offset):
		return refuse(CodeTruncated, "get the file again and check its size",
			"the %s lies behind the end of the file", what)
	}
	return nil
}
