// Package driverpb is the driver contract in Go: the messages and services generated from drivers/contract. It
// holds no behaviour and must never know who serves or calls the contract; edit the .proto files and regenerate.
package driverpb
