// Package outofband is what drivers of hosts' controllers have in common: the settings that say where a controller is
// and which host it must belong to, and the service made of the few things a controller can do. That success means
// that the controller said so, and that an unknown outcome is never success, is written here once. It must never know
// how a controller is spoken to, nor why a host's power is changed.
//
// A driver gives Serve a function that dials a Controller, and gets the category and its part of Base.
package outofband
