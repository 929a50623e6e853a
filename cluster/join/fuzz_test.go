package join_test

import (
	"bytes"
	"errors"
	"testing"

	"google.golang.org/protobuf/encoding/protodelim"

	"github.com/bulkhead-cloud/bulkhead/cluster/clusterpb"
	"github.com/bulkhead-cloud/bulkhead/cluster/join"
	"github.com/bulkhead-cloud/bulkhead/cluster/pki"
	"github.com/bulkhead-cloud/bulkhead/cluster/wire"
)

// FuzzReadQuestion reads what anybody may send. It is a question that a member could ask, or a refusal says what is
// wrong with it.
func FuzzReadQuestion(f *testing.F) {
	for _, r := range []*clusterpb.JoinRequest{
		{},
		{
			TokenId: "t1", Secret: make([]byte, 32), Role: "node", Name: "n2", Address: "192.0.2.2:7481", Version: "1",
			EntryFormat: 1, CertificateRequest: []byte("csr"), Clock: 1,
		},
		{Secret: make([]byte, 32), Role: "host", Name: "N2", Address: ":1"},
	} {
		var b bytes.Buffer
		if _, err := protodelim.MarshalTo(&b, r); err != nil {
			f.Fatal(err)
		}
		f.Add(b.Bytes())
		f.Add(b.Bytes()[:b.Len()/2])
	}
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1})
	f.Fuzz(func(t *testing.T, text []byte) {
		r, err := join.ReadQuestion(bytes.NewReader(text))
		if err != nil {
			no, ok := errors.AsType[*join.Refusal](err)
			if !ok || no.Code == "" || no.Message == "" || no.Remedy == "" || len(no.Message) > 1000 {
				t.Errorf("refused with %+v: %v", no, err)
			}
			return
		}
		name := pki.Name{ClusterID: "any", Role: r.Token.Role, Name: r.Name}
		if err := errors.Join(name.Check(), wire.CheckAddress(r.Address)); err != nil {
			t.Errorf("%+v is a question: %v", r, err)
		}
		if size := len(r.CertificateRequest) + len(r.Version) + len(r.Address) + len(r.Token.ID); size > join.MaxMessage {
			t.Errorf("a question of %d bytes was read", size)
		}
	})
}
