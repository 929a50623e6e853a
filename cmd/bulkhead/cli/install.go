package cli

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/bulkhead-cloud/bulkhead/cmd/bulkhead/cli/client"
	"github.com/bulkhead-cloud/bulkhead/drivers/archive"
)

// installCommand installs a version of a driver.
func (a *app) installCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "install FILE.car", Short: "Install a version of a driver from its archive", Args: exactly(1, "FILE.car"),
		Long: "Install a version of a driver from its archive, beside the versions that there are. What it may do on the\n" +
			"machines it runs on is shown before. All nodes and agents get it by themselves. The first version of a product\n" +
			"becomes its current one; another is made so with 'bulkhead driver update NAME --current'.",
	}
	cmd.Flags().Bool("yes", false, "do not ask")
	changing(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		operation, err := a.install(cmd, args[0])
		if err != nil {
			return err
		}
		return a.finish(cmd, operation)
	}
	return cmd
}

// enablingCommand enables or disables a version of a driver.
func (a *app) enablingCommand(k kind, verb, short string, enabled bool) *cobra.Command {
	cmd := a.oneTarget(k, verb, short)
	changing(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		body := map[string]any{"spec": map[string]any{"enabled": enabled}}
		return a.change(cmd, k, args[0], http.MethodPatch, "", body)
	}
	return cmd
}

// uninstallCommand is what deleting a driver is called, too.
func (a *app) uninstallCommand(k kind) *cobra.Command {
	cmd := a.deleteCommand(k)
	cmd.Use, cmd.Short = "uninstall <name|id>...", "Uninstall versions of drivers that nothing is bound to"
	return cmd
}

// install asks for the installation of what an archive holds.
func (a *app) install(cmd *cobra.Command, name string) (client.Object, error) {
	if info, err := os.Stat(name); err == nil && info.IsDir() {
		return nil, usage(name+" is a directory", "pack it first: bulkhead driver pack "+name)
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, usage(err.Error(), "name the .car file that the vendor gave you")
	}
	defer f.Close()
	found, err := archive.Inspect(cmd.Context(), f, archive.DefaultLimits())
	if err != nil {
		return nil, usage(fmt.Sprintf("%s: %v", name, err), "get it from its vendor again")
	}
	if yes, _ := cmd.Flags().GetBool("yes"); !yes {
		if err := sure(cmd, permitted(found)); err != nil {
			return nil, err
		}
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return nil, fmt.Errorf("reading %s: %w", name, err)
	}
	return a.send(cmd, http.MethodPost, "/v1/drivers", f, found.Bytes)
}

// permitted says what a driver may do once it is installed.
func permitted(found *archive.Archive) string {
	var b strings.Builder
	d, p := found.Declaration, found.Declaration.Permissions
	fmt.Fprintf(&b, "%s %s: %s\n  by %s, licence %s\n  %s\n", clean(d.Name), clean(d.Version), clean(d.Description),
		clean(d.Author), clean(d.License), found.Digest)
	list := func(what string, items []string) {
		if len(items) > 0 {
			fmt.Fprintf(&b, "  %s: %s\n", what, clean(strings.Join(items, ", ")))
		}
	}
	for _, r := range found.Declaration.Required() {
		list("it requires", []string{r.String()})
	}
	b.WriteString("On each node and agent it may, besides computing and writing to a directory of its own:\n")
	list("read", p.Read)
	list("write", p.Write)
	list("execute", p.Exec)
	list("open devices", p.Devices)
	list("keep capabilities", p.Capabilities)
	list("connect to TCP ports", ports(p.TCPConnect))
	list("listen at TCP ports", ports(p.TCPListen))
	for _, program := range p.Launch {
		list("have launched outside of its sandbox", []string{launched(program)})
	}
	also(&b, "use UDP", p.UDP)
	also(&b, "use the network of the host", p.HostNetwork)
	also(&b, "use unix sockets", p.UnixSockets)
	also(&b, "be in the group that owns pools and the files of guests", d.DataGroup)
	if d.Isolation.Minimum != "" {
		list("it runs only if isolation is at least", []string{d.Isolation.Minimum})
	}
	return b.String()
}

// launched says what may be launched, and all that it gets.
func launched(program archive.Program) string {
	words := []string{program.Path}
	for _, with := range []struct {
		what  string
		items []string
	}{
		{"with capabilities", program.Capabilities},
		{"with devices", program.Devices},
		{"reading", program.Read},
		{"executing", program.Exec},
	} {
		if len(with.items) > 0 {
			words = append(words, with.what+" "+strings.Join(with.items, " "))
		}
	}
	if program.Network {
		words = append(words, "with network")
	}
	return strings.Join(words, ", ")
}

func also(b *strings.Builder, what string, may bool) {
	if may {
		fmt.Fprintf(b, "  %s\n", what)
	}
}

func ports(numbers []uint16) (texts []string) {
	for _, n := range numbers {
		texts = append(texts, fmt.Sprint(n))
	}
	return texts
}
