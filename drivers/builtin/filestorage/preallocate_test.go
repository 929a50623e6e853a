package filestorage_test

import (
	"fmt"
	"testing"

	"google.golang.org/protobuf/types/known/structpb"

	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
)

// preallocating adds to a request how much of its space the volume is to take at once.
func preallocating(req *driverpb.CreateVolumeRequest, how any) *driverpb.CreateVolumeRequest {
	value, err := structpb.NewValue(how)
	if err != nil {
		panic(err)
	}
	req.Call.Properties.Fields["preallocation"] = value
	return req
}

// TestPreallocation on each file system, for volumes that begin empty and as a copy, and grow beyond it.
func TestPreallocation(t *testing.T) {
	t.Parallel()
	const size = 8 * mebibyte // the file systems here are small
	source := template(t, "qcow2")
	want := contentHash(t, template(t, "raw"), "raw")
	pools(t, func(t *testing.T, s *site) {
		taken := map[string]uint64{}
		for _, format := range []string{"raw", "qcow2"} {
			for _, how := range []string{"off", "metadata", "full"} {
				id := format + "-" + how
				made := s.create(preallocating(s.request("empty-"+id, format, size), how))
				diskOK(t, made.GetDisk())
				taken[id] = made.GetAllocatedBytes()
				if made.GetSizeBytes() != size || how == "full" != (taken[id] >= size) {
					t.Errorf("empty as %s: %d bytes, of which %d are taken", id, made.GetSizeBytes(), taken[id])
				}
				copied := s.create(preallocating(s.clone("copy-"+id, format, 0, source, "qcow2"), how))
				diskOK(t, copied.GetDisk())
				if got := contentHash(t, copied.GetDisk().GetPath(), format); got != want {
					t.Errorf("a copy as %s: the content differs", id)
				}
				larger := s.create(preallocating(s.clone("larger-"+id, format, size, source, "qcow2"), how))
				diskOK(t, larger.GetDisk())
				if how == "full" && (larger.GetAllocatedBytes() < size || copied.GetAllocatedBytes() < 6*mebibyte) {
					t.Errorf("copies as %s take %d and %d bytes", id, copied.GetAllocatedBytes(), larger.GetAllocatedBytes())
				}
				for _, made := range []string{"empty-", "copy-", "larger-"} {
					if _, err := s.driver.Storage.DeleteVolume(t.Context(), s.volume(made+id)); err != nil {
						t.Error(err)
					}
				}
			}
		}
		if taken["qcow2-metadata"] <= taken["qcow2-off"] {
			t.Errorf("the tables of a qcow2 take no space: %v", taken)
		}
	})
}

func TestPreallocationThatCantBe(t *testing.T) {
	t.Parallel()
	s := openSite(t, t.TempDir(), nil)
	for _, how := range []any{"some", true, ""} {
		_, err := s.driver.Storage.CreateVolume(t.Context(), preallocating(s.request("vol-1", "raw", mebibyte), how))
		if fault := expectFault(t, err, invalid, "preallocation-unknown"); fault.GetField() != "/properties/preallocation" {
			t.Errorf("%v: field = %q", how, fault.GetField())
		}
	}
	for _, format := range []string{"raw", "qcow2"} {
		_, err := s.driver.Storage.CreateVolume(t.Context(),
			preallocating(s.request(fmt.Sprintf("vol-%s", format), format, 1<<42), "full"))
		expectFault(t, err, exhausted, "no-space")
	}
	s.nothingLeft()
}
