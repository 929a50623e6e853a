// Package download fetches one file over HTTP for somebody who is not trusted with the host's network: each address is
// checked at the moment it is connected to, after every redirect again, so that no name, no redirect and no change of
// a name between check and use leads to where the policy does not. It bounds size, speed and redirects, takes up a
// download where it broke off when the server vouches that the file is still the same, and repeats no part of a URL
// but its host, for the rest may be a secret. It must never use a proxy, decode content, or know what the file is.
package download
