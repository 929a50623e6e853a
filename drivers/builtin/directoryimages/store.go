package directoryimages

import (
	"context"
	"strings"

	"github.com/bulkhead-cloud/bulkhead/drivers/diskdir"
	"github.com/bulkhead-cloud/bulkhead/drivers/diskstore"
	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
	"github.com/bulkhead-cloud/bulkhead/drivers/sdk"
)

const (
	folderTemplates = "templates"
	folderDownloads = "downloads"

	propertyAllow = "allowPaths"

	handleVersion = 1
)

func stores() diskstore.Kind {
	return diskstore.Kind{
		Name: kindStore, Parts: []string{kindTemplate}, Called: "store", Holds: "templates",
		Folders: []string{folderTemplates, folderDownloads}, HandleVersion: handleVersion,
	}
}

// templateHandle saves a look for the format.
type templateHandle struct {
	Store  string `json:"store"`
	Format string `json:"format"`
}

// allowed reads the directories to import from that travel in a call.
func allowed(call *driverpb.Call) ([]string, error) {
	given := call.GetProperties().GetFields()[propertyAllow].GetStringValue()
	if given == "" {
		return nil, nil
	}
	paths := strings.Split(given, ":")
	for _, path := range paths {
		if !strings.HasPrefix(path, "/") {
			return nil, sdk.Invalid("path-invalid", "/properties/"+propertyAllow, "each path must be absolute",
				"separate absolute paths by colons")
		}
	}
	return paths, nil
}

// store is an image store for the time of one call.
type store struct{ *diskstore.Store }

func openStore(call *driverpb.Call, ref diskstore.Reference) (*store, error) {
	opened, err := stores().Open(call, ref)
	if err != nil {
		return nil, err
	}
	return &store{Store: opened}, nil
}

// openOwn opens the store that a call of Base is about or belongs to.
func openOwn(call *driverpb.Call) (*store, error) {
	opened, err := stores().OpenOf(call)
	if err != nil {
		return nil, err
	}
	return &store{Store: opened}, nil
}

// OpenStore implements driverpb.ImagesServer. Downloads stay, for they can be taken up again.
func (d *directoryImages) OpenStore(_ context.Context, req *driverpb.StoreRequest) (*driverpb.StoreReply, error) {
	if _, err := allowed(req.GetCall()); err != nil {
		return nil, err
	}
	opened, err := stores().Claim(req.GetCall(), d.log)
	if err != nil {
		return nil, err
	}
	defer opened.Close()
	return (&store{Store: opened}).reply()
}

func (s *store) reply() (*driverpb.StoreReply, error) {
	space, err := s.Dir.Space()
	if err != nil {
		return nil, diskdir.Fault(err, "reading store")
	}
	known, err := s.Handle()
	if err != nil {
		return nil, err
	}
	handle, err := sdk.WriteHandle(handleVersion, known)
	return &driverpb.StoreReply{Handle: handle, TotalBytes: space.Total, UsedBytes: space.Used()}, err
}

// StatStore implements driverpb.ImagesServer.
func (d *directoryImages) StatStore(_ context.Context, req *driverpb.StoreRequest) (*driverpb.StoreReply, error) {
	opened, err := openStore(req.GetCall(), req.GetCall())
	if err != nil {
		return nil, err
	}
	defer opened.Close()
	return opened.reply()
}

// CloseStore implements driverpb.ImagesServer.
func (d *directoryImages) CloseStore(_ context.Context, req *driverpb.StoreRequest) (*driverpb.OutcomeReply, error) {
	return &driverpb.OutcomeReply{}, stores().Unclaim(req.GetCall())
}
