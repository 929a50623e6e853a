package archive

import (
	"errors"
	"slices"
	"strings"

	"github.com/bulkhead-cloud/bulkhead/drivers/property"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

// properties checks the list of properties as a server will that hears it from the driver.
func (c *checker) properties(d *Declaration) {
	described, err := d.Describe()
	if err != nil {
		c.add(err.Error(), "", "properties")
		return
	}
	c.described("properties", property.Check(property.Described(described.GetProperties())))
	c.described("actions", property.CheckActions(property.DescribedActions(described.GetActions())))
}

func (c *checker) described(list string, err error) {
	wrong, ok := errors.AsType[*resources.Error](err)
	if !ok {
		return
	}
	for _, field := range wrong.Fields {
		path := slices.Concat([]string{list}, pointer(field.Pointer))
		c.add(field.Message, propertyRemedy(path), path...)
	}
}

func propertyRemedy(path []string) string {
	rules, err := theSchema()
	if err != nil {
		return ""
	}
	return rules.want(path)
}

// pointer takes a JSON pointer apart.
func pointer(text string) []string {
	if text == "" {
		return nil
	}
	steps := strings.Split(strings.TrimPrefix(text, "/"), "/")
	for i, step := range steps {
		steps[i] = strings.NewReplacer("~1", "/", "~0", "~").Replace(step)
	}
	return steps
}
