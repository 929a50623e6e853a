package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/bulkhead-cloud/bulkhead/cmd/bulkhead/cli"
	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
	"github.com/bulkhead-cloud/bulkhead/drivers/drivertest"
	"github.com/bulkhead-cloud/bulkhead/drivers/drivertest/hosted"
	"github.com/bulkhead-cloud/bulkhead/drivers/drivertest/report"
	"github.com/bulkhead-cloud/bulkhead/drivers/drivertest/settings"
	"github.com/bulkhead-cloud/bulkhead/drivers/host"
	"github.com/bulkhead-cloud/bulkhead/drivers/host/sandbox"
)

// driverTest are the flags of driver test.
type driverTest struct {
	profiles          []string
	settings          string
	set               []string
	before            string
	run               string
	minimum           string
	killPoints        int
	quiet             bool
	junit, html, json string
}

// driverTestCommand holds a driver to the contract.
func driverTestCommand() *cobra.Command {
	t := &driverTest{}
	cmd := &cobra.Command{
		Use:   "test DRIVER",
		Short: "Hold a driver to the contract, in the sandbox it will run in",
		Long: "Hold a driver to every sentence of the contract: started by a host as in production, confined as its\n" +
			"manifest says, killed, cut off, called twice and out of order, and swapped with itself under load.\n\n" +
			"DRIVER is an archive (.car), a directory that one can be made of, or the name of a driver that ships with\n" +
			"this program, as bulkhead/filestorage. What it is tested on comes from --settings and --set; a property\n" +
			"that is a directory gets a new one by itself.\n\n" +
			"Exit codes: 0 all that applies passed, 1 something failed, 2 wrong use.",
		Args: cli.Exactly(1, "DRIVER"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return t.test(cmd.Context(), cmd.OutOrStdout(), args[0])
		},
	}
	flags := cmd.Flags()
	flags.StringArrayVar(&t.profiles, "profile", nil,
		"category to check: storage, image, hypervisor, network or out-of-band; more than once for several (default: "+
			"all that the manifest names)")
	flags.StringVar(&t.settings, "settings", "", "YAML or JSON file that says what to test on")
	flags.StringArrayVar(&t.set, "set", nil, "one setting, as storage.pool.path=/mnt/pool; wins over --settings")
	flags.StringVar(&t.before, "upgrade-from", "", "older archive of the DRIVER, to try an upgrade under load from it")
	flags.StringVar(&t.run, "run", "", "run only the checks whose names match this regular expression")
	flags.StringVar(&t.minimum, "minimum-isolation", "", "refuse to test below this: none, basic, good or strong")
	flags.IntVar(&t.killPoints, "kill-points", 0, "at how many instants of each call to kill the driver (default 3)")
	flags.BoolVar(&t.quiet, "quiet", false, "print the report only, not each check as it ends")
	flags.StringVar(&t.junit, "junit", "", "write the report as JUnit XML to this file")
	flags.StringVar(&t.html, "html", "", "write the report as HTML to this file")
	flags.StringVar(&t.json, "json", "", "write the report as JSON to this file")
	return cmd
}

// test runs the checks and reports them.
func (t *driverTest) test(ctx context.Context, out io.Writer, driver string) error {
	given, err := t.readSettings()
	if err != nil {
		return err
	}
	choose, err := t.selection()
	if err != nil {
		return err
	}
	found, err := openDrivers()
	if err != nil {
		return err
	}
	made, err := t.try(ctx, out, found, driver, given, choose)
	if err = errors.Join(err, found.close()); err != nil {
		return err
	}
	if err := t.write(made); err != nil {
		return err
	}
	if err := made.WriteText(out); err != nil {
		return fmt.Errorf("writing the report: %w", err)
	}
	switch {
	case made.OK():
		return nil
	case made.Count(report.Failed) == 0:
		return cli.Usage("no check ran", "see the reasons above, and whether --run matches anything")
	}
	return cli.Failed(fmt.Sprintf("%d checks failed", made.Count(report.Failed)),
		"see above what the driver was asked and answered; --run repeats one check")
}

// try finds the driver and a place to try it.
func (t *driverTest) try(
	ctx context.Context, out io.Writer, all *drivers, driver string, given settings.Settings, choose func(string) bool,
) (report.Report, error) {
	under, err := all.find(ctx, driver)
	if err != nil {
		return report.Report{}, err
	}
	categories, err := t.categories(under.manifest.Categories)
	if err != nil {
		return report.Report{}, err
	}
	config := hosted.Config{
		Manifest: under.manifest, Properties: given.Properties, Secrets: given.Secrets,
		Grants: grantsOf(given.Properties),
	}
	if config.Minimum, err = sandbox.ParseLevel(t.minimum); err != nil {
		return report.Report{}, cli.Usage("--minimum-isolation: "+err.Error(), "")
	}
	if t.before != "" {
		older, err := all.find(ctx, t.before)
		if err != nil {
			return report.Report{}, err
		}
		if older.manifest.Name != under.manifest.Name {
			return report.Report{}, cli.Usage(fmt.Sprintf("--upgrade-from: %s is another driver than %s",
				older.manifest.Name, under.manifest.Name), "")
		}
		config.Older = &older.manifest
	}
	lab, err := hosted.Open(config)
	if err != nil {
		return report.Report{}, cli.Usage(err.Error(), "")
	}
	h, err := harnessFor(lab, under, categories, given)
	if err != nil {
		return report.Report{}, errors.Join(err, lab.Close())
	}
	made, err := t.verify(ctx, out, lab, h, choose)
	if config.Older != nil {
		made.Before = config.Older.Version
	}
	return made, errors.Join(err, lab.Close())
}

