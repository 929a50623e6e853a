package cli

import (
	"bufio"
	"fmt"
	"maps"
	"net"
	"net/url"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/bulkhead-cloud/bulkhead/cmd/bulkhead/cli/client"
)

func (a *app) loginCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "login <url>", Short: "Remember how to reach a zone", Args: exactly(1, "<url>"),
		Long: "Remember how to reach a zone, once it was reached. The token is asked for, or read from standard input\n" +
			"or " + envToken + "; it is kept in a file that only you can read.",
	}
	cmd.Flags().String("name", "default", "name of the context")
	cmd.Flags().Bool("plain-http", false, "send the token unencrypted over the network")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		plain, _ := cmd.Flags().GetBool("plain-http")
		if err := checkTransport(args[0], plain, "--plain-http"); err != nil {
			return err
		}
		token, err := askToken(cmd)
		if err != nil {
			return err
		}
		c, err := client.New(args[0], token, "bulkhead/"+a.version)
		if err != nil {
			return wrong(err)
		}
		zone, err := c.Get(cmd.Context(), "/v1/zone", nil)
		if err != nil {
			return err
		}
		name, _ := cmd.Flags().GetString("name")
		if err := remember(name, zoneContext{URL: args[0], Token: token}); err != nil {
			return err
		}
		fmt.Fprintf(cmd.OutOrStdout(), "Logged in to zone %s as context %s.\n", nameOrID(zone), name)
		return nil
	}
	return cmd
}

func remember(name string, z zoneContext) error {
	c, err := loadConfig()
	if err != nil {
		return err
	}
	c.Contexts[name] = z
	c.Current = name
	return c.save()
}

// checkTransport keeps tokens from crossing a network in the open; allow says how
// to let them.
func checkTransport(address string, plain bool, allow string) error {
	u, err := url.Parse(address)
	if err != nil || u.Scheme != "http" || plain {
		return nil //nolint:nilerr // the client says what is wrong with an address
	}
	host := u.Hostname()
	if ip := net.ParseIP(host); host == "localhost" || ip != nil && ip.IsLoopback() {
		return nil
	}
	return usage("http:// would send the token unencrypted", "use https://; or, on a network you trust, "+allow)
}

func askToken(cmd *cobra.Command) (string, error) {
	if token := os.Getenv(envToken); token != "" {
		return token, nil
	}
	token, err := AskSecret(cmd, "Token")
	if err != nil {
		return "", err
	}
	if token == "" {
		return "", usage("no token was given", "create one with 'bulkhead token create', or ask an admin for one")
	}
	return token, nil
}

// AskSecret asks for one line: at a terminal without showing what is typed, and else
// on standard input. It may be empty.
func AskSecret(cmd *cobra.Command, what string) (string, error) {
	if f, ok := cmd.InOrStdin().(*os.File); ok && terminal(f) {
		fmt.Fprint(cmd.ErrOrStderr(), what+": ")
		raw, err := term.ReadPassword(int(f.Fd()))
		fmt.Fprintln(cmd.ErrOrStderr())
		if err != nil {
			return "", fmt.Errorf("reading from the terminal: %w", err)
		}
		return strings.TrimSpace(string(raw)), nil
	}
	scanner := bufio.NewScanner(cmd.InOrStdin())
	scanner.Scan()
	return strings.TrimSpace(scanner.Text()), nil
}

func (a *app) contextCommand() *cobra.Command {
	cmd := group(&cobra.Command{Use: "context", Short: "Zones that were logged in to"})
	list := &cobra.Command{
		Use:   "list",
		Short: "List contexts",
		Args:  exactly(0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.listContexts(cmd)
		},
	}
	showIt := &cobra.Command{
		Use:   "show",
		Short: "Show the zone in use",
		Args:  exactly(0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := loadConfig()
			if err != nil {
				return err
			}
			z, err := c.find(a.context)
			if err != nil {
				return err
			}
			fmt.Fprintln(cmd.OutOrStdout(), clean(z.URL))
			return nil
		},
	}
	use := &cobra.Command{
		Use:               "use <name>",
		Short:             "Choose the context in use",
		Args:              exactly(1, "<name>"),
		ValidArgsFunction: a.completeContexts,
	}
	use.RunE = func(_ *cobra.Command, args []string) error {
		return changeContexts(args[0], func(c *config) { c.Current = args[0] })
	}
	remove := &cobra.Command{
		Use:               "delete <name>",
		Short:             "Forget a context",
		Args:              exactly(1, "<name>"),
		ValidArgsFunction: a.completeContexts,
	}
	remove.RunE = func(_ *cobra.Command, args []string) error {
		return changeContexts(args[0], func(c *config) {
			delete(c.Contexts, args[0])
			if c.Current == args[0] {
				c.Current = ""
			}
		})
	}
	cmd.AddCommand(list, showIt, use, remove)
	return cmd
}

// changeContexts changes the configuration, if it knows the context.
func changeContexts(name string, change func(*config)) error {
	c, err := loadConfig()
	if err != nil {
		return err
	}
	if _, ok := c.Contexts[name]; !ok {
		return usage("there is no context "+name, "run 'bulkhead context list' to see what there is")
	}
	change(&c)
	return c.save()
}

func (a *app) listContexts(cmd *cobra.Command) error {
	c, err := loadConfig()
	if err != nil {
		return err
	}
	rows := []any{}
	t := table{style: styleOf(cmd.OutOrStdout()), head: []string{"", "NAME", "URL"}}
	for _, name := range slices.Sorted(maps.Keys(c.Contexts)) {
		mark := ""
		if name == c.Current {
			mark = "*"
		}
		t.add(mark, name, c.Contexts[name].URL)
		rows = append(rows, map[string]any{"name": name, "url": c.Contexts[name].URL, "current": name == c.Current})
	}
	if a.output != formatTable {
		return encode(cmd.OutOrStdout(), a.output, rows)
	}
	t.print(cmd.OutOrStdout())
	return nil
}
