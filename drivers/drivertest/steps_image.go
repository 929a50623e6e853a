package drivertest

import (
	"path"

	"google.golang.org/protobuf/proto"

	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
)

func imageSteps() []step {
	return []step{
		{driverpb.Images_OpenStore_FullMethodName, func(e *env) deed { return e.opening("image-store") }},
		{driverpb.Images_CloseStore_FullMethodName, func(e *env) deed { return e.closing("image-store") }},
		{driverpb.Images_ImportTemplate_FullMethodName, importing},
		{driverpb.Images_DeleteTemplate_FullMethodName, untemplating},
	}
}

func (e *env) storeRef(in scope) *driverpb.StoreRef {
	return &driverpb.StoreRef{Resource: in.ref, Handle: e.handle(in.ref)}
}

func (e *env) templateRequest(in scope, ref *driverpb.Ref) *driverpb.TemplateRequest {
	e.Helper()
	return &driverpb.TemplateRequest{Call: e.call(ref, in), Store: e.storeRef(in)}
}

// importRequest completes a source of the harness, and deletes the template at the end of the check.
func (e *env) importRequest(
	in scope, ref *driverpb.Ref, source *driverpb.ImportTemplateRequest,
) *driverpb.ImportTemplateRequest {
	e.Helper()
	request, _ := proto.Clone(source).(*driverpb.ImportTemplateRequest)
	request.Call, request.Store = e.call(ref, in), e.storeRef(in)
	for _, file := range []string{request.GetFile(), request.GetUpload()} {
		if path.IsAbs(file) {
			e.reach(path.Dir(file), request.GetUpload() != "")
		}
	}
	e.undo(driverpb.Images_DeleteTemplate_FullMethodName, func() proto.Message { return e.templateRequest(in, ref) })
	return request
}

func importing(e *env) deed {
	store := e.open("image-store")
	ref := e.ref("template")
	request := e.importRequest(store, ref, e.harness.Images.Good(e.T))
	other, _ := proto.Clone(request).(*driverpb.ImportTemplateRequest)
	other.MaxBytes += 1 << 40
	return deed{
		request: request, other: other,
		reached:  func() { e.Helper(); e.exists(store, ref, 1) },
		pristine: func() { e.Helper(); e.exists(store, ref, 0) },
	}
}

// template imports a template.
func (e *env) template(in scope) (*driverpb.Ref, *driverpb.TemplateReply) {
	e.Helper()
	ref := e.ref("template")
	request := e.importRequest(in, ref, e.harness.Images.Good(e.T))
	return ref, must[*driverpb.TemplateReply](e, driverpb.Images_ImportTemplate_FullMethodName, request)
}

func untemplating(e *env) deed {
	store := e.open("image-store")
	ref, _ := e.template(store)
	return deed{
		request:  e.templateRequest(store, ref),
		reached:  func() { e.Helper(); e.exists(store, ref, 0) },
		pristine: func() { e.Helper(); e.exists(store, ref, 1) },
	}
}
