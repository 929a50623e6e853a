package sandbox

// SystemRead lists what nearly every program reads: libraries, certificates, name resolution, time zones, its own
// process. Nothing in it is secret or about others.
func SystemRead() []string {
	return []string{
		"/lib", "/lib32", "/lib64", "/usr/lib", "/usr/lib32", "/usr/lib64", "/usr/share/zoneinfo", "/usr/share/locale",
		"/etc/ld.so.cache", "/etc/localtime", "/etc/ssl/certs", "/etc/pki/tls/certs", "/usr/share/ca-certificates",
		"/etc/resolv.conf", "/etc/hosts", "/etc/nsswitch.conf", "/etc/gai.conf", "/etc/host.conf", "/etc/services",
		"/etc/protocols", "/dev/urandom", "/dev/random", "/dev/zero", "/proc/self", "/proc/cpuinfo", "/proc/meminfo",
		"/proc/filesystems", "/proc/stat", "/proc/sys/vm/overcommit_memory", "/proc/sys/net/core/somaxconn",
		"/sys/devices/system/cpu", "/sys/devices/system/node", "/sys/kernel/mm/transparent_hugepage",
	}
}
