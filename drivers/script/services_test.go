package script_test

import (
	"strconv"
	"strings"
	"testing"

	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	"github.com/bulkhead-cloud/bulkhead/drivers/archive"
	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
)

// TestEveryCallOfTheContract is asked of the script by its own name, and of none that does not list it.
func TestEveryCallOfTheContract(t *testing.T) {
	t.Parallel()
	const all = "network, storage, image, hypervisor, out-of-band"
	actions := archive.Actions(strings.Split(all, ", "))
	seen := map[string]bool{} // Networks and Hypervisor both have AttachNic
	var list []string
	for _, action := range actions {
		if !seen[action] {
			list = append(list, action)
		}
		seen[action] = true
	}
	s := serve(t, written(t, declared(all, strings.Join(list, ", ")), `#!/bin/sh
category=$(sed 's/.*"category":"\([a-z-]*\)".*/\1/'); echo "{\"handle\": \"$category $1\"}"`))
	none := serve(t, written(t, declared(all, "configure"), "#!/bin/sh\nexit 9\n"))
	for category, service := range map[string]string{
		"network": "Networks", "storage": "Storage", "image": "Images", "hypervisor": "Hypervisor",
		"out-of-band": "OutOfBand",
	} {
		name := protoreflect.FullName("bulkhead.driver.v1." + service)
		found, err := protoregistry.GlobalFiles.FindDescriptorByName(name)
		if err != nil {
			t.Fatal(err)
		}
		methods := found.(protoreflect.ServiceDescriptor).Methods()
		for i := range methods.Len() {
			everyCall(t, s, none, category, methods.Get(i))
		}
	}
}

func everyCall(t *testing.T, s, none served, category string, method protoreflect.MethodDescriptor) {
	t.Helper()
	message := func(of protoreflect.MessageDescriptor) protoreflect.Message {
		kind, err := protoregistry.GlobalTypes.FindMessageByName(of.FullName())
		if err != nil {
			t.Fatal(err)
		}
		return kind.New()
	}
	in, out := message(method.Input()), message(method.Output())
	name := string(method.Name())
	about := call(t, "op/"+category+name)
	in.Set(in.Descriptor().Fields().ByName("call"), protoreflect.ValueOfMessage(about.ProtoReflect()))
	path := "/" + string(method.Parent().FullName()) + "/" + name
	if err := s.conn.Invoke(soon(t), path, in.Interface(), out.Interface()); err != nil {
		t.Errorf("%s: %v", path, err)
		return
	}
	if holder, ok := out.Interface().(interface{ GetHandle() *driverpb.Handle }); ok {
		if want := strconv.Quote(category + " " + archive.ActionOf(name)); string(holder.GetHandle().GetData()) != want {
			t.Errorf("%s: the script was asked for %s, want %s", path, holder.GetHandle().GetData(), want)
		}
	}
	err := none.conn.Invoke(soon(t), path, in.Interface(), out.Interface())
	refused(t, err, driverpb.Class_CLASS_UNSUPPORTED, "not-served", archive.ActionOf(name))
}
