// Package ipmisim gives tests real controllers that speak IPMI: ipmi_sim of OpenIPMI, which asks a program of the test
// for the power of the host behind it and orders it changed. It must never know what the power is changed for.
package ipmisim
