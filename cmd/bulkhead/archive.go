package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/google/renameio/v2"
	"github.com/spf13/cobra"

	"github.com/bulkhead-cloud/bulkhead/cmd/bulkhead/cli"
	"github.com/bulkhead-cloud/bulkhead/drivers/archive"
	"github.com/bulkhead-cloud/bulkhead/drivers/scaffold"
)

// archiveCommands are those of vendors: they need no server.
func archiveCommands() []*cobra.Command {
	return []*cobra.Command{
		newDriverCommand(), lintCommand(), packCommand(), inspectCommand(), verifyArchiveCommand(), describeCommand(),
		schemaCommand(),
	}
}

func newDriverCommand() *cobra.Command {
	o := scaffold.Options{Version: version}
	cmd := &cobra.Command{
		Use:   "new VENDOR/NAME",
		Short: "Begin a driver: a directory with code that builds, runs and can be packed",
		Args:  cli.Exactly(1, "VENDOR/NAME"),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.Name = args[0]
			if o.Dir == "" {
				o.Dir = filepath.Base(o.Name)
			}
			names, err := scaffold.Write(o)
			if wrong, ok := errors.AsType[*scaffold.OptionError](err); ok {
				return cli.Usage(wrongOption(wrong), "run '"+cmd.CommandPath()+" --help'")
			}
			if err != nil {
				return err
			}
			for _, name := range names {
				fmt.Fprintln(cmd.OutOrStdout(), filepath.Join(o.Dir, name))
			}
			fmt.Fprintf(cmd.OutOrStdout(), "Next: cd %s && make test pack\n", o.Dir)
			return nil
		},
	}
	cmd.Flags().StringVar(&o.Category, "category", "storage", strings.Join(scaffold.Categories(), ", "))
	cmd.Flags().StringVar(&o.Language, "language", scaffold.Go, "go, python or script")
	cmd.Flags().StringVar(&o.Dir, "dir", "", "directory to make (default: the name)")
	cmd.Flags().StringVar(&o.Module, "module", "", "path of the Go module (default: example.com/VENDOR/NAME)")
	cmd.Flags().StringVar(&o.Checkout, "replace", "", "directory with the source of Bulkhead, to build against (Go)")
	return cmd
}

// wrongOption names the flag that can't be as it is.
func wrongOption(e *scaffold.OptionError) string {
	if e.Option == "name" {
		return "VENDOR/NAME: " + e.Message
	}
	return "--" + e.Option + ": " + e.Message
}

func lintCommand() *cobra.Command {
	var strict bool
	cmd := &cobra.Command{
		Use:   "lint [DIR|FILE]",
		Short: "Say what is wrong with a driver or its archive, and what could be better",
		Args:  atMostOne,
		RunE: func(cmd *cobra.Command, args []string) error {
			a, err := readDriver(cmd, argument(args))
			if err != nil {
				return err
			}
			advice := a.Lint()
			for _, problem := range advice {
				fmt.Fprintln(cmd.OutOrStdout(), "advice: "+problem.Error())
			}
			if strict && len(advice) > 0 {
				return cli.Failed(fmt.Sprintf("%d things could be better", len(advice)), "see above, or leave --strict out")
			}
			fmt.Fprintf(cmd.OutOrStdout(), "%s %s can be packed\n", a.Declaration.Name, a.Declaration.Version)
			return nil
		},
	}
	cmd.Flags().BoolVar(&strict, "strict", false, "fail if something could be better")
	return cmd
}

func packCommand() *cobra.Command {
	var out string
	cmd := &cobra.Command{
		Use:   "pack [DIR]",
		Short: "Make the archive of a driver",
		Long: "Make the archive of a driver: driver.yaml, LICENSE, CHANGELOG.md, NOTICE, README.md, code/, lib/ and\n" +
			"resources/ of a directory, and nothing else. The same content gives the same bytes.",
		Args: atMostOne,
		RunE: func(cmd *cobra.Command, args []string) error { return packDriver(cmd, argument(args), out) },
	}
	cmd.Flags().StringVar(&out, "out", "", "file to write (default: VENDOR-NAME-VERSION.car)")
	return cmd
}

