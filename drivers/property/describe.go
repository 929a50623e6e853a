package property

import (
	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

// The types of properties.
const (
	TypeString  = "string"
	TypeNumber  = "number"
	TypeBoolean = "boolean"
	TypeDate    = "date"
)

// What a driver needs of the path that a property names.
const (
	AccessRead      = "read"
	AccessReadWrite = "read-write"
)

// ScopeDriver is the scope of properties that belong to a driver as a whole.
const ScopeDriver = "driver"

// Described turns the properties of a driver's description into the vocabulary's words.
func Described(all []*driverpb.Property) []resources.Property {
	types := map[driverpb.Property_Type]string{
		driverpb.Property_TYPE_STRING: TypeString, driverpb.Property_TYPE_NUMBER: TypeNumber,
		driverpb.Property_TYPE_BOOLEAN: TypeBoolean, driverpb.Property_TYPE_DATE: TypeDate,
	}
	accesses := map[driverpb.Property_Access]string{
		driverpb.Property_ACCESS_READ: AccessRead, driverpb.Property_ACCESS_READ_WRITE: AccessReadWrite,
	}
	var described []resources.Property
	for _, p := range all {
		out := resources.Property{
			Key: p.GetKey(), Scope: p.GetScope(), LabelKey: p.GetLabelKey(), DescriptionKey: p.GetDescriptionKey(),
			Label: p.GetLabel(), Description: p.GetDescription(), Group: p.GetGroup(), Type: types[p.GetType()],
			Required: p.GetRequired(), Immutable: p.GetImmutable(), Secret: p.GetSecret(), MaxLength: p.GetMaxLength(),
			Pattern: p.GetPattern(), Default: p.GetDefault().AsInterface(),
			Min: p.Min, Max: p.Max, // not their getters: nil means none
			PathAccess: accesses[p.GetPathAccess()], Role: resources.Role(p.GetRole()),
		}
		for _, e := range p.GetEnum() {
			out.Enum = append(out.Enum, e.AsInterface())
		}
		described = append(described, out)
	}
	return described
}

// DescribedActions turns the roles that actions on a driver's resources take into the vocabulary's words.
func DescribedActions(all []*driverpb.ActionRole) (described []resources.ActionRole) {
	for _, a := range all {
		described = append(described, resources.ActionRole{Action: a.GetAction(), Role: resources.Role(a.GetRole())})
	}
	return described
}
