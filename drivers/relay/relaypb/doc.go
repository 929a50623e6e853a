// Package relaypb is what nodes ask each other about their drivers, in Go: the messages and the service generated from
// drivers/relay/contract. It holds no behaviour and must never know who asks or answers; edit the .proto file and
// regenerate.
package relaypb
