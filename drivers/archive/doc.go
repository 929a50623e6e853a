// Package archive reads and writes the packages that drivers come in: a .car file, which is a gzipped tar with
// driver.yaml, a licence, code and resources. It says with path, line and remedy what is wrong with a driver.yaml,
// makes archives that are the same bytes for the same content, refuses hostile ones, and keeps unpacked ones under
// their digest, immutable. It knows the format and what a host needs to start a driver; it must never know where
// archives come from, who may install them, or which are in use.
package archive
