package server

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/bulkhead-cloud/bulkhead/cluster"
	"github.com/bulkhead-cloud/bulkhead/cluster/membership"
	"github.com/bulkhead-cloud/bulkhead/cluster/pki"
	"github.com/bulkhead-cloud/bulkhead/cluster/wire"
	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
	"github.com/bulkhead-cloud/bulkhead/drivers/relay"
	"github.com/bulkhead-cloud/bulkhead/drivers/sdk"
)

// Late is a call of a driver by a node that acted for a resource, as it may arrive long
// after another node does so.
type Late struct {
	// Node has the driver, and is reached at Address. Agent says that it is no node but the
	// agent of a host.
	Node, Address string
	Agent         bool
	Driver        string
	Kind, ID      string
	Epoch         uint64
	Token         string
}

// latePatience bounds all calls of a Late.
const latePatience = 10 * time.Second

// ArriveLate makes calls as a member of the cluster that it is not at the moment, with
// that one's certificate, and returns what was answered to each: the code of the fault,
// "" if there was none.
func (s *Server) ArriveLate(ctx context.Context, calls []Late) (answers []string, err error) {
	input, err := json.Marshal(calls)
	if err != nil {
		return nil, fmt.Errorf("encoding calls: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, 2*latePatience)
	defer cancel()
	command := exec.CommandContext(ctx, "/proc/self/exe", asLate, s.Dir)
	var said, failed bytes.Buffer
	command.Stdin, command.Stdout, command.Stderr = bytes.NewReader(input), &said, &failed
	if err := s.enter(command.Run); err != nil {
		return nil, fmt.Errorf("making calls as %s: %w: %s", s.Name, err, failed.Bytes())
	}
	if err := json.Unmarshal(said.Bytes(), &answers); err != nil {
		return nil, fmt.Errorf("reading what was answered: %w", err)
	}
	return answers, nil
}

// beLate is the process that makes the calls.
func beLate(dir string) (exitCode int) {
	ctx, cancel := context.WithTimeout(context.Background(), latePatience)
	defer cancel()
	var calls []Late
	err := json.NewDecoder(os.Stdin).Decode(&calls)
	if err == nil {
		err = makeLate(ctx, filepath.Join(dir, "cluster"), calls)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

func makeLate(ctx context.Context, dir string, calls []Late) error {
	identity, err := membership.Identity(dir)
	if err != nil {
		return err
	}
	holder, err := pki.NewHolder(identity, pki.Rules{
		Clock: time.Now, Allow: func(pki.Name, time.Time) error { return nil }, Refused: func(error) {},
	})
	if err != nil {
		return err
	}
	w, err := wire.Open(ctx, wire.Config{
		Listen: "127.0.0.1:0", Holder: holder,
		Purposes: map[string][]pki.Role{cluster.PurposePeer: {pki.RoleNode}},
	})
	if err != nil {
		return err
	}
	defer w.Close() //nolint:errcheck // the process ends
	answers := make([]string, len(calls))
	for i, call := range calls {
		answers[i] = "unreachable"
		if err := makeCall(ctx, w, call); err == nil || sdk.FaultOf(err) != nil {
			answers[i] = sdk.FaultOf(err).GetCode()
		}
	}
	return json.NewEncoder(os.Stdout).Encode(answers)
}

// makeCall asks about the resource: what it is called with is what may not pass.
func makeCall(ctx context.Context, w *wire.Network, call Late) error {
	purpose, role := cluster.PurposePeer, pki.RoleNode
	if call.Agent {
		purpose, role = wire.PurposeAgent, pki.RoleHost
	}
	far, err := grpc.NewClient("passthrough:///"+call.Node,
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
			return w.DialTo(ctx, purpose, role, call.Node, call.Address)
		}))
	if err != nil {
		return fmt.Errorf("connecting to %s: %w", call.Node, err)
	}
	ctx, cancel := context.WithTimeout(ctx, latePatience/4)
	defer cancel()
	conn, _, err := relay.NewRemote(far).Conn(ctx, relay.Place{Product: call.Driver})
	if err == nil {
		about := &driverpb.Call{
			Resource: &driverpb.Ref{Kind: call.Kind, Id: call.ID}, Epoch: call.Epoch, Token: call.Token,
		}
		about.Properties, err = structpb.NewStruct(map[string]any{"noteCalls": true})
		if err == nil {
			_, err = driverpb.NewBaseClient(conn).Probe(ctx, &driverpb.ProbeRequest{Call: about})
		}
	}
	return errors.Join(err, far.Close())
}
