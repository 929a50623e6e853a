package api

import "github.com/bulkhead-cloud/bulkhead/resources"

// PropertiesOf are the settings of a resource for its driver.
func PropertiesOf(r resources.Resource) map[string]any { return propertiesOf(r) }
