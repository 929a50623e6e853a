package drivertest

import (
	"encoding/base64"
	"encoding/hex"
	"net/url"
	"path"
	"strings"

	"google.golang.org/protobuf/proto"

	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
)

// allSecrets are those the harness gives that have so many bytes at least, by their keys.
func (h *Harness) allSecrets(least int) map[string]string {
	all := map[string]string{}
	add := func(to string, secrets map[string]string) {
		for key, secret := range secrets {
			if other, taken := all[key]; taken && other != secret {
				key = to + key
			}
			if len(secret) >= least {
				all[key] = secret
			}
		}
	}
	add("", h.Secrets)
	if h.Storage != nil {
		add("pool/", h.Storage.Secrets)
	}
	if h.Images != nil {
		add("image-store/", h.Images.Secrets)
	}
	if h.Hypervisor != nil {
		add("host/", h.Hypervisor.Secrets)
	}
	if h.Networks != nil {
		add("network/", h.Networks.Secrets)
	}
	if h.OutOfBand != nil {
		add("controller/", h.OutOfBand.Secrets)
	}
	return all
}

func secretsKept(e *env, k kind) {
	s := k.setUp(e)
	s.made(e)
	quietly := func(method string, request proto.Message) {
		ctx, cancel := e.patience()
		defer cancel()
		_, _ = e.invoke(ctx, e.conn(), method, request) // right or wrong: this check is about what is said
	}
	for range 2 { // what goes well, and what does not
		_, _ = e.observe(s.in)
		quietly(driverpb.Base_Adopt_FullMethodName, &driverpb.AdoptRequest{Call: e.call(s.ref, s.in)})
		broken := e.call(s.ref, s.in)
		broken.Handle = &driverpb.Handle{Version: e.hello().GetHandleWrites(), Data: []byte("\x00broken")}
		quietly(driverpb.Base_Adopt_FullMethodName, &driverpb.AdoptRequest{Call: broken})
		quietly(s.removes, s.remove(e))
	}
	e.keepsSecrets()
}

// keepsSecrets looks for secrets in all that the driver has said so far.
func (e *env) keepsSecrets() {
	e.Helper()
	logged := ""
	if watched, ok := e.instance.(Watched); ok {
		logged = watched.Said(e.T)
	}
	for key, secret := range e.harness.allSecrets(shortestSecret) {
		for _, form := range []string{
			secret, base64.StdEncoding.EncodeToString([]byte(secret)), hex.EncodeToString([]byte(secret)),
			url.QueryEscape(secret),
		} {
			if strings.Contains(logged, form) {
				e.Errorf("the secret %s is in the log", key)
				break
			}
		}
		for _, reply := range e.journal.replies() {
			wire, err := proto.Marshal(reply)
			if err == nil && strings.Contains(string(wire), secret) {
				e.Errorf("the secret %s is in a %s", key, path.Base(string(reply.ProtoReflect().Descriptor().FullName())))
			}
		}
	}
}
