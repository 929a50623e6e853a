package sdk

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
)

const maxTokenBytes = 256

var (
	idSyntax   = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,62}$`)
	kindSyntax = regexp.MustCompile(`^[a-z][a-z-]{0,31}$`)
)

// IsID tells whether s has the syntax of ids: a driver that makes names of them knows its own again by that.
func IsID(s string) bool { return idSyntax.MatchString(s) }

// Request is any request Request a resource.
type Request interface {
	proto.Message
	GetCall() *driverpb.Call
}

// Reads tells whether a method with a Call changes nothing, by its full name.
func Reads(method string) bool {
	name := path.Base(method)
	return strings.HasPrefix(name, "Stat") ||
		slices.Contains([]string{"Probe", "Observe", "OpenConsole", "DesignNetwork"}, name)
}

// checkRequest refuses a request whose names could not be trusted in file names, or whose handle can't be read.
func (d *Driver) checkRequest(method string, request Request) error {
	if err := checkRefs(request.ProtoReflect(), ""); err != nil {
		return err
	}
	call := request.GetCall()
	if call.GetResource().GetId() == "" && path.Base(method) != "Probe" {
		return Invalid("resource-missing", "/call/resource", "the call names no resource", "")
	}
	if !d.canRead(call.GetHandle()) {
		return Unsupported("handle-version", fmt.Sprintf("handle version %d can't be read; this version reads %v and %d",
			call.GetHandle().GetVersion(), d.HandleReads, d.HandleWrites))
	}
	if Reads(method) {
		return nil
	}
	if token := call.GetToken(); token == "" || len(token) > maxTokenBytes {
		return Invalid("token-invalid", "/call/token", "the token must have 1 to 256 bytes", "")
	}
	return nil
}

func (d *Driver) canRead(handle *driverpb.Handle) bool {
	empty := handle.GetVersion() == 0 && len(handle.GetData()) == 0
	unchecked := d.HandleWrites == 0 && len(d.HandleReads) == 0
	return empty || unchecked || handle.GetVersion() == d.HandleWrites ||
		slices.Contains(d.HandleReads, handle.GetVersion())
}

// checkRefs walks a message and checks each Ref in it that is not empty.
func checkRefs(message protoreflect.Message, pointer string) error {
	if ref, ok := message.Interface().(*driverpb.Ref); ok {
		return checkRef(ref, pointer)
	}
	var found error
	message.Range(func(field protoreflect.FieldDescriptor, value protoreflect.Value) bool {
		if field.Message() == nil || field.IsMap() {
			return true
		}
		at := pointer + "/" + string(field.Name())
		if !field.IsList() {
			found = checkRefs(value.Message(), at)
			return found == nil
		}
		for i := range value.List().Len() {
			if found = checkRefs(value.List().Get(i).Message(), fmt.Sprintf("%s/%d", at, i)); found != nil {
				return false
			}
		}
		return true
	})
	return found
}

func checkRef(ref *driverpb.Ref, pointer string) error {
	switch {
	case ref.GetId() == "" && ref.GetKind() == "":
		return nil
	case !IsID(ref.GetId()):
		return Invalid("bad-id", pointer+"/id", "ids match "+idSyntax.String(), "")
	case !kindSyntax.MatchString(ref.GetKind()):
		return Invalid("bad-kind", pointer+"/kind", "kinds match "+kindSyntax.String(), "")
	}
	return nil
}

// fingerprint identifies what a request asks for. What may differ between two askings of the same thing (repeat,
// epoch, handles, properties, secrets, the way of a machine) is left out.
func fingerprint(request Request) ([sha256.Size]byte, error) {
	bare := proto.Clone(request)
	strip(bare.ProtoReflect())
	wire, err := proto.MarshalOptions{Deterministic: true}.Marshal(bare)
	if err != nil {
		return [sha256.Size]byte{}, fmt.Errorf("encoding request: %w", err)
	}
	return sha256.Sum256(wire), nil
}

// Content is a short text that tells what a request asks for, for the end of a token: asked for something else, even if
// by the same step, it is another request.
func Content(request Request) (string, error) {
	sum, err := fingerprint(request)
	return hex.EncodeToString(sum[:6]), err
}

func strip(message protoreflect.Message) {
	if call, ok := message.Interface().(*driverpb.Call); ok {
		call.Repeat, call.Epoch, call.Handle, call.Properties, call.Secrets = false, 0, nil, nil, nil
	}
	if send, ok := message.Interface().(*driverpb.SendMachineRequest); ok {
		send.Socket = "" // the way is made anew for each asking
	}
	message.Range(func(field protoreflect.FieldDescriptor, value protoreflect.Value) bool {
		switch {
		case field.Message() == nil || field.IsMap():
		case field.Message().FullName() == "bulkhead.driver.v1.Handle":
			message.Clear(field)
		case field.IsList():
			for i := range value.List().Len() {
				strip(value.List().Get(i).Message())
			}
		default:
			strip(value.Message())
		}
		return true
	})
}
