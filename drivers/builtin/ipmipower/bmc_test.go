package ipmipower_test

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/bulkhead-cloud/bulkhead/drivers/builtin/ipmipower/ipmisim"
	"github.com/bulkhead-cloud/bulkhead/drivers/drivertest"
)

// chassis is the host behind a controller: ipmi_sim asks this program for the power and orders it changed. A power that
// falls takes the time in the file delay; with a file deaf there, orders are taken and nothing happens.
const chassis = `#!/bin/sh
cd "${0%/*}" || exit 1
shift
if [ -e falling ] && [ "$(date +%s%N)" -ge "$(cat falling)" ]; then echo 0 >power; rm -f falling; fi
fall() {
	[ "$(cat power)" = 1 ] && [ ! -e falling ] || return 0
	echo cut >>cuts
	if [ -e delay ]; then echo $(($(date +%s%N) + $(cat delay))) >falling; else echo 0 >power; fi
}
verb=$1
shift
case $verb in
get) for what; do [ "$what" = power ] && echo "power:$(cat power)" || echo "$what:0"; done ;;
set)
	[ -e deaf ] && exit 0
	while [ $# -gt 1 ]; do
		case $1=$2 in
		power=0 | shutdown=*) fall ;;
		power=1) rm -f falling; echo 1 >power ;;
		esac
		shift 2
	done
	;;
esac
`

// bmc is a controller with a host behind it that is nothing but a power.
type bmc struct{ *ipmisim.Controller }

// startBMC starts a controller whose host is on, and ends it with the test.
func startBMC(tb drivertest.T) *bmc {
	tb.Helper()
	return &bmc{ipmisim.Start(tb, chassis, map[string]string{"power": "1\n", "cuts": ""})}
}

// powered tells whether the host is on.
func (b *bmc) powered() bool {
	b.Helper()
	if falling, err := os.ReadFile(filepath.Join(b.Dir, "falling")); err == nil {
		at, err := strconv.ParseInt(strings.TrimSpace(string(falling)), 10, 64)
		if err == nil && time.Now().UnixNano() >= at {
			return false
		}
	}
	return strings.TrimSpace(b.Get("power")) == "1"
}

func (b *bmc) cuts() int { return strings.Count(b.Get("cuts"), "cut") }

// properties of the host, as the engine hands them over.
func (b *bmc) properties() drivertest.Properties {
	p := b.Properties()
	p["confirmSeconds"] = 30.0
	return p
}
