package sdk_test

import (
	"testing"

	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
	"github.com/bulkhead-cloud/bulkhead/drivers/sdk"
)

func TestHandles(t *testing.T) {
	t.Parallel()
	type content struct{ Path string }
	written, err := sdk.WriteHandle(2, content{Path: "/srv"})
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		handle *driverpb.Handle
		want   content
		code   string
	}{
		"its own": {written, content{Path: "/srv"}, ""},
		"none":    {nil, content{Path: "as it was"}, ""},
		"another": {&driverpb.Handle{Version: 1, Data: written.GetData()}, content{Path: "as it was"}, "handle-version"},
		"garbage": {&driverpb.Handle{Version: 2, Data: []byte("{")}, content{Path: "as it was"}, "handle-unreadable"},
	} {
		got := content{Path: "as it was"}
		err := sdk.ReadHandle(test.handle, 2, &got)
		if got != test.want || sdk.FaultOf(err).GetCode() != test.code {
			t.Errorf("%s: read %v, %v; want %v and code %q", name, got, err, test.want, test.code)
		}
	}
}
