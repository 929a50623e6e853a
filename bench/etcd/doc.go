// Command etcd is what three Bulkhead nodes are compared with: an etcd node, and
// callers of etcd. It is a module of its own, so that nothing of the product can
// come to need etcd.
package main
