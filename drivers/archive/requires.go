package archive

import (
	"fmt"

	"github.com/Masterminds/semver/v3"

	"github.com/bulkhead-cloud/bulkhead/resources"
)

// RunsUnder refuses a version of Bulkhead that is not in the range that the driver declares. A build before a release
// (0.4.0-dev) is in a range only if the range names one; of a build without a version nobody knows, and it is not
// refused.
func (d *Declaration) RunsUnder(program string) error {
	if d.Requires.Server == "" {
		return nil
	}
	number, err := semver.NewVersion(program)
	if err != nil {
		return nil //nolint:nilerr // nobody can say that it does not
	}
	within, err := semver.NewConstraint(d.Requires.Server)
	if err != nil {
		return fmt.Errorf("reading the versions of Bulkhead that %s %s runs under: %w", d.Name, d.Version, err)
	}
	if !within.Check(number) {
		return fmt.Errorf("%s %s runs under versions %s of Bulkhead, and this is %s",
			d.Name, d.Version, d.Requires.Server, program)
	}
	return nil
}

// Required are the drivers that must run before it.
func (d *Declaration) Required() (list []resources.DriverRequirement) {
	for _, r := range d.Requires.Drivers {
		list = append(list, resources.DriverRequirement{Product: r.Name, Versions: r.Version})
	}
	return list
}
