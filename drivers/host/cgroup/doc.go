// Package cgroup puts processes into groups that can be limited and killed as a whole, on cgroup v2, v1 and the mix
// of both, as far as the machine and the rights of this process go; what can't be had is reported in words. It knows
// nothing of drivers or units, and must never touch a group it did not make.
package cgroup
