package drivertest

import (
	"strings"

	"google.golang.org/protobuf/proto"

	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
)

func imageChecks(h *Harness, _ *driverpb.Capabilities) []check {
	all := []check{
		{name: "Images: OpenStore tells size and use", run: storeStats},
		{name: "Images: CloseStore of a store that holds templates is refused with CONFLICT", run: storeNotEmpty},
		{name: "Images: an imported template says what it is and where it is", run: importedTemplate},
		{name: "Images: a template with a wrong checksum is refused with INVALID and leaves nothing", run: wrongChecksum},
		{name: "Images: a template larger than allowed is refused and leaves nothing", run: templateTooLarge},
		{name: "Images: an unknown format or no source is refused with INVALID and the field", run: importInvalid},
		{name: "Images: StatTemplate of what is not there is refused with NOT_FOUND", run: templateAbsent},
		{name: "Images: deleting what is gone succeeds", run: templateGone},
		{name: "Images: Observe of what is not open is refused with NOT_FOUND", run: observeNothing("image-store")},
		{name: "Images: Release and Adopt hand a template over unharmed", run: adoptTemplate},
	}
	for _, bad := range h.Images.BadStores {
		all = append(all, badSetting("Images", "image-store", bad))
	}
	for _, bad := range h.Images.Bad {
		all = append(all, badImport(bad))
	}
	return all
}

// handOver releases a resource, kills the driver and lets the next instance adopt it.
func (e *env) handOver(in scope, ref *driverpb.Ref) {
	e.Helper()
	must[*driverpb.OutcomeReply](e, driverpb.Base_Release_FullMethodName,
		&driverpb.ReleaseRequest{Call: e.call(ref, in)})
	e.kill()
	e.restart()
	e.raise(2)
	must[*driverpb.OutcomeReply](e, driverpb.Base_Adopt_FullMethodName, &driverpb.AdoptRequest{Call: e.call(ref, in)})
}

func badImport(bad BadImport) check {
	return check{name: "Images: a template that must not be taken is refused: " + bad.Name, run: func(e *env) {
		store := e.open("image-store")
		ref := e.ref("template")
		class := bad.Class
		setDefault(&class, driverpb.Class_CLASS_INVALID)
		fault := e.refused(class, driverpb.Images_ImportTemplate_FullMethodName,
			e.importRequest(store, ref, bad.Source(e.T)))
		if bad.Code != "" && fault.GetCode() != bad.Code {
			e.Errorf("fault code %s, want %s", fault.GetCode(), bad.Code)
		}
		e.exists(store, ref, 0)
	}}
}

func importedTemplate(e *env) {
	store := e.open("image-store")
	ref, reply := e.template(store)
	source := e.harness.Images.Good(e.T)
	if reply.GetFormat() != source.GetFormat() {
		e.Errorf("format %q, want %q", reply.GetFormat(), source.GetFormat())
	}
	if source.GetChecksum() != "" && reply.GetChecksum() != source.GetChecksum() {
		e.Errorf("checksum %q, want %q", reply.GetChecksum(), source.GetChecksum())
	}
	if reply.GetPath() == "" || reply.GetFileBytes() == 0 || reply.GetVirtualBytes() == 0 {
		e.Errorf("path %q, %d bytes in the file, %d in the disk", reply.GetPath(), reply.GetFileBytes(),
			reply.GetVirtualBytes())
	}
	again := must[*driverpb.TemplateReply](e, driverpb.Images_StatTemplate_FullMethodName, e.templateRequest(store, ref))
	again.Handle, reply.Handle = nil, nil
	if !proto.Equal(again, reply) {
		e.Errorf("stat answers %v, import %v", again, reply)
	}
	e.exists(store, ref, 1)
}

func importInvalid(e *env) {
	store := e.open("image-store")
	for _, spoil := range []func(*driverpb.ImportTemplateRequest){
		func(r *driverpb.ImportTemplateRequest) { r.Format = "zip" },
		func(r *driverpb.ImportTemplateRequest) { r.Format = "" },
		func(r *driverpb.ImportTemplateRequest) { r.Source = nil },
		func(r *driverpb.ImportTemplateRequest) { r.Checksum = "md5:d41d8cd98f00b204e9800998ecf8427e" },
		func(r *driverpb.ImportTemplateRequest) { r.Checksum = "sha256:short" },
	} {
		ref := e.ref("template")
		request := e.importRequest(store, ref, e.harness.Images.Good(e.T))
		spoil(request)
		fault := e.refused(driverpb.Class_CLASS_INVALID, driverpb.Images_ImportTemplate_FullMethodName, request)
		if fault.GetField() == "" {
			e.Errorf("fault %s names no field", fault.GetCode())
		}
		e.exists(store, ref, 0)
	}
}

func storeStats(e *env) {
	store := e.open("image-store")
	reply := must[*driverpb.StoreReply](e, driverpb.Images_StatStore_FullMethodName,
		&driverpb.StoreRequest{Call: e.call(store.ref, store)})
	if reply.GetTotalBytes() == 0 || reply.GetUsedBytes() > reply.GetTotalBytes() {
		e.Errorf("the store has %d bytes, %d used", reply.GetTotalBytes(), reply.GetUsedBytes())
	}
}

func storeNotEmpty(e *env) {
	store := e.open("image-store")
	ref, _ := e.template(store)
	e.refused(driverpb.Class_CLASS_CONFLICT, closeMethod("image-store"), e.closeRequest(store))
	e.exists(store, ref, 1)
}

func wrongChecksum(e *env) {
	store := e.open("image-store")
	ref := e.ref("template")
	request := e.importRequest(store, ref, e.harness.Images.Good(e.T))
	request.Checksum = "sha256:" + strings.Repeat("0", 64)
	fault := e.refused(driverpb.Class_CLASS_INVALID, driverpb.Images_ImportTemplate_FullMethodName, request)
	if !strings.HasPrefix(fault.GetField(), "/checksum") {
		e.Errorf("fault %s names field %q, want /checksum", fault.GetCode(), fault.GetField())
	}
	e.exists(store, ref, 0)
}

func templateTooLarge(e *env) {
	store := e.open("image-store")
	ref := e.ref("template")
	request := e.importRequest(store, ref, e.harness.Images.Good(e.T))
	request.MaxBytes = 1
	_, err := e.try(driverpb.Images_ImportTemplate_FullMethodName, request)
	class := faultOf(err).GetClass()
	if class != driverpb.Class_CLASS_INVALID && class != driverpb.Class_CLASS_EXHAUSTED {
		e.Errorf("got %v, want INVALID or EXHAUSTED", err)
	}
	e.exists(store, ref, 0)
}

func templateAbsent(e *env) {
	store := e.open("image-store")
	e.refused(driverpb.Class_CLASS_NOT_FOUND, driverpb.Images_StatTemplate_FullMethodName,
		e.templateRequest(store, e.ref("template")))
}

func templateGone(e *env) {
	store := e.open("image-store")
	must[*driverpb.OutcomeReply](e, driverpb.Images_DeleteTemplate_FullMethodName,
		e.templateRequest(store, e.ref("template")))
}

func adoptTemplate(e *env) {
	store := e.open("image-store")
	ref, before := e.template(store)
	e.handOver(store, ref)
	after := must[*driverpb.TemplateReply](e, driverpb.Images_StatTemplate_FullMethodName, e.templateRequest(store, ref))
	if after.GetChecksum() != before.GetChecksum() || after.GetPath() == "" {
		e.Errorf("after it was adopted: %v, want %v", after, before)
	}
}
