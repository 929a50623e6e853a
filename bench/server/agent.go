package server

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"os/exec"

	"github.com/bulkhead-cloud/bulkhead/bench/client"
	"github.com/bulkhead-cloud/bulkhead/cluster/pki"
	"github.com/bulkhead-cloud/bulkhead/internal/agent"
	"github.com/bulkhead-cloud/bulkhead/internal/node"
)

// What a process is started for that is the agent of a host, and that joins as one.
const (
	asAgent       = "agent"
	asAgentJoiner = "join-agent"
)

// AddAgents has agents of hosts join, called a1 and so on, with data directories in dir, and
// starts them. What was started before an error is left to End.
func (g *Group) AddAgents(ctx context.Context, dir string, places []Place) error {
	for i, place := range places {
		a, err := newMember(dir, fmt.Sprintf("a%d", i+1), place)
		if err != nil {
			return err
		}
		a.agent = true
		if err := g.joinAgent(ctx, a); err != nil {
			return err
		}
		g.Agents = append(g.Agents, a)
		if err := a.Start(); err != nil {
			return err
		}
	}
	return g.AwaitWell(ctx)
}

func (g *Group) joinAgent(ctx context.Context, a *Server) error {
	first := g.Members[0]
	answer, err := client.New(first.URL(), g.token).Insist(ctx, http.MethodPost, "/v1/join-tokens",
		map[string]any{"role": "host"})
	if err != nil {
		return err
	}
	command := exec.CommandContext(ctx, "/proc/self/exe", asAgentJoiner, a.Dir, first.Address, answer.Text("text"), a.Name,
		a.Address)
	var said []byte
	err = a.enter(func() (err error) {
		said, err = command.CombinedOutput()
		return err
	})
	if err != nil {
		return fmt.Errorf("joining with the agent %s: %w: %s", a.Name, err, said)
	}
	return nil
}

// agentCommand is what starts the agent.
func (s *Server) agentCommand() (*exec.Cmd, error) {
	executable, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("finding this program: %w", err)
	}
	return exec.Command(executable, asAgent, s.Dir), nil //nolint:noctx // it lives until Kill
}

// isAgent reports whether arguments are those of an agent, or of one that joins.
func isAgent(args []string) bool {
	return len(args) == 3 && args[1] == asAgent || len(args) == 7 && args[1] == asAgentJoiner
}

// beAgent joins, or is an agent, as the arguments say.
func beAgent(builtIns []node.BuiltIn, args []string) (exitCode int) {
	err := runAgent(context.Background(), builtIns, args)
	if err == nil {
		return 0
	}
	fmt.Fprintln(os.Stderr, err)
	return 1
}

func runAgent(ctx context.Context, builtIns []node.BuiltIn, args []string) error {
	if args[0] == asAgentJoiner {
		token, err := pki.ParseJoinToken(args[3])
		if err != nil {
			return err
		}
		return agent.Join(ctx, args[1], args[2], token, agent.Member{Name: args[4], Advertise: args[5]}, version)
	}
	_, err := agent.Start(ctx, agent.Config{
		DataDir: args[1], Version: version, BuiltIns: builtIns, Epochs: node.AgentEpochs(),
		Log: slog.New(slog.NewJSONHandler(os.Stderr, nil)),
	})
	if err != nil {
		return err
	}
	select {} // until it is killed
}
