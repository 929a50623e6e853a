// Package redfishpower is the driver "bulkhead/redfish": out-of-band management of hosts whose controllers speak
// Redfish, over HTTPS. It knows the few documents of Redfish that power is in; what success means is written in
// drivers/outofband. It must never know why a host's power is changed, nor speak to a controller that it can't
// recognise: by a certificate authority, or by the fingerprint of its certificate.
package redfishpower
