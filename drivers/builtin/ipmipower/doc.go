// Package ipmipower is the driver "bulkhead/ipmi": out-of-band management of hosts whose controllers speak IPMI 2.0
// over the network, by the program ipmitool. It knows how ipmitool is run and read; what success means is written in
// drivers/outofband. It must never know why a host's power is changed, nor give a password to anyone but ipmitool.
//
// Each question is one run of ipmitool with an argument vector, confined as the driver is, with the password in a pipe.
package ipmipower
