// Package docs serves the page that shows the API's document to people, with all
// it needs inside the binary: it works without the Internet and under a strict
// content security policy. It must never know what the document says.
//
// The renderer is Redoc 2.5.2 (npm package redoc, MIT licence, see redoc.LICENSE
// and redoc.standalone.LICENSE.txt), served unchanged but for one picture that it
// would load from another host.
package docs
