package cli

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"os"

	"github.com/spf13/cobra"

	"github.com/bulkhead-cloud/bulkhead/cmd/bulkhead/cli/client"
)

// ruleFlags adds a short way to say where a forward leads.
func (a *app) ruleFlags(cmd *cobra.Command) {
	cmd.Flags().String("machine", "", "machine that a forward leads to: its first nic")
	offer(cmd, "machine", func(cmd *cobra.Command, _ []string, begun string) ([]string, cobra.ShellCompDirective) {
		return a.completeNames(cmd, "machine", begun)
	})
}

// completeRule fills in the nic and the network of a machine.
func (a *app) completeRule(cmd *cobra.Command, body map[string]any) error {
	name, _ := cmd.Flags().GetString("machine")
	if name == "" {
		return nil
	}
	machine, err := a.find(cmd.Context(), "machine", name)
	if err != nil {
		return err
	}
	nics, _ := at(machine, "status.nicIds").([]any)
	if len(nics) == 0 {
		return usage("machine "+name+" has no nic", "give it one with 'bulkhead machine attach-nic'")
	}
	nic, err := a.nicIn(cmd.Context(), nics, text(body, "spec.networkId"))
	if err != nil {
		return err
	}
	if nic == nil {
		return usage("machine "+name+" has no nic in that network", "name one of its networks, or leave --network out")
	}
	if at(body, "spec.nicId") == nil && text(body, "spec.type") == "port-forward" {
		put(body, "spec.nicId", text(nic, "id"))
	}
	if at(body, "spec.networkId") == nil {
		put(body, "spec.networkId", text(nic, "spec.networkId"))
	}
	return nil
}

// nicIn finds the first of the nics that is in a network, or the first of all; nil
// if there is none.
func (a *app) nicIn(ctx context.Context, nics []any, network string) (client.Object, error) {
	for _, id := range nics {
		nic, err := a.find(ctx, "nic", show(id))
		if err != nil || network == "" || text(nic, "spec.networkId") == network {
			return nic, err
		}
	}
	return nil, nil //nolint:nilnil // none is
}

// createToken shows a token's secret, which can be had this once.
func (a *app) createToken(cmd *cobra.Command, body map[string]any) error {
	made, err := a.post(cmd, "/v1/tokens", body)
	if err != nil {
		return err
	}
	if a.output != formatTable {
		return encode(cmd.OutOrStdout(), a.output, made)
	}
	fmt.Fprintln(cmd.OutOrStdout(), text(made, "secret"))
	fmt.Fprintln(cmd.ErrOrStderr(), "This is the only time the token is shown: keep it safe.")
	return nil
}

// createUpload makes a template of a file of this machine.
func (a *app) createUpload(cmd *cobra.Command, body map[string]any) error {
	name := text(body, "spec.file")
	if name == "" {
		return usage("--upload needs --file", "name the file of this machine to upload")
	}
	f, err := os.Open(name)
	if err != nil {
		return wrong(err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return fmt.Errorf("reading %s: %w", name, err)
	}
	spec, _ := body["spec"].(map[string]any)
	delete(spec, "file")
	if spec["checksum"] == nil {
		if spec["checksum"], err = checksum(f); err != nil {
			return fmt.Errorf("reading %s: %w", name, err)
		}
	}
	made, err := a.post(cmd, "/v1/templates", body)
	if err != nil {
		return err
	}
	operation, err := a.send(cmd, http.MethodPut, "/v1/templates/"+text(made, "target.id")+"/content", f, info.Size())
	if err != nil {
		fmt.Fprintf(cmd.ErrOrStderr(), "The template waits for its content; delete it with 'bulkhead template delete %s'.\n",
			text(made, "target.id"))
		return err
	}
	return a.finish(cmd, operation)
}

func checksum(f *os.File) (string, error) {
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", err
	}
	_, err := f.Seek(0, io.SeekStart)
	return "sha256:" + hex.EncodeToString(h.Sum(nil)), err
}

// send uploads content, showing how far it is.
func (a *app) send(cmd *cobra.Command, method, path string, f io.Reader, size int64) (client.Object, error) {
	c, err := a.connect()
	if err != nil {
		return nil, err
	}
	meter := &meter{from: f, total: size, w: cmd.ErrOrStderr(), live: terminal(cmd.ErrOrStderr()), step: 10}
	o, err := c.Upload(cmd.Context(), method, path, meter, size)
	meter.end()
	return o, err
}

// meter shows how much of a reader was read.
type meter struct {
	from  io.Reader
	w     io.Writer
	live  bool
	total int64
	done  int64
	shown int64 // percent
	step  int64
}

// Read implements io.Reader.
func (m *meter) Read(p []byte) (int, error) {
	n, err := m.from.Read(p)
	m.done += int64(n)
	percent := int64(100)
	if m.total > 0 {
		percent = m.done * 100 / m.total
	}
	switch {
	case m.live && percent > m.shown:
		m.shown = percent
		fmt.Fprintf(m.w, "\ruploading %d %% of %s", percent, formatSize(float64(m.total)))
	case !m.live && percent >= m.shown+m.step:
		m.shown = percent
		fmt.Fprintf(m.w, "uploading: %d %% of %s\n", percent, formatSize(float64(m.total)))
	}
	return n, err
}

func (m *meter) end() {
	if m.live && m.shown > 0 {
		fmt.Fprintln(m.w)
	}
}

// zoneCommand makes the commands of the one zone.
func (a *app) zoneCommand() *cobra.Command {
	cmd := group(&cobra.Command{Use: "zone", Short: "The zone and its settings"})
	showIt := &cobra.Command{Use: "show", Short: "Show the zone", Args: exactly(0, "")}
	showIt.RunE = func(cmd *cobra.Command, _ []string) error {
		c, err := a.connect()
		if err != nil {
			return err
		}
		z, err := c.Get(cmd.Context(), "/v1/zone", nil)
		if err != nil {
			return err
		}
		return a.print(cmd.OutOrStdout(), z)
	}
	a.reading(showIt)
	fields := []field{
		{
			flag:  "cpu-overcommit",
			path:  "spec.cpuOvercommit",
			as:    asDecimal,
			usage: "how many times a host's CPUs may be given out",
		},
		{
			flag:  "memory-overcommit",
			path:  "spec.memoryOvercommit",
			as:    asDecimal,
			usage: "how many times a host's memory may be given out",
		},
		{
			flag:  "egress-allow",
			path:  "spec.egressAllow",
			as:    asList,
			usage: "address range that downloads may connect to, beside public ones",
		},
	}
	fields = clearing(append(fields, recoveryFields()...))
	update := &cobra.Command{Use: "update", Short: "Change the zone's settings", Args: exactly(0, "")}
	update.Long = aboutUpdates(update.Short, fields)
	changing(update)
	a.declare(update, fields)
	update.Flags().String("name", "", "new name")
	update.Flags().StringArray("label", nil, "label to set, key=value; key- takes one away")
	update.RunE = func(cmd *cobra.Command, _ []string) error {
		body, err := a.patchBody(cmd, fields)
		if err != nil {
			return err
		}
		c, err := a.connect()
		if err != nil {
			return err
		}
		var operation client.Object
		call := client.Call{Method: http.MethodPatch, Path: "/v1/zone", Body: body}
		if err := c.Do(cmd.Context(), call, &operation); err != nil {
			return err
		}
		return a.finish(cmd, operation)
	}
	cmd.AddCommand(showIt, update)
	return cmd
}
