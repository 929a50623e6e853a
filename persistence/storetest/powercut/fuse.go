package powercut

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// What is needed of the FUSE protocol, version 7.31, to serve one file that is the whole file system: see
// include/uapi/linux/fuse.h in the kernel.
const (
	opForget      = 2
	opGetattr     = 3
	opOpen        = 14
	opRead        = 15
	opWrite       = 16
	opRelease     = 18
	opFsync       = 20
	opFlush       = 25
	opInit        = 26
	opInterrupt   = 36
	opDestroy     = 38
	opBatchForget = 42

	inHeader, outHeader = 40, 16
	ioHeader            = 40 // what comes before the data of a read or write
	maxWrite            = 1 << 20
	bigWrites           = 1 << 5
	asyncDirect         = 1 << 15
	maxPages            = 1 << 22
	directIO            = 1 // the kernel keeps no copy
)

var native = binary.NativeEndian

// fuse is the kernel's file system of which the device is the only file.
type fuse struct {
	fd     int
	device *device
	dark   atomic.Bool // the power is cut: nothing is answered any more
}

// mountFuse mounts the device over the regular file at path.
func mountFuse(path string, d *device) (*fuse, error) {
	fd, err := unix.Open("/dev/fuse", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("opening /dev/fuse, which needs the FUSE of the kernel: %w", err)
	}
	options := fmt.Sprintf("fd=%d,rootmode=100600,user_id=0,group_id=0", fd)
	if err := unix.Mount("powercut", path, "fuse", unix.MS_NODEV|unix.MS_NOSUID, options); err != nil {
		return nil, errors.Join(fmt.Errorf("mounting a FUSE file system: %w", err), unix.Close(fd))
	}
	return &fuse{fd: fd, device: d}, nil
}

// serve answers the kernel until the file system is unmounted or aborted.
func (f *fuse) serve() error {
	buf := make([]byte, maxWrite+4096)
	for {
		n, err := unix.Read(f.fd, buf)
		switch {
		case errors.Is(err, unix.EINTR), errors.Is(err, unix.EAGAIN), errors.Is(err, unix.ENOENT):
			continue
		case errors.Is(err, unix.ENODEV), errors.Is(err, unix.EBADF):
			return nil
		case err != nil:
			return fmt.Errorf("reading from /dev/fuse: %w", err)
		}
		reply, answered := f.answer(native.Uint32(buf[4:]), buf[inHeader:n])
		if !answered || f.dark.Load() {
			continue
		}
		native.PutUint32(reply, uint32(len(reply)))
		copy(reply[8:], buf[8:16]) // which request it answers
		if _, err := unix.Write(f.fd, reply); err != nil && !errors.Is(err, unix.ENOENT) && !f.dark.Load() {
			return fmt.Errorf("writing to /dev/fuse: %w", err)
		}
	}
}

// answer returns the answer to a request, with room for its header, unless it is one that has none.
func (f *fuse) answer(op uint32, in []byte) (reply []byte, answered bool) {
	body, err := f.do(op, in)
	if errors.Is(err, errNoAnswer) {
		return nil, false
	}
	reply = append(make([]byte, outHeader, outHeader+len(body)), body...)
	if err != nil {
		errno := unix.EIO
		errors.As(err, &errno)
		native.PutUint32(reply[4:], uint32(-int32(errno)))
	}
	return reply, true
}

var errNoAnswer = errors.New("a request without an answer")

func (f *fuse) do(op uint32, in []byte) (body []byte, err error) {
	switch op {
	case opInit:
		return initReply(), nil
	case opGetattr:
		return f.attributes(), nil
	case opOpen:
		body = make([]byte, 16)
		native.PutUint32(body[8:], directIO)
		return body, nil
	case opRead:
		body = make([]byte, native.Uint32(in[16:]))
		return body, f.device.read(body, int64(native.Uint64(in[8:])))
	case opWrite:
		size := native.Uint32(in[16:])
		f.device.write(slices.Clone(in[ioHeader:ioHeader+size]), int64(native.Uint64(in[8:])))
		body = make([]byte, 8)
		native.PutUint32(body, size)
		return body, nil
	case opFsync:
		return nil, f.device.flush()
	case opRelease, opFlush, opDestroy:
		return nil, nil
	case opForget, opBatchForget, opInterrupt:
		return nil, errNoAnswer
	default:
		return nil, unix.ENOSYS
	}
}

func initReply() []byte {
	body := make([]byte, 64)
	native.PutUint32(body[0:], 7)  // major version
	native.PutUint32(body[4:], 31) // minor version
	native.PutUint32(body[8:], maxWrite)
	native.PutUint32(body[12:], bigWrites|asyncDirect|maxPages)
	native.PutUint16(body[16:], 64) // requests in the background
	native.PutUint16(body[18:], 48) // of them, when it is crowded
	native.PutUint32(body[20:], maxWrite)
	native.PutUint32(body[24:], 1) // nanoseconds
	native.PutUint16(body[28:], maxWrite/4096)
	return body
}

func (f *fuse) attributes() []byte {
	body := make([]byte, 104)
	native.PutUint64(body[0:], 1<<30) // seconds that this holds
	native.PutUint64(body[16:], 1)    // inode
	native.PutUint64(body[24:], uint64(f.device.size))
	native.PutUint64(body[32:], uint64(f.device.size/sector))
	native.PutUint32(body[76:], unix.S_IFREG|0o600)
	native.PutUint32(body[80:], 1) // links
	native.PutUint32(body[96:], 4096)
	return body
}

// cut stops all answers, then decides what was written. A flush that was not answered may have happened.
func (f *fuse) cut(share float64) error {
	f.dark.Store(true)
	return f.device.cut(share)
}
