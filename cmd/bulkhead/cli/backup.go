package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/google/renameio/v2"
	"github.com/spf13/cobra"

	"github.com/bulkhead-cloud/bulkhead/cmd/bulkhead/cli/client"
)

// backupCommand backs a zone up. Making a server from a backup needs no server:
// the program adds that command itself.
func (a *app) backupCommand() *cobra.Command {
	cmd := group(&cobra.Command{Use: "backup", Short: "Back the zone up"})
	create := &cobra.Command{
		Use:   "create <file>",
		Short: "Write the whole state of the zone to a file, while it goes on",
		Long: "Write the whole state of the zone to a file, while it goes on. The file appears once it is whole.\n" +
			"It holds secrets. With recipients the server encrypts it, so that only they can read it (with\n" +
			"'bulkhead backup restore --identity' or the age program); without, keep it as safe as the server's own\n" +
			"data directory. The keys that passwords of storage and the like are sealed with are in it only if it\n" +
			"is encrypted: restored without them, those must be given again.",
		Args: exactly(1, "<file>"),
	}
	create.Flags().Bool("force", false, "write over a file that is there")
	// Not GetStringArray, for which one that is empty is none: that would be a backup in the clear.
	var keys, files []string
	create.Flags().StringArrayVar(&keys, "recipient", nil,
		"public key to encrypt to: age1..., ssh-ed25519 or ssh-rsa; repeatable")
	create.Flags().StringArrayVar(&files, "recipients-file", nil, "file with a recipient on each line; repeatable")
	create.RunE = func(cmd *cobra.Command, args []string) error {
		force, _ := cmd.Flags().GetBool("force")
		if err := vacant(args[0], force); err != nil {
			return err
		}
		to, err := recipients(keys, files)
		if err != nil {
			return err
		}
		return a.createBackup(cmd, args[0], to)
	}
	cmd.AddCommand(create)
	return cmd
}

// vacant makes sure that a file can be made at path and that none is lost by it.
func vacant(path string, force bool) error {
	info, err := os.Stat(path)
	switch {
	case err == nil && !info.Mode().IsRegular():
		return usage(path+" is no plain file", "name the file to write")
	case err == nil && !force:
		return Conflict(path+" is there already", "choose another name, or write over it with --force")
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return wrong(err)
	}
	if info, err := os.Stat(filepath.Dir(path)); err != nil || !info.IsDir() {
		return usage("there is no directory "+filepath.Dir(path), "make it, or choose another place for the backup")
	}
	return nil
}

// privately is the mode of a backup: it holds digests of tokens and user data.
const privately = 0o600

func (a *app) createBackup(cmd *cobra.Command, path string, to []string) error {
	c, err := a.connect()
	if err != nil {
		return err
	}
	file, err := renameio.NewPendingFile(path, renameio.WithPermissions(privately))
	if err != nil {
		return backupFailure(err)
	}
	defer file.Cleanup() //nolint:errcheck // removes what was not finished
	query := url.Values{}
	if len(to) > 0 {
		query.Set("recipient", strings.Join(to, ","))
	}
	n, err := c.Download(cmd.Context(), "/v1/backup", query, file)
	if exitCode(err) == exitGeneric && !isProblem(err) {
		return backupFailure(err)
	}
	if err != nil {
		return err
	}
	if err := file.CloseAtomicallyReplace(); err != nil {
		return backupFailure(err)
	}
	how, identity := "It is not encrypted and holds secrets: keep it safe, or use --recipient", ""
	if len(to) > 0 {
		how, identity = fmt.Sprintf("It is encrypted; recipients: %d", len(to)), " --identity <file>"
	}
	_, err = fmt.Fprintf(cmd.OutOrStdout(),
		"Wrote %d bytes to %s\n%s\nTo make a server of it: bulkhead backup restore %s%s --data-dir <new directory>\n",
		n, path, how, path, identity)
	return err
}

func backupFailure(err error) error {
	return Failed("writing the backup: "+err.Error(),
		"see that you may write there and that there is room, or choose another place")
}

func isProblem(err error) bool {
	_, ok := errors.AsType[*client.Problem](err)
	return ok
}
