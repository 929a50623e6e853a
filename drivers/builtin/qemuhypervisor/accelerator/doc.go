// Package accelerator holds the program that shows whether a processor, real or emulated, executes guests: it goes the
// way every guest goes, from real mode to long mode, does some work, and uses instructions that kernels need and
// half-working virtualisation lacks. It knows how to make the ROM and what its end looks like; it starts nothing and
// knows neither QEMU's options nor the contract.
package accelerator
