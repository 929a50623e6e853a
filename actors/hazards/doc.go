// Package hazards holds no code but tests that show what the actor library's own mechanisms do, and why this project
// uses its own mailbox, passivation and supervision in their place. Each test passes while its hazard exists; when an
// upgrade of the library makes one fail, the hazard is gone or has changed, and the rule it stands for may be
// reconsidered. Nothing may import this package.
package hazards