// harnessFor starts the driver once, to see what it says of itself.
func harnessFor(
	lab *hosted.Lab, under underTest, categories []driverpb.Category, given settings.Settings,
) (drivertest.Harness, error) {
	start := drivertest.Harness{Start: lab.Start, Properties: given.Properties, Secrets: given.Secrets}
	_, described, err := drivertest.Describe(start, lab.Scratch())
	if err != nil {
		return start, cli.Failed(err.Error(),
			"the driver must serve the contract on the listening socket it inherits as descriptor 3, and be permitted "+
				"what it needs to start")
	}
	lab.Learn(described)
	h, err := given.Harness(categories, described)
	if err != nil {
		return h, cli.Usage(err.Error(), "")
	}
	h.Start, h.Beside, h.Declared = lab.Start, lab.Beside, under.declared
	return h, nil
}

// grantsOf are the directories that driver-wide properties name. Which of them the driver may write to is not known
// before it runs.
func grantsOf(properties map[string]any) []host.Grant {
	var all []host.Grant
	for _, value := range properties {
		path, ok := value.(string)
		if !ok || !filepath.IsAbs(path) {
			continue
		}
		if info, err := os.Stat(path); err == nil && info.IsDir() {
			all = append(all, host.Grant{Path: path, ReadWrite: true})
		}
	}
	return all
}

func (t *driverTest) verify(
	ctx context.Context, out io.Writer, lab *hosted.Lab, h drivertest.Harness, choose func(string) bool,
) (report.Report, error) {
	if t.before != "" {
		h.Before = lab.Before
	}
	if t.killPoints > 0 {
		h.Limits.KillPoints = t.killPoints
	}
	made, err := drivertest.Verify(ctx, h, drivertest.Options{
		Scratch: lab.Scratch(), Select: choose, Done: func(c report.Check) {
			if !t.quiet {
				fmt.Fprintln(out, c.Line())
			}
		},
	})
	if isolation := lab.Isolation(); isolation.Level != "" {
		made.Isolation = "isolation " + string(isolation.Level)
	}
	if !t.quiet {
		fmt.Fprintln(out)
	}
	return made, err
}

func (t *driverTest) selection() (func(string) bool, error) {
	if t.run == "" {
		return nil, nil
	}
	pattern, err := regexp.Compile(t.run)
	if err != nil {
		return nil, cli.Usage("--run: "+err.Error(), "")
	}
	return pattern.MatchString, nil
}

// categories are those asked for, or all of the driver's.
func (t *driverTest) categories(served []driverpb.Category) ([]driverpb.Category, error) {
	if len(t.profiles) == 0 {
		return served, nil
	}
	var all []driverpb.Category
	for _, word := range t.profiles {
		category, err := categoryOf(word)
		if err != nil {
			return nil, cli.Usage("--profile: "+err.Error(), "")
		}
		if !slices.Contains(served, category) {
			return nil, cli.Usage("--profile: the driver's manifest does not name the category "+word, "")
		}
		all = append(all, category)
	}
	return all, nil
}

// categoryOf reads a category as people write it.
func categoryOf(word string) (driverpb.Category, error) {
	category := driverpb.Category_value["CATEGORY_"+strings.ToUpper(strings.ReplaceAll(word, "-", "_"))]
	if category == 0 {
		return 0, fmt.Errorf("must be storage, image, hypervisor, network or out-of-band, not %q", word)
	}
	return driverpb.Category(category), nil
}

// write writes the reports that were asked for.
func (t *driverTest) write(made report.Report) error {
	for _, one := range []struct {
		flag, path string
		write      func(io.Writer) error
	}{
		{"junit", t.junit, made.WriteJUnit}, {"html", t.html, made.WriteHTML}, {"json", t.json, made.WriteJSON},
	} {
		if one.path == "" {
			continue
		}
		file, err := os.Create(one.path)
		if err == nil {
			err = errors.Join(one.write(file), file.Close())
		}
		if err != nil {
			return cli.Failed("--"+one.flag+": "+err.Error(), "name a file that can be written")
		}
	}
	return nil
}
