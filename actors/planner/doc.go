// Package planner chooses hosts for machines and pools for volumes. It takes
// values and returns values: what was chosen, how well it fits, and why each of
// the others does not do. It must never read the state, reserve anything or ask
// a driver: whoever calls it reserves what was chosen in the same log entry and
// plans again when somebody was faster.
package planner
