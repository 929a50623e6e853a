package diskstore

import (
	"path"
	"strings"

	"google.golang.org/protobuf/types/known/structpb"

	"github.com/bulkhead-cloud/bulkhead/drivers/diskdir"
	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
)

// Facts are what is told of a file, for people.
type Facts map[string]*structpb.Value

// Observed tells one file of a folder: the resource it is or, without one, that it is foreign.
func Observed(folder string, entry diskdir.Entry, resource *driverpb.Ref, facts Facts) *driverpb.Observed {
	state := "present"
	if resource == nil {
		state = "foreign"
	}
	return &driverpb.Observed{
		Resource: resource, Name: strings.ToValidUTF8(path.Join(folder, entry.Name), "?"), Bytes: uint64(entry.Bytes),
		State: state, Facts: &structpb.Struct{Fields: facts},
	}
}

// Strangers tells what is in the directory itself and not ours, and what killed processes left in the making.
func (s *Store) Strangers() ([]*driverpb.Observed, error) {
	strangers, err := s.Dir.Strangers()
	if err != nil {
		return nil, diskdir.Fault(err, "listing "+s.kind.Called)
	}
	leftovers, err := s.Dir.Leftovers()
	if err != nil {
		return nil, diskdir.Fault(err, "listing what was never finished")
	}
	var seen []*driverpb.Observed
	for _, entry := range strangers {
		seen = append(seen, Observed("", entry, nil, nil))
	}
	for _, entry := range leftovers {
		seen = append(seen, Observed("staging", entry, nil, Facts{"unfinished": structpb.NewBoolValue(true)}))
	}
	return seen, nil
}
