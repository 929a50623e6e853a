// Package schema turns Go types into the schemas of the API's document, checks
// request bodies against them, and renders the document as OpenAPI 3.1 and 3.0.
// It keeps to the forms that every client generator understands: named objects,
// named enums, no nullable arrays or objects, no integers beyond 2^53. It must
// never know a route or a resource, and what it says of a wrong body never
// repeats the body.
package schema