func packDriver(cmd *cobra.Command, dir, out string) error {
	if out == "" {
		text, err := os.ReadFile(filepath.Join(dir, archive.DeclarationFile))
		if err != nil {
			return cli.Usage("reading the driver: "+err.Error(), "name the directory that driver.yaml is in")
		}
		declaration, err := archive.Parse(text)
		if err != nil {
			return explained(cmd, err)
		}
		out = strings.ReplaceAll(declaration.Name, "/", "-") + "-" + declaration.Version + ".car"
	}
	if info, err := os.Stat(out); err == nil && !info.Mode().IsRegular() {
		return cli.Usage("--out: "+out+" is there, and is no file that could be replaced", "name the file to write")
	}
	file, err := renameio.NewPendingFile(out, renameio.WithPermissions(0o644))
	if err != nil {
		return cli.Usage("--out: nothing can be written to "+filepath.Dir(out)+": "+reason(err),
			"name a file in a directory that is there and that you may write to")
	}
	defer func() { _ = file.Cleanup() }() // it has its name by then, or is not wanted
	packing, err := archive.Pack(cmd.Context(), dir, file, archive.DefaultLimits())
	if err != nil {
		return explained(cmd, err)
	}
	if err := file.CloseAtomicallyReplace(); err != nil {
		return fmt.Errorf("writing %s: %w", out, err)
	}
	return cli.Show(cmd, map[string]any{
		"file": out, "digest": packing.Digest, "bytes": packing.Bytes, "files": len(packing.Files),
		"leftOut": strings.Join(packing.LeftOut, " "), "name": packing.Declaration.Name,
		"version": packing.Declaration.Version,
	})
}

// reason is what the system says, without the name of the file that was to be written beside the other one.
func reason(err error) string {
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		return e.Err.Error()
	}
	return err.Error()
}

func inspectCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "inspect FILE|DIR",
		Short: "Show what an archive holds, and what its driver asks for",
		Args:  cli.Exactly(1, "FILE|DIR"),
		RunE: func(cmd *cobra.Command, args []string) error {
			a, err := readDriver(cmd, args[0])
			if err != nil {
				return err
			}
			shown, err := overview(a)
			if err != nil {
				return err
			}
			return cli.Show(cmd, shown)
		},
	}
}

func verifyArchiveCommand() *cobra.Command {
	var digest string
	cmd := &cobra.Command{
		Use:   "verify FILE",
		Short: "Read a whole archive and check all of it, as a server does before it installs it",
		Args:  cli.Exactly(1, "FILE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			a, err := readDriver(cmd, args[0])
			if err != nil {
				return err
			}
			if digest != "" && digest != a.Digest {
				return cli.Failed("the archive has another digest: "+a.Digest, "get it again from where you trust it")
			}
			return cli.Show(cmd, map[string]any{
				"name": a.Declaration.Name, "version": a.Declaration.Version, "digest": a.Digest, "bytes": a.Bytes,
				"files": len(a.Files),
			})
		},
	}
	cmd.Flags().StringVar(&digest, "digest", "", "digest that it must have: sha256: and 64 digits")
	return cmd
}

func describeCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "describe [DIR]",
		Short: "Print what a driver must answer when it is asked who it is, as its driver.yaml has it (JSON)",
		Args:  atMostOne,
		RunE: func(cmd *cobra.Command, args []string) error {
			text, err := os.ReadFile(filepath.Join(argument(args), archive.DeclarationFile))
			if err != nil {
				return cli.Usage("reading the driver: "+err.Error(), "name the directory that driver.yaml is in")
			}
			declaration, err := archive.Parse(text)
			if err != nil {
				return explained(cmd, err)
			}
			answers, err := declaration.Answers()
			if err != nil {
				return err
			}
			_, err = cmd.OutOrStdout().Write(answers)
			return err
		},
	}
}

func schemaCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "schema",
		Short: "Print the JSON Schema of driver.yaml, for editors",
		Args:  cli.Exactly(0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := cmd.OutOrStdout().Write(archive.Schema())
			return err
		},
	}
}

func atMostOne(cmd *cobra.Command, args []string) error {
	if len(args) <= 1 {
		return nil
	}
	return cli.Exactly(1, "one DIR or FILE")(cmd, args)
}

func argument(args []string) string {
	if len(args) == 0 {
		return "."
	}
	return args[0]
}

// readDriver reads an archive, or the directory that one would be made of, and explains what is wrong with it.
func readDriver(cmd *cobra.Command, path string) (*archive.Archive, error) {
	a, err := openDriver(cmd.Context(), path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, cli.Usage(err.Error(), "name a .car file, or the directory that driver.yaml is in")
	}
	if err != nil {
		return nil, explained(cmd, fmt.Errorf("%s: %w", path, err))
	}
	return a, nil
}

func openDriver(ctx context.Context, path string) (*archive.Archive, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if info.IsDir() {
		packing, err := archive.Pack(ctx, path, io.Discard, archive.DefaultLimits())
		if err != nil {
			return nil, err
		}
		return packing.Archive, nil
	}
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = file.Close() }()
	return archive.Inspect(ctx, file, archive.DefaultLimits())
}

// explained prints all problems, each on its line, and leaves an error that says how many there are.
func explained(cmd *cobra.Command, err error) error {
	invalid, ok := errors.AsType[*archive.InvalidError](err)
	if !ok {
		return cli.Failed(err.Error(), "name a .car file that is whole, or the directory that driver.yaml is in")
	}
	for _, problem := range invalid.Problems {
		fmt.Fprintln(cmd.ErrOrStderr(), problem.Error())
	}
	what := fmt.Sprintf("%d things are wrong with the driver", len(invalid.Problems))
	if len(invalid.Problems) == 1 {
		what = "1 thing is wrong with the driver"
	}
	return cli.Failed(what, "see above; docs/vendors/archive.md has every field")
}

// overview is an archive for people and programs.
func overview(a *archive.Archive) (map[string]any, error) {
	d := a.Declaration
	answers, err := d.Describe()
	if err != nil {
		return nil, err
	}
	var keys []string
	for _, property := range answers.GetProperties() {
		key := property.GetScope() + "." + property.GetKey()
		if property.GetRole() != "" {
			key += ":" + property.GetRole()
		}
		keys = append(keys, key)
	}
	var roles []string
	for _, a := range answers.GetActions() {
		roles = append(roles, a.GetAction()+":"+a.GetRole())
	}
	var platforms []string
	for platform := range d.Entry {
		platforms = append(platforms, platform)
	}
	slices.Sort(platforms)
	return map[string]any{
		"name": d.Name, "version": d.Version, "description": d.Description, "license": d.License, "author": d.Author,
		"categories": strings.Join(d.Categories, " "), "platforms": strings.Join(platforms, " "),
		"digest": a.Digest, "bytes": a.Bytes, "files": len(a.Files), "properties": strings.Join(keys, " "),
		"actions":     strings.Join(roles, " "),
		"permissions": strings.Join(d.Permissions.Words(), ", "), "isolation": d.Isolation.Minimum,
		"script":    strings.TrimSpace(d.Script.Protocol + " " + strings.Join(d.Script.Actions, " ")),
		"languages": languages(a), "contract": fmt.Sprintf("%d to %d", d.Contract.Min, d.Contract.Max),
	}, nil
}

func languages(a *archive.Archive) string {
	var found []string
	for language := range a.Messages {
		found = append(found, language)
	}
	slices.Sort(found)
	return strings.Join(found, " ")
}
