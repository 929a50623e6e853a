package ipmipower

import (
	"context"
	"slices"

	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
	"github.com/bulkhead-cloud/bulkhead/drivers/outofband"
	"github.com/bulkhead-cloud/bulkhead/drivers/sdk"
)

// Name and Version identify the driver.
const (
	Name    = "bulkhead/ipmi"
	Version = "1.0.0"
)

const (
	propertyCipher    = "cipherSuite"
	propertyPrivilege = "privilege"

	defaultPrivilege = "administrator"
)

// limits are those of IPMI 2.0: names have 16 bytes, passwords 20.
func limits() outofband.Limits { return outofband.Limits{DefaultPort: 623, User: 16, Password: 20} }

// cipherSuites are those that authenticate and encrypt. Suite 0, which lets everybody in, is not one of them.
func cipherSuites() []float64 { return []float64{3, 8, 12, 17} }

func privileges() []string { return []string{"operator", defaultPrivilege} }

// New makes the driver.
func New(env sdk.Environment) (sdk.Driver, error) {
	tool := ipmitool{program: findProgram()}
	service := outofband.Serve(outofband.Driver{
		Limits: limits(), WorkDir: env.WorkDir, Ready: tool.ready,
		Dial: func(_ context.Context, call *driverpb.Call, s outofband.Settings) (outofband.Controller, error) {
			return dial(tool, call, s)
		},
	})
	return sdk.Driver{
		Name: Name, Version: Version, Concurrency: concurrency,
		Description: description(), Resources: service, OutOfBand: service,
	}, nil
}

func description() *driverpb.DescribeReply {
	cipher := &driverpb.Property{
		Key: propertyCipher, Type: driverpb.Property_TYPE_NUMBER, Label: "Cipher suite",
		Description: "IPMI cipher suite: 17 (SHA-256) where the controller knows it, 3 (SHA-1) for older ones. " +
			"Without one the best that the controller offers is used.",
	}
	for _, suite := range cipherSuites() {
		cipher.Enum = append(cipher.Enum, structpb.NewNumberValue(suite))
	}
	privilege := &driverpb.Property{
		Key: propertyPrivilege, Type: driverpb.Property_TYPE_STRING, MaxLength: 16, Label: "Privilege",
		Default:     structpb.NewStringValue(defaultPrivilege),
		Description: "Privilege level of the session: power is controlled by operators and administrators.",
	}
	for _, level := range privileges() {
		privilege.Enum = append(privilege.Enum, structpb.NewStringValue(level))
	}
	return &driverpb.DescribeReply{
		Properties: append(outofband.Properties(limits()),
			outofband.Described([]*driverpb.Property{cipher, privilege})...),
		Capabilities: &driverpb.Capabilities{PowerActions: outofband.Actions()},
	}
}

// dial makes the controller of a call.
func dial(tool ipmitool, call *driverpb.Call, s outofband.Settings) (*controller, error) {
	r := outofband.Reader{Properties: call.GetProperties().GetFields()}
	c := &controller{tool: tool, session: session{settings: s, privilege: r.Text(propertyPrivilege, 16)}}
	if c.privilege == "" {
		c.privilege = defaultPrivilege
	}
	if !slices.Contains(privileges(), c.privilege) {
		r.Refuse(propertyPrivilege, "must be operator or administrator")
	}
	if r.Properties[propertyCipher] != nil {
		suite := r.Number(propertyCipher, 0, 255)
		if suite > 0 && !slices.Contains(cipherSuites(), suite) {
			r.Refuse(propertyCipher, "must be 3, 8, 12 or 17")
		}
		c.cipher = int(suite)
	}
	return c, r.Err()
}

// programPaths is where distributions put ipmitool.
func programPaths() []string {
	return []string{"/usr/bin/ipmitool", "/usr/sbin/ipmitool", "/usr/local/bin/ipmitool"}
}

func findProgram() string {
	for _, path := range programPaths() {
		if unix.Access(path, unix.X_OK) == nil {
			return path
		}
	}
	return ""
}
